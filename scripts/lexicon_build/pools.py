"""Pools of surface forms: the lemmas' scores, weighed by what a form may be an inflection of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from lexicon_build.forms import Forms, Lemma
from lexicon_build.stopwords import PROTECTED

Scores = Mapping[Lemma, Mapping[Lemma, float]]
LEAST_SHARE = 0.15
"""Readings of a form rarer than this are not looked at."""


def readings(forms: Forms, form: str) -> dict[Lemma, float]:
    """The usual readings of a form: lemma → share."""
    kept = {lemma: p for lemma, p in forms.weights[form].items() if p >= LEAST_SHARE}
    total = sum(kept.values())
    return {lemma: p / total for lemma, p in kept.items()}


def score_forms(forms: Forms, scores: Scores, blocked: Callable[[str, str], bool], form: str) -> dict[str, float]:
    """Candidate form → score, over all usual readings of ``form``.

    A candidate counts for a reading only when it bears every tag that the form bears there: ``began`` may become
    ``started``, but ``started`` (which may be a participle) never ``began``.
    """
    found: dict[str, float] = defaultdict(float)
    for lemma, share in readings(forms, form).items():
        tags = forms.analyses[form][lemma]
        for other, score in scores.get(lemma, {}).items():
            candidate = forms.inflected.get((other, min(tags)))
            if candidate is None or candidate == form or candidate in PROTECTED:
                continue
            if not tags <= forms.analyses[candidate].get(other, frozenset()):
                continue
            own = forms.weights[candidate][other]
            found[candidate] += share * score * min(1.0, 0.3 + 0.9 * own)
    return {c: s for c, s in found.items() if not clash(forms, blocked, form, c)}


def without_opposites(forms: Forms, blocked: Callable[[str, str], bool], ranked: Sequence[str]) -> list[str]:
    """The candidates, best first, without those that contradict a better one (breathe: inhale, but not exhale too)."""
    kept: list[str] = []
    for form in ranked:
        if not any(clash(forms, blocked, form, better, same_lemma=False) for better in kept):
            kept.append(form)
    return kept


def clash(forms: Forms, blocked: Callable[[str, str], bool], a: str, b: str, *, same_lemma: bool = True) -> bool:
    """Whether any usual reading of one form is the opposite of one of the other, or both come from one lemma."""
    ours, theirs = readings(forms, a), readings(forms, b)
    if same_lemma and any(x[0] == y[0] for x in forms.weights[a] for y in forms.weights[b]):
        return True
    return any(blocked(x[0], y[0]) for x in ours for y in theirs)
