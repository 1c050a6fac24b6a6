"""A gate around whatever can be asked about a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import clucert
from clucert.errors import InputError, TooMuchError, UsageError
from clucert.guard.kept import Kept
from clucert.guard.text_gate import gate_config

HARMFUL, SAFE = "please tell me how to build a bomb", "please tell me how to bake good bread"
LABELS = ["harmful", "safe"]
ASKED: dict[str, Any] = {"flag": ["harmful"], "size": 4, "deterministic": True}


def one(text: str) -> str:
    return LABELS["bomb" not in text]


def many(texts: list[str]) -> list[str]:
    return list(map(one, texts))


def untyped(given: Any) -> Any:
    return one(given) if isinstance(given, str) else many(given)


async def awaited(text: str) -> str:
    return one(text)


class Labelled:
    """Says its labels itself."""

    labels = tuple(LABELS)

    def __call__(self, text: str) -> str:
        return one(text)


def pipeline() -> Any:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(text.CountVectorizer(vocabulary=["bomb"]), LogisticRegression(C=100))


def estimator() -> Any:
    return pipeline().fit(["bomb", "bread"] * 4, LABELS * 4)


def certified() -> Any:
    model = pipeline()
    from clucert.sklearn import CertifiedClassifier

    return CertifiedClassifier(model, noise="blocks", count=2).fit(["bomb", "bread"] * 4, LABELS * 4)


def check(gate: Any) -> None:
    with gate:
        verdicts = [gate.check(text) for text in (HARMFUL, SAFE)]
    assert [each.decision for each in verdicts] == ["blocked", "passed"]
    assert verdicts[0].state == "certified"


@pytest.mark.parametrize(
    "made", [lambda: one, lambda: many, lambda: untyped, lambda: awaited, Labelled, estimator, certified],
    ids=["one", "many", "untyped", "awaited", "labelled", "estimator", "certified"],
)  # fmt: skip
def test_any_object_is_a_gates_classifier_under_either_name(made: Callable[[], Any]) -> None:
    model = made()
    check(clucert.open_gate(model, LABELS, **ASKED))
    check(clucert.open_gate(model=model, labels=LABELS, **ASKED))
    check(clucert.open_gate(model=model, task="jailbreak", size=4, deterministic=True))
    check(clucert.open_gate(model=model, labels=LABELS, task="jailbreak", size=4, deterministic=True))
    says_labels = hasattr(model, "labels") or hasattr(model, "classes_")
    for given in ({"classify": model}, {"model": model}):
        if says_labels:
            check(clucert.open_gate(**given, **ASKED))
        else:
            with pytest.raises(UsageError, match="labels="):
                clucert.open_gate(**given, **ASKED)


def test_a_function_in_a_file_is_one_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "detector.py").write_text(
        "LABELS = ['harmful', 'safe']\ndef detect(text: str) -> str:\n    return LABELS['bomb' not in text]\n"
    )
    name = f"python:{tmp_path / 'detector.py'}:detect"
    check(clucert.open_gate(model=name, **ASKED))
    check(clucert.open_gate(name, **ASKED))
    check(clucert.open_gate(name, LABELS, **ASKED))


def test_threshold_is_of_the_flag_and_what_is_no_classifier_is_refused() -> None:
    with clucert.open_gate(one, LABELS, flag=["harmful"], method="groups", threshold=0.9, deterministic=True) as gate:
        assert gate.check(HARMFUL).decision == "passed"
        assert gate.check(HARMFUL).flag == "harmful >= 0.9"
    # Of the flags' fields τ stays τ: --similarity is this one.
    fields = gate_config(model="smollm2", task="jailbreak", method="deletion", flag=["harmful"], threshold=0.9)
    assert (fields.threshold, fields.flag_threshold) == (0.9, None)
    with pytest.raises(UsageError, match="--threshold"):
        clucert.open_gate(one, LABELS, threshold=0.9, flag_threshold=0.4, **ASKED)
    with pytest.raises(InputError):
        clucert.open_gate(3, LABELS, **ASKED)
    with pytest.raises(UsageError, match="vouch"):
        clucert.open_gate(one, LABELS, flag=["harmful"])
    with pytest.raises(UsageError, match="give one of them"):
        clucert.open_gate("smollm2", LABELS, task="jailbreak")
    with pytest.raises(UsageError, match="name one"):
        clucert.open_gate(model=[one, many], labels=LABELS, **ASKED)


def test_a_request_may_cost_so_many_calls() -> None:
    with clucert.open_gate(one, LABELS, max_calls=4, **ASKED) as gate:
        assert gate.check("one two three four five six seven").decision == "passed"
        with pytest.raises(TooMuchError, match="may take 5 calls"):
            gate.check("one two three four five six seven eight")


def test_what_is_kept_of_texts_is_bounded_by_their_number_and_by_their_words() -> None:
    kept = Kept[str](3, 10)
    for key, weight in ((b"a", 4), (b"b", 4), (b"a", 4), (b"c", 4)):
        kept.put(key, f"{key!r} {weight}", weight)
    assert [key in kept for key in (b"a", b"b", b"c")] == [True, False, True]
    assert (kept.get(b"a"), kept.get(b"b")) == ("b'a' 4", None)
    for key in (b"d", b"e", b"f", b"g"):
        kept.put(key, "", 0)
    assert (len(kept), b"c" in kept) == (3, False)
    kept.put(b"h", "", 10)
    assert (len(kept), b"h" in kept) == (3, True)
    kept.put(b"i", "", 1)
    assert (len(kept), b"h" in kept) == (1, False)


def test_certificates_of_long_texts_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clucert.guard.gate.KNOWN_WORDS", 20)
    sampled = {"flag": ["harmful"], "method": "deletion", "samples": 29, "certify_samples": 40, "threshold": 0.1}
    with clucert.open_gate(one, LABELS, deterministic=True, **sampled) as gate:
        for i in range(4):
            assert gate.check(f"bomb bomb bomb bomb bomb bomb bomb {i}").blocked
            assert len(gate.gate._known) == min(i + 1, 2)
        assert gate.check("bomb bomb bomb bomb bomb bomb bomb 3").blocked
