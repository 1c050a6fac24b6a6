"""Time grows with the length of a text, not with its square: every pattern, and every reader of hostile text.

Growth is timed, not seconds: of texts four times as long, on the processor's clock, with room for a busy machine. A
quadratic reader takes sixteen times as long, a linear one four times.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import regex

from clucert.core.noise.characters import parse_q
from clucert.core.noise.retention import parse_mask_rate
from clucert.core.noise.tokens import sentences
from clucert.core.thresholds import exact
from clucert.core.words import split
from clucert.errors import InputError, UsageError
from clucert.models.replies import FailedReply, Reply, failure_within, retry_after
from clucert.redact import redact
from clucert.refusals.phrases import PhraseDetector
from clucert.report.gates import parse_gate
from clucert.runtime.prices import find_price
from clucert.tasks import custom
from clucert.tasks.numbers import final_number
from clucert.tasks.parse import parse_label
from clucert.tasks.said import spoken
from clucert.visible import visible

SHORT, LONG = 1_500, 6_000
QUICK = 0.02
"""Seconds of the processor: what reads ``LONG`` characters faster is no trouble, however it grows."""
MOST = 8.0
SOURCE = Path(__file__).parents[2] / "src/clucert"
ALL_SOURCE = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
UNITS = (
    *(" ", "\n", "\t", "a", "A", "1", "-", "_", "`", "*", "<", "(", ")", "[", "{", "\\", "/", ".", ",", ":", '"', "'"),
    *("#", "=", "&", "$", "é", "a ", "1 ", "1,", "111,", "a.", "a-", "<a>", "\\text{", "(1) ", "1:", "http://a"),
    *("a@", "x 10^"),
)  # fmt: skip


def seconds(work: Callable[[str], object], text: str) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        work(text)
        best = min(best, time.process_time() - began)
        if best > 1:
            break
    return best


def check(work: Callable[[str], object], text_of: Callable[[int], str], name: str) -> None:
    began = time.process_time()
    work(text_of(LONG))
    if time.process_time() - began < QUICK:
        return
    # Once more where it seems to grow too fast: another process may have taken the caches.
    ratios = [seconds(work, text_of(LONG)) / max(seconds(work, text_of(SHORT)), 1e-4) for _ in range(2)]
    assert min(ratios) < MOST, f"{name}: {LONG // SHORT} times the text takes {min(ratios):.1f} times as long"


def repeated(unit: str, before: str = "", after: str = "") -> Callable[[int], str]:
    return lambda length: f"{before}{unit * (length // len(unit) + 1)}{after}"


def modules_with_patterns() -> Iterator[str]:
    for path in sorted(SOURCE.rglob("*.py")):
        if re.search(r"\b(?:re|regex)\.compile\(", path.read_text()):
            name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
            yield name.removesuffix(".__init__")


def patterns_in(value: Any) -> Iterator[Any]:
    if isinstance(value, re.Pattern | regex.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from patterns_in(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from patterns_in(each)


def anywhere(pattern: Any, text: str) -> None:
    for _ in pattern.finditer(text):
        pass


def uses(name: str) -> Iterator[Callable[[Any, str], object]]:
    """How the pattern of this name is applied: at the beginning, to the whole, or anywhere."""
    methods = set(re.findall(rf"\b{re.escape(name)}\.(\w+)\(", ALL_SOURCE))
    if "match" in methods:
        yield lambda pattern, text: pattern.match(text)
    if "fullmatch" in methods:
        yield lambda pattern, text: pattern.fullmatch(text)
    if not methods or methods & {"search", "sub", "split", "finditer", "findall", "subn"}:
        yield anywhere


@pytest.mark.parametrize("module", list(modules_with_patterns()))
def test_no_pattern_grows_faster_than_its_text(module: str) -> None:
    if module.startswith("clucert.models.hf."):
        pytest.importorskip("torch", reason="the extra clucert[hf] is not installed")
    for name, value in vars(importlib.import_module(module)).items():
        for pattern in patterns_in(value):
            of_bytes = isinstance(pattern.pattern, bytes)
            written = pattern.pattern.decode() if of_bytes else pattern.pattern
            own = re.findall(r"[A-Za-z]{2,12}", written)[:4]
            for use in uses(name):
                for unit in (*UNITS, *own):

                    def work(text: str, p: Any = pattern, u: Any = use, b: bool = of_bytes) -> None:
                        u(p, text.encode() if b else text)

                    check(work, repeated(unit, after="\x01"), f"{module}.{name}")


def test_the_patterns_of_every_module_are_found() -> None:
    assert {"clucert.tasks.spelling", "clucert.core.words", "clucert.redact", "clucert.models.replies"} <= set(
        modules_with_patterns()
    )
    bad = re.compile(r"(a|b)+c")
    with pytest.raises(AssertionError, match="times as long"):
        check(bad.search, lambda length: "a" * (length // 3), "a quadratic one")


NAMES = {name: name for name in ("positive", "negative", "non toxic", "c#", "1")}
PHRASES = PhraseDetector()
READERS: dict[str, Callable[[str], object]] = {
    "labels": lambda text: parse_label(text, NAMES),
    "numbers": final_number,
    "reasoning": spoken,
    "refusals": PHRASES.label,
    "words": split,
    "sentences": sentences,
    "redact": lambda text: redact(text, env={}),
    "visible": visible,
    "errors": lambda text: FailedReply(Reply(400, (), text.encode())).said,
    "errors within": lambda text: failure_within(Reply(200, (), f'{{"error": "{text}"}}'.encode())),
    "retry after": lambda text: retry_after(Reply(429, [(b"Retry-After", text.encode())], b"")),
}
ANSWERS = (
    *("positive ", "positive. ", "positive\n", "positive, ", "not positive. ", "the answer is ", "answer: ", "label="),
    *("non-", "non-toxic ", "<a>x</a>", "\\boxed{", "\\frac{1}{2}", "1 1/2 ", "####1", "answer is 1 ", "```", "```\n"),
    *("<think>", "</think>", "<|channel|>", "<|channel|> ", "<|channel|>final<|message|>", ", because", '{"a":', "[["),
    *("sk-", "?key=", "key", "://a", "://a@", "x-api-key:", "\u202e", "\x1b[2J", "%41", "as an ", "no. "),
)  # fmt: skip
AROUND = (("", ""), ("```", "```"), ("```\n", "\n```"), ('"', '"'), ("", " positive"))


@pytest.mark.parametrize("reader", list(READERS))
def test_no_reader_of_hostile_text_grows_faster_than_it(reader: str) -> None:
    for unit in (*UNITS, *ANSWERS):
        for before, after in AROUND if reader == "labels" else AROUND[:1]:
            check(READERS[reader], repeated(unit, before, after), f"{reader} of {before!r}{unit!r}…{after!r}")


# Patterns of the user's own


@pytest.mark.parametrize(
    "pattern",
    ["((a{1000}){1000}){1000}", r"(\p{L}{1000000000})"],
)
def test_a_pattern_that_would_take_all_memory_is_refused(pattern: str, tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text(f"prompt: '{{text}}'\npattern: '{pattern}'\n")
    with pytest.raises(InputError, match="takes too long to compile"):
        custom.read_task(file)


def test_repetitions_that_fit_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text("prompt: '{text}'\npattern: '#{4} (\\d{1,9})'\n")
    task = custom.read_task(file)
    assert task.labels is None
    assert not custom._compiles("x" * 2000 + "(a{9999}){9999}")
    assert custom._compiles("(")  # refused in its own words


# Numbers


HUGE = (
    "1e-99999999",
    "1e99999999",
    "9" * 5000,
    "0." + "1" * 5000,
    "1/" + "9" * 5000,
    "1e-1000",
    "1_0",
    "½",
    "nan",
    "inf",
    "",
)


@pytest.mark.parametrize("written", HUGE)
def test_numbers_of_absurd_size_are_refused_before_they_are_made(written: str) -> None:
    readers: Iterable[Callable[[str], object]] = (
        parse_mask_rate,
        parse_q,
        lambda text: exact(text, "η"),
        lambda text: parse_gate(f"certacc@{text}=0.5"),
        lambda text: find_price("vllm/x", price_input=text, price_output="1"),
    )
    for read in readers:
        with pytest.raises(UsageError) as caught:
            read(written)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("0.3", Fraction(3, 10)),
        (" .5 ", Fraction(1, 2)),
        ("1/3", Fraction(1, 3)),
        ("3e-2", Fraction(3, 100)),
        (0.1, 0.1),
    ],
)
def test_numbers_are_read_exactly(written: str | float, number: float) -> None:
    assert exact(written, "η") == Fraction(str(number))
