"""Functions of texts as models: how they are called, how their answers are read, and when answers are kept."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from tests.voting import vote

import clucert
from clucert.errors import BadAnswerError, CluCertError, InputError, UnknownNameError, UsageError
from clucert.models.functions import function_model
from clucert.models.load import load_model
from clucert.models.text_function import TextFunction
from clucert.runtime.callable_classifiers import classifier_of
from clucert.tasks import load_task
from clucert.tasks.bare import BareTask
from clucert.tasks.classification import ClosedTask
from clucert.tasks.function_answers import Reading

LABELS = ("spam", "ham")
TEXTS = ["win a prize", "see you at noon", "win"]
WANTED = ["spam", "ham", "spam"]


def spam(text: str) -> bool:
    return "win" in text


async def awaited(text):
    return "spam" if spam(text) else "ham"


async def awaited_list(texts):
    return [0 if spam(text) else 1 for text in texts]


class Caller:
    def __call__(self, text):
        return {"label": "SPAM" if spam(text) else "HAM", "score": 0.9}


class Predictor:
    """As a library whose objects predict: no `classes_`."""

    def predict(self, texts):
        return pd.Series(["spam" if spam(text) else "ham" for text in texts])


def fitted(last: Any) -> Any:
    return make_pipeline(CountVectorizer(), last).fit(TEXTS, WANTED)


FUNCTIONS: list[Any] = [
    lambda text: "spam" if spam(text) else "ham",
    lambda texts: ["spam" if spam(text) else "ham" for text in texts],
    lambda text: int(not spam(text)),
    lambda texts: np.array([int(not spam(text)) for text in texts]),
    lambda text: [0.8, 0.2] if spam(text) else [0.1, 0.9],
    lambda texts: np.array([[0.8, 0.2] if spam(text) else [0.1, 0.9] for text in texts], np.float32),
    lambda texts: pd.DataFrame([[0.8, 0.2] if spam(text) else [0.1, 0.9] for text in texts]),
    lambda text: {"spam": 0.8, "ham": 0.2} if spam(text) else {"spam": 0.1, "ham": 0.9},
    lambda texts: [{"label": "LABEL_0" if spam(text) else "LABEL_1", "score": 0.9} for text in texts],
    lambda texts: [
        [{"label": "ham", "score": 0.1 + 0.8 * (not spam(t))}, {"label": "spam", "score": 0.1 + 0.8 * spam(t)}]
        for t in texts
    ],
    lambda text: [{"label": "spam" if spam(text) else "ham", "score": 0.9}],
    awaited,
    awaited_list,
    Caller(),
    Predictor(),
    fitted(LogisticRegression()),
    fitted(LinearSVC()),
    make_pipeline(CountVectorizer(), LogisticRegression()).fit(TEXTS, [0, 1, 0]),
]


@pytest.mark.parametrize("target", FUNCTIONS, ids=range(len(FUNCTIONS)))
@pytest.mark.parametrize("together", [1, 2, 3])
def test_every_shape_of_a_function_votes_alike(target: Any, together: int) -> None:
    """However many texts the first call has, two of them as many as there are labels."""
    model, task = function_model(target, "f", deterministic=False), BareTask.labelled("t", LABELS)
    votes = []
    for start in range(0, len(TEXTS), together):
        answers = model.answer([task.query(text) for text in TEXTS[start : start + together]])
        votes += [task.read(answer) for answer in answers]
    assert votes == WANTED
    assert vote(classifier_of(target, LABELS, None), TEXTS[:together]).votes == WANTED[:together]


async def _leaves(text: str) -> str:
    sys.exit(text)


@pytest.mark.parametrize(
    "target",
    [
        lambda text: "junk",
        lambda texts: ["spam"],
        lambda text: None,
        lambda text: True,
        lambda text: [0.5, 0.7, 0.1],
        lambda text: [float("nan"), 0.1],
        lambda text: [2.0, -1.0],  # logits
        lambda text: {"spam": 0.2, "eggs": 0.8},
        lambda text: {"spam": 1, "SPAM": 0},
        lambda text: {"label": "spam"},
        lambda text: 1 / 0,
        lambda text: sys.exit("\x1b[2J"),
        _leaves,
        lambda text: 2,
        lambda: "spam",
    ],
)
def test_what_is_no_answer_is_an_error_of_one_line(target: Any) -> None:
    task = BareTask.labelled("t", LABELS)
    with pytest.raises(BadAnswerError) as caught:
        function_model(target, "f", deterministic=False).answer([task.query(text) for text in TEXTS])
    assert str(caught.value).isprintable()


def test_none_is_a_vote_for_nothing_where_others_are_answered() -> None:
    task = BareTask.labelled("t", LABELS)
    model = function_model(lambda text: "spam" if spam(text) else None, "f", deterministic=False)
    assert [task.read(a) for a in model.answer([task.query(t) for t in TEXTS])] == ["spam", None, "spam"]


def test_a_declared_function_is_never_tried_the_other_way() -> None:
    seen: list[Any] = []

    def one(text: str) -> str:
        seen.append(text)
        return "spam"

    def many(texts: list[str]) -> list[str]:
        seen.append(texts)
        return ["spam"] * len(texts)

    TextFunction(one, "one")(["a", "b"])
    TextFunction(many, "many")(["a", "b"])
    assert seen == ["a", "b", ["a", "b"]]


def test_numbers_mean_what_the_task_says_and_never_a_position() -> None:
    """GLUE's 0 is negative; AG News counts from 0 on the hub and from 1 in the authors' files."""
    sst2 = BareTask.of(load_task("sst2"))
    assert sst2.labels[0] == "positive"
    reading = Reading.loaded(sst2.reading)
    assert [reading.read("f", 0)[0], reading.read("f", "LABEL_1")[0]] == ["negative", "positive"]
    with pytest.raises(BadAnswerError, match="probability"):  # GLUE's order, or that of the labels?
        reading.read("f", [0.9, 0.1])
    news = Reading.loaded(BareTask.of(load_task("agnews")).reading)
    assert news.read("f", [0.7, 0.1, 0.1, 0.1])[0] == "world"
    assert news.read("f", "Technology")[0] == "sci/tech"
    with pytest.raises(BadAnswerError, match="return the label itself"):
        news.read("f", 1)
    silent = Reading.loaded(BareTask.of(ClosedTask("t", LABELS, "?")).reading)
    for said in (0, "LABEL_1", [0.2, 0.8]):
        with pytest.raises(BadAnswerError):
            silent.read("f", said)
    assert silent.read("f", {"HAM": 0.9, "spam": 0.1})[0] == "ham"


@pytest.mark.parametrize("last", [LogisticRegression(), LinearSVC()])
@pytest.mark.parametrize("classes", [(1, 2), (1, 0), (1.0, 0.0), (True, False), ("1", "0")])
def test_a_class_that_is_a_number_is_a_name_and_no_position(last: Any, classes: tuple[Any, Any]) -> None:
    """Of classes 1 and 2, the class 1 is the label "1" and not the second one; in whichever order labels are given."""
    named = [str(int(each) if isinstance(each, float) else each) for each in classes]
    model = make_pipeline(CountVectorizer(), last).fit(TEXTS, [classes[0], classes[1], classes[0]])
    wanted = [named[0], named[1], named[0]]
    for labels in (named, named[::-1]):
        task = BareTask.labelled("t", labels)
        answers = function_model(model, "f", deterministic=True).answer([task.query(text) for text in TEXTS])
        assert [task.read(answer) for answer in answers] == wanted
        assert vote(classifier_of(model, labels, None), TEXTS).votes == wanted


def test_labels_of_a_task_file_are_in_the_users_own_order_unless_it_says_what_numbers_mean(tmp_path: Path) -> None:
    name = write(tmp_path / "mine.py", "def classify(text): return [0.9, 0.1]")
    fields: dict[str, Any] = {"model": name, "cache": False, "deterministic": True, "method": "blocks"}
    task = tmp_path / "task.yaml"
    task.write_text("prompt: 'Is it? {text}'\nlabels: [spam, ham]\n")
    assert clucert.certify("a b c d e f", task=str(task), **fields).prediction == "spam"
    task.write_text("prompt: 'Is it? {text}'\nlabels: [spam, ham]\nlabel_map: {0: ham, 1: spam}\n")
    with pytest.raises(BadAnswerError, match="label each is of"):
        clucert.certify("a b c d e f", task=str(task), **fields)


# Files


def write(path: Path, source: str) -> str:
    path.write_text(textwrap.dedent(source))
    return f"python:{path}:classify"


WINNER = """
    LABELS = ["spam", "ham"]
    calls = 0
    def classify(text):
        global calls
        calls += 1
        return "spam" if "win" in text.lower() else "ham"
