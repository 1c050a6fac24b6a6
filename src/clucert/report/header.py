"""The words of the first screen: how robust, at what cost, under which assumptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from clucert.core.explanation import confident
from clucert.core.radius import Kind
from clucert.report.format import (
    Cell,
    against,
    decimal,
    duration,
    money,
    number,
    percent,
    span,
    spoken_of,
    titled,
)
from clucert.report.outcome import MEANING, state_of
from clucert.report.population import sentences
from clucert.report.summary import Point, Summary, kinds_of, refined_note

WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")


def subject(summaries: Sequence[Summary]) -> str:
    """What was evaluated, in a few words."""
    tasks = dict.fromkeys(s.run.manifest.task or "custom task" for s in summaries)
    models = dict.fromkeys(s.run.model for s in summaries if s.run.model)
    return " · ".join([", ".join(tasks), ", ".join(models) or "no model named"])


def warnings(summaries: Sequence[Summary]) -> list[tuple[Summary, str]]:
    """What makes figures worth less than they look."""
    return [(s, f"{s.run.name}: {said}") for s in summaries for said in s.warnings]


def sizes(summaries: Sequence[Summary]) -> str:
    """How many inputs the runs have."""
    counts = sorted({len(s.run.inputs) for s in summaries})
    return f"{counts[0]:,} inputs" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,} inputs"


def headline(summaries: Sequence[Summary]) -> str:
    """The share certified at δ = 1, never without what it rests on."""
    judged = [s for s in summaries if s.judged]
    if not judged:
        return "No input has both a certificate and a gold label, so nothing can be said about robustness."
    if not all("published" in s.outcomes for s in judged):
        return _proved_headline(summaries, judged)
    published = _range(s.at("published", 1).value for s in judged)
    proved = _range(s.at("word", 1).value for s in judged)
    names = sorted({name for s in judged for name in s.assumptions})
    if len(summaries) > 1:
        return (
            f"{_count(len(summaries))} runs: {published} of inputs are answered right and certified against one "
            f"changed word. Proved, without assumptions: {proved}{refined_note(judged)}."
        )
    if not names:
        granted = "".join(f": no assumption{s.taken}" for s in judged if s.taken)
        return f"{published} of inputs are answered right, and provably stay so when any one word is changed{granted}."
    return (
        f"{published} of inputs are answered right and certified against one changed word, if {_list(names)} "
        f"{'holds' if len(names) == 1 else 'hold'}. Proved without: {proved}{refined_note(judged)}."
    )


def _proved_headline(summaries: Sequence[Summary], judged: Sequence[Summary]) -> str:
    """By threat, where a run has nothing but proofs; of the others the published radius is told below."""
    kinds = [kind for kind in kinds_of(judged) if kind != "published"]
    alike: dict[str, list[str]] = {}
    for kind in kinds:
        speaking = [s for s in judged if kind in s.outcomes]
        share = _range(spoken_at(s, kind).value for s in speaking)
        alike.setdefault(share, []).append(against(kind, speaking[0].run.unit))
    shares = [f"{share} for {', as many for '.join(changes)}" for share, changes in alike.items()]
    runs = f"{_count(len(summaries))} runs. " if len(summaries) > 1 else ""
    granted = next((s.taken for s in judged if s.taken), "")
    return f"{runs}Inputs that are answered right and provably stay so: {'; '.join(shares)}. No assumption{granted}."


def to_come(summaries: Sequence[Summary]) -> list[tuple[Summary, str]]:
    """What the proofs of each run say of the prompts to come, in one sentence."""
    said = [(s, "; ".join(sentences(s.population))) for s in summaries]
    return [(s, f"{s.run.name}: {sentence}" if len(summaries) > 1 else sentence) for s, sentence in said if sentence]


def _range(values: Iterable[float]) -> str:
    written = list(dict.fromkeys(percent(value) for value in sorted(values)))
    return written[0] if len(written) == 1 else f"{written[0]} to {written[-1]}"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number_of: int) -> str:
    return WORDS[number_of] if number_of < len(WORDS) else str(number_of)


def explanation(summaries: Sequence[Summary]) -> str:
    """What the numbers of the first screen mean; empty when no run has a certificate."""
    alphas = sorted({s.alpha for s in summaries if s.alpha is not None})
    if not alphas:
        return ""
    parts = []
    if alphas[-1]:
        confidence = f"{confident(alphas[-1])}%"
        parts.append(f"Each certificate is right with at least {confidence} probability over its random samples.")
    if not alphas[0]:
        parts.append("In an exact certificate every sub-text was asked, and nothing is left to chance.")
    if any(s.assumptions for s in summaries):
        parts.append("A1 to A4 are assumptions, told below in plain words.")
    parts.append("Ranges are 95% intervals over the inputs.")
    failed = sum(s.failed for s in summaries)
    if failed:
        how = "left out of every share" if summaries[0].leave_out_failed else "counted as not certified"
        parts.append(f"{_inputs(failed)} failed and {'is' if failed == 1 else 'are'} {how}.")
    return " ".join(parts)


def _inputs(count: int) -> str:
    return "1 input" if count == 1 else f"{count:,} inputs"


def spoken_at(summary: Summary, kind: Kind) -> Point:
    """The share that stands for ``kind``: see :func:`clucert.report.format.spoken_of`."""
    return summary.at(kind, spoken_of(kind))


def certified(summary: Summary) -> str:
    """The share certified against what the first kind speaks of; an en dash when nothing was judged."""
    return percent(spoken_at(summary, summary.run.first_kind).value) if summary.judged else "–"


def shown_as(summary: Summary, kind: Kind) -> str:
    """``held`` where the share is proved and above 0; ``claim`` where it rests on assumptions, which is never green."""
    if not summary.judged or kind not in summary.outcomes or not spoken_at(summary, kind).value:
        return ""
    return "claim" if kind == "published" and summary.assumptions else "held"


def by_threat(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str | Cell | Summary]]]:
    """The table of the first screen: a row for each run, a column for each figure and each threat."""
    kinds = sorted(kinds_of(summaries), key=lambda kind: kind == "published")
    rows: list[list[str | Cell | Summary]] = [
        [
            s,
            percent(s.clean.value) if s.judged else "–",
            *(_share(s, kind) for kind in kinds),
            percent(s.standing.constant_share),
            percent(s.standing.balanced_accuracy),
        ]
        for s in summaries
    ]
    threats = (f"{titled(kind)}: {against(kind, _unit(kind, summaries))}" for kind in kinds)
    return ["Share of the rows", "Right", *threats, "A constant answer", "Right, balanced over labels"], rows


def _unit(kind: Kind, summaries: Sequence[Summary]) -> str:
    units = {s.run.unit for s in summaries if kind in s.outcomes}
    return next(iter(units)) if len(units) == 1 else "units"


def _share(s: Summary, kind: Kind) -> Cell | str:
    if not s.judged or kind not in s.outcomes:
        return "–"
    point, names = spoken_at(s, kind), ", ".join(s.assumptions)
    rests = f", if {names} hold" if kind == "published" and names else ""
    return Cell(percent(point.value), f"{span(point)}{rests}", shown_as(s, kind))


def results(summary: Summary) -> list[tuple[str, str, str]]:
    """What became of the inputs: (state, how many, what the state means), of those that there are."""
    counts = Counter(map(state_of, summary.run.inputs))
    return [(state, f"{counts[state]:,}", meaning) for state, meaning in MEANING.items() if counts[state]]


def changed(summary: Summary) -> str:
    """What it is certified against."""
    return f"certified for {against(summary.run.first_kind, summary.run.unit)}"


def grounds(summary: Summary) -> str:
    """Why a run rests on no assumption."""
    if summary.alpha == 0:
        return "every sub-text was asked"
    if "published" in summary.outcomes:
        return "the published radius is proved for the original text"
    return "every radius is proved"


def origin(summary: Summary) -> str:
    """The model and the folder of a run."""
    return " · ".join(filter(None, [summary.run.model, summary.run.path.name]))


def robustness(summary: Summary) -> list[tuple[str, str]]:
    """(name, value) pairs of a run's card."""
    rows = [
        ("Clean accuracy", percent(summary.clean.value) if summary.judged else "–"),
        ("A constant answer", percent(summary.standing.constant_share)),
        ("Clean accuracy, balanced over labels", percent(summary.standing.balanced_accuracy)),
        ("Certified, balanced over labels", percent(summary.standing.balanced_certified)),
        (f"Mean radius, {summary.run.unit}", decimal(summary.r_avg)),
        *((titled(k), percent(spoken_at(summary, k).value)) for k in summary.run.kinds if k != "published"),
        *([("Nothing to attack, synonyms", percent(share))] if (share := summary.nothing_to_attack("synonym")) else []),
        (f"Radii count {summary.run.unit} of", summary.counts_words_of),
        ("Abstained", percent(summary.abstained)),
    ]
    return [*rows, ("Failed", _inputs(summary.failed))] if summary.failed else rows


def cost(summary: Summary) -> list[tuple[str, str]]:
    """(name, value) pairs of a run's card."""
    usage = summary.usage
    return [
        ("Calls", number(usage.calls)),
        *([("of them from the cache", number(summary.reused.calls))] if summary.reused.calls else []),
        ("Tokens in", number(usage.input)),
        ("of them cached", percent(usage.cached / usage.input if usage.input else None)),
        ("Tokens out", number(usage.output)),
        ("Time", duration(sum(summary.seconds.values()))),
        ("Money", money(summary)),
    ]
