"""The first screen: how robust, at what cost, under which assumptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clucert.report.charts import COLOURS, duration, interval_bar, swatch
from clucert.report.figures import decimal, money, number, percent, span, topic
from clucert.report.markup import Html, element
from clucert.report.summary import Summary, refined_note

WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")


def subject(summaries: Sequence[Summary]) -> str:
    """What was evaluated, in a few words."""
    tasks = dict.fromkeys(s.run.manifest.task or "custom task" for s in summaries)
    models = dict.fromkeys(s.run.model for s in summaries if s.run.model)
    return " · ".join([", ".join(tasks), ", ".join(models) or "no model named"])


def header(summaries: Sequence[Summary]) -> Html:
    """How robust, at what cost, under which assumptions: the first screen."""
    return element(
        "header",
        element("p", f"CluCERT report · {subject(summaries)} · {_sizes(summaries)}", class_="kicker"),
        element("h1", _headline(summaries)),
        element("p", _explanation(summaries), class_="lead"),
        _warnings(summaries),
        _glance(summaries),
        element("div", *(_card(s) for s in summaries), class_="cards"),
    )


def _warnings(summaries: Sequence[Summary]) -> Html | None:
    """What makes figures worth less than they look."""
    rows = [element("li", swatch(s.index), f"{s.run.name}: {said}") for s in summaries for said in s.warnings]
    return element("ul", *rows, class_="gaps") if rows else None


def _sizes(summaries: Sequence[Summary]) -> str:
    sizes = sorted({len(s.run.inputs) for s in summaries})
    return f"{sizes[0]:,} inputs" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,} inputs"


def _headline(summaries: Sequence[Summary]) -> str:
    """The share certified at δ = 1, never without what it rests on."""
    judged = [s for s in summaries if s.judged]
    if not judged:
        return "No input has both a certificate and a gold label, so nothing can be said about robustness."
    published = _range(s.at("published", 1).value for s in judged)
    proved = _range(s.at("word", 1).value for s in judged)
    names = sorted({name for s in judged for name in s.assumptions})
    if len(summaries) > 1:
        return (
            f"{_count(len(summaries))} runs: {published} of inputs are answered right and certified against one "
            f"changed word. Proved, without assumptions: {proved}{refined_note(judged)}."
        )
    if not names:
        return f"{published} of inputs are answered right, and provably stay so when any one word is changed."
    return (
        f"{published} of inputs are answered right and certified against one changed word, if {_list(names)} "
        f"{'holds' if len(names) == 1 else 'hold'}. Proved without: {proved}{refined_note(judged)}."
    )


def _range(values: Iterable[float]) -> str:
    written = list(dict.fromkeys(percent(value) for value in sorted(values)))
    return written[0] if len(written) == 1 else f"{written[0]} to {written[-1]}"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number_of: int) -> str:
    return WORDS[number_of] if number_of < len(WORDS) else str(number_of)


def _explanation(summaries: Sequence[Summary]) -> str:
    alphas = sorted({s.alpha for s in summaries if s.alpha is not None})
    if not alphas:
        return ""
    confidence = f"{100 * (1 - alphas[-1]):g}%"
    parts = [f"Each certificate is right with at least {confidence} probability over its random samples."]
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


def _glance(summaries: Sequence[Summary]) -> Html | None:
    """Several runs in one list, so that the first screen compares them."""
    if len(summaries) == 1:
        return None
    rows = [
        element(
            "li",
            element("span", swatch(s.index), s.run.name, class_="name"),
            element("span", percent(s.at("published", 1).value) if s.judged else "–", class_="value"),
            interval_bar(s.at("published", 1), s.index),
            element("span", _brief(s), class_="quiet"),
        )
        for s in summaries
    ]
    return element("ol", *rows, class_="glance")


def _brief(summary: Summary) -> str:
    under = f"rests on {', '.join(summary.assumptions)}" if summary.assumptions else "no assumption"
    cost = f"{number(summary.usage.calls)} calls, {duration(sum(summary.seconds.values()))}"
    proved = f"proved {percent(summary.at('word', 1).value)} (words of {summary.counts_words_of})"
    return f"{under} · {proved} · {cost}"


def _card(summary: Summary) -> Html:
    index, run = summary.index, summary.run
    one = summary.at("published", 1)
    return element(
        "article",
        element("h2", swatch(index), run.name),
        element("p", " · ".join(filter(None, [run.model, run.path.name])), class_="quiet"),
        element(
            "div",
            element(
                "div",
                element("p", percent(one.value) if summary.judged else "–", class_=f"big run{index % COLOURS}"),
                interval_bar(one, index),
                element("p", f"certified for 1 changed word ({span(one)})", class_="quiet"),
                class_="answer",
            ),
            _facts("Robustness", _robustness(summary)),
            _facts("Cost", _cost(summary)),
            element("div", element("h3", "Rests on"), _rests_on(summary), class_="facts"),
            class_="columns",
        ),
        class_="card",
    )


def _facts(title: str, rows: Iterable[tuple[str, str]]) -> Html:
    pairs = [element("div", element("dt", name), element("dd", value)) for name, value in rows]
    return element("div", element("h3", title), element("dl", *pairs), class_="facts")


def _robustness(summary: Summary) -> list[tuple[str, str]]:
    rows = [
        ("Clean accuracy", percent(summary.clean.value) if summary.judged else "–"),
        ("A constant answer", percent(summary.standing.constant_share)),
        ("Certified, balanced over labels", percent(summary.standing.balanced_certified)),
        ("Mean radius, words", decimal(summary.r_avg)),
        ("Proved, any word", percent(summary.at("word", 1).value)),
        ("Proved, synonyms", percent(summary.at("synonym", 1).value)),
        ("Nothing to attack, synonyms", percent(summary.nothing_to_attack("synonym"))),
        ("Radii count words of", summary.counts_words_of),
        ("Abstained", percent(summary.abstained)),
    ]
    return [*rows, ("Failed", _inputs(summary.failed))] if summary.failed else rows


def _cost(summary: Summary) -> list[tuple[str, str]]:
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


def _rests_on(summary: Summary) -> Html:
    if not summary.assumptions:
        return element("p", "No assumption: the published radius is proved for the original text.", class_="rests")
    links = [element("li", element("a", f"{name} {topic(name)}", href=f"#{name}")) for name in summary.assumptions]
    return element("ul", *links, class_="rests")