"""


def proved(name: str, tmp_path: Path, **options: Any) -> Any:
    with clucert.open_session(model=name, cache=tmp_path / "cache.db", method="ranmask", **options) as session:
        (found,) = session.prove("WIN win winner win winning", ["blocks"])
        return found


def test_a_function_in_a_file_is_a_model_with_labels_of_its_own(tmp_path: Path) -> None:
    name = write(tmp_path / "mine.py", WINNER)
    found = proved(name, tmp_path, deterministic=True)
    assert (found.prediction, found.proved["replace"].words) == ("spam", 2)
    with pytest.raises(UsageError, match="--deterministic"):
        proved(name, tmp_path)
    with clucert.open_session(model=name, method="ranmask", cache=False) as session:
        assert session.certify("WIN win winner").certificate.answers.kind == "sampled"


def test_answers_are_kept_for_as_long_as_the_function_is_the_same(tmp_path: Path) -> None:
    """By the digest of its file, of what it imports beside it, and of what it says: weights may change, too."""
    (tmp_path / "words.py").write_text("WORD = 'win'\n")
    (tmp_path / "weights.txt").write_text("0.9")
    source = """
        from pathlib import Path
        import words
        LABELS = ["spam", "ham"]
        WEIGHT = float((Path(__file__).parent / "weights.txt").read_text())
        def classify(texts):
            return [[WEIGHT, 1 - WEIGHT] if words.WORD in t.lower() else [0.2, 0.8] for t in texts]
    """
    name = write(tmp_path / "mine.py", source)

    def reused() -> int:
        return proved(name, tmp_path, deterministic=True).cost.reused.calls

    assert reused() == 0
    assert reused() > 0
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "\n# changed\n")
    assert reused() == 0
    (tmp_path / "weights.txt").write_text("0.8")
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "\n")  # this process reads a file once
    assert reused() == 0


def test_the_fingerprint_alone_tells_other_weights(tmp_path: Path) -> None:
    name = write(
        tmp_path / "mine.py", "WEIGHT = [0.9]\ndef classify(texts): return [WEIGHT + [1 - WEIGHT[0]]] * len(texts)"
    )
    before = load_model(name, _vouched()).identity
    import sys

    module = next(m for m in sys.modules.values() if getattr(m, "__file__", "") == str(tmp_path / "mine.py"))
    module.WEIGHT = [0.8]
    assert load_model(name, _vouched()).identity != before


def _vouched() -> Any:
    from clucert.models.load import ModelOptions

    return ModelOptions(deterministic=True)


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("1 / 0", InputError, "ZeroDivisionError"),
        ("def classify(:", InputError, "SyntaxError"),
        ("import sys; sys.exit(3)", InputError, "SystemExit"),
        ("def clasify(t): return t", UnknownNameError, "did you mean 'clasify'"),
        ("class classify: pass", InputError, "make an object"),
        ("classify = 5", InputError, "no function"),
        ("def classify(text): return text", InputError, "LABELS"),
    ],
)
def test_a_file_that_does_not_do_is_told_in_one_line(tmp_path: Path, source: str, error: Any, said: str) -> None:
    name = write(tmp_path / "mine.py", source)
    with pytest.raises(error, match=said) as caught:
        clucert.certify("a text", model=name, cache=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["python:", "python:f.py", "python:f.py:", "python:nowhere.py:f", "clf.py:f"])
def test_names_that_name_no_function(name: str) -> None:
    with pytest.raises(InputError):
        load_model(name)


def test_options_of_prompts_do_not_go_with_functions(tmp_path: Path) -> None:
    name = write(tmp_path / "mine.py", WINNER)
    for options in ({"temperature": 0.5}, {"prompt": "p.txt"}, {"answer_tokens": 5}):
        with pytest.raises(UsageError, match="is for language models"):
            clucert.certify("a text", model=name, cache=False, **options)


def test_a_function_that_answers_freely_is_a_language_model(tmp_path: Path) -> None:
    name = write(
        tmp_path / "mine.py", "def classify(text): return 'Sorry, I cannot help.' if 'bomb' in text else 'Sure!'"
    )
    found = clucert.certify("how do I build a bomb", model=name, task="refusal", method="ranmask", cache=False)
    assert found.prediction in ("refused", "complied")


# Runs


def test_a_run_directory_never_says_which_code_is_run(tmp_path: Path) -> None:
    """It may come from anybody: the file that it names is run only where the user names it, and is still the same."""
    from clucert.audit.run import audit
    from clucert.evaluate.runconfig import StudyConfig
    from clucert.evaluate.study import evaluate

    ran = tmp_path / "ran"
    name = write(tmp_path / "mine.py", WINNER + f"    open({str(ran)!r}, 'a').close()\n")
    data = tmp_path / "data.csv"
    data.write_text("text,label\nwin win win win win,spam\nsee you at noon dear friend,ham\n")
    run = tmp_path / "run"
    options = {"model": name, "method": "blocks", "deterministic": True, "cache": False}
    assert evaluate(StudyConfig.of(data=str(data), run_dir=run, **options)).done == 2
    import sys

    for module in [key for key in sys.modules if key.startswith("clucert_user_")]:
        del sys.modules[module]
    ran.unlink()
    with pytest.raises(UsageError, match=f"--model {name}"):
        audit(run)
    assert not ran.exists()
    assert audit(run, overrides={"model": [name], "cache": False}).certified == 2
    (tmp_path / "mine.py").write_text("def classify(text): return 'ham'\n")
    with pytest.raises(UsageError, match="has changed"):
        audit(run, overrides={"model": [name]})
    with pytest.raises(CluCertError, match="another run"):
        evaluate(StudyConfig.of(data=str(data), run_dir=run, labels=["spam", "ham"], **options))


@pytest.mark.parametrize("kind", ["plain", "awaited", "smoothed"])
def test_one_text_that_fails_has_no_other_paid_for_twice(kind: str, tmp_path: Path) -> None:
    seen: list[str] = []

    def plain(text: str) -> str:
        seen.append(text)
        if "boom" in text:
            raise ConnectionError("no answer")
        return "spam" if spam(text) else "ham"

    async def awaited(text: str) -> str:
        return plain(text)

    texts = ["boom two", *(f"win{i} now{i} or{i} never{i}" for i in range(30))]
    if kind == "smoothed":
        function = TextFunction(plain, "plain")
        with pytest.raises(ConnectionError):
            function(texts)
        assert function(texts[1:]) == ["spam"] * 30
    else:
        run = clucert.evaluate(
            model=plain if kind == "plain" else awaited,
            labels=LABELS,
            data=[(text, "spam") for text in texts],
            method="blocks",
            run_dir=tmp_path / "run",
            deterministic=True,
        )
        assert (run.done, run.failed) == (30, 1)
    paid = [text for text in seen if "boom" not in text]
    assert len(paid) >= 30
    assert len(paid) == len(set(paid))


def test_a_draw_that_was_kept_is_one_vote_and_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(range(100))

    def draw(text: str) -> str:
        if text == "boom":
            raise ConnectionError
        return str(next(drawn))

    function = TextFunction(draw, "draw")
    with pytest.raises(ConnectionError):
        function(["a", "a", "boom"])
    assert sorted(function(["a", "a", "a"])) == ["0", "1", "2"]
    monkeypatch.setattr("clucert.models.text_function.MOST_KEPT", 1)
    with pytest.raises(ConnectionError):
        function(["b", "c", "boom"])
    assert function(["b", "c"]) == ["5", "4"]
