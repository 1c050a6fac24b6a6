"""What a gate certifies about a request: brute force over everything that a client may change."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext

import pytest
from scipy.stats import binom

from clucert.core.exact import ExactSmoother
from clucert.core.noise.groups import Blocks, Groups
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.settings import Base, ExactSettings, Noise
from clucert.core.thresholds import Flag
from clucert.errors import TooMuchError
from clucert.guard.client_text import ClientText, Said
from clucert.guard.gate import Gate, Verdict
from clucert.guard.text_gate import gate_config, load_function_gate
from clucert.types import Scored
from tests.oracle import drive
from tests.promises.noise_worlds import ball

LABELS = ("harmful", "safe")
WORDS = ("aa", "bb", "cc", "dd")
MOST = 5
"""Changes of a kind that are tried of one text."""


class World:
    """A classifier that answers each text at random, and always alike."""

    def __init__(self, seed: int, harmful: float) -> None:
        self.seed, self.harmful = seed, harmful

    def __call__(self, texts: Sequence[str], first_draw: int = 0) -> list[Scored]:
        return [Scored(label := self.label(text), {label: 1.0}) for text in texts]

    def label(self, text: str) -> str:
        digest = hashlib.blake2b(f"{self.seed} {text}".encode(), digest_size=4).digest()
        return "harmful" if int.from_bytes(digest, "big") / 2**32 < self.harmful else "safe"


def gate_of(noise: Noise, flag: Flag) -> Gate:
    return Gate(ExactSmoother(ExactSettings(Base(("f",), "t"), "m", noise, flag=flag), LABELS), b"key")


def said(messages: Sequence[Sequence[str]]) -> ClientText:
    return ClientText(tuple(Said(f"messages.{i}", " ".join(words)) for i, words in enumerate(messages) if words))


def check(gate: Gate, world: World, messages: Sequence[Sequence[str]]) -> Verdict:
    return drive(gate.steps(said(messages)), world)


def within(words: tuple[str, ...], threat: str, r: int, *, endless: bool) -> set[tuple[str, ...]]:
    if threat in ("ends", "suffix", "block"):
        sizes = range((2 if threat == "block" or endless else r) + 1)
        blocks = [block for size in sizes for block in itertools.product(WORDS[:3], repeat=size)]
        cuts = {"ends": (0, len(words)), "suffix": (len(words),)}.get(threat, range(len(words) + 1))
        one = {(*words[:at], *block, *words[at:]) for at in cuts for block in blocks}
        return one if threat != "ends" else {(*block, *x) for x in one for block in blocks[:4]}
    return ball(words, threat, r, WORDS)


def requests(
    messages: tuple[tuple[str, ...], ...], changed: Sequence[tuple[str, ...]], where: str, rng: random.Random
) -> Iterator[list[tuple[str, ...]]]:
    """Requests with a changed text in the place of the one that was flagged, all else as a client likes."""
    for words in changed:
        if not words:
            continue
        if where == "all":
            cut = rng.randrange(len(words) + 1)
            yield [words]
            yield [words[:cut], words[cut:]]
        else:
            at = int(where.rpartition(".")[2])
            other = tuple(rng.choices(WORDS, k=rng.randrange(4)))
            yield [*messages[:at], words, *messages[at + 1 :]]
            yield [other, words]
            yield [words, other, other]


@pytest.mark.parametrize(
    ("noise", "flag"),
    [
        (Windows(2), Flag(("harmful",))),
        (Windows(2), Flag(("harmful",), at_least=2)),
        (Groups(3, b"m"), Flag.of(["harmful"], LABELS, share="0.2")),
        (Groups(4, b"k"), Flag(("harmful",), at_least=1)),
        (Blocks(3), Flag.of(["harmful"], LABELS, share="0.3")),
        (EraseAndCheck(2), Flag(("harmful",))),
    ],
    ids=str,
)
def test_what_is_blocked_stays_blocked_whatever_is_done_within_the_radius(noise: Noise, flag: Flag) -> None:
    gate, rng, certified, tried = gate_of(noise, flag), random.Random(1), 0, 0
    for seed in range(20):
        world = World(seed, rng.choice([0.4, 0.7, 0.95]))
        gate._known.clear()
        sizes = rng.choice([(3,), (4,), (2, 2), (1, 3), (3, 1)])
        messages = tuple(tuple(rng.choices(WORDS, k=size)) for size in sizes)
        verdict = check(gate, world, messages)
        for reading in verdict.readings:
            if not (reading.flagged and reading.certified) or reading.respelled:
                continue
            certified += 1
            whole = tuple(itertools.chain(*messages))
            text = whole if reading.where == "all" else messages[int(reading.where.rpartition(".")[2])]
            for threat, radius in reading.proved.items():
                if not (radius.words or radius.everything):
                    continue
                changed = sorted(within(text, threat, min(radius.words, 2), endless=radius.everything))
                changed = rng.sample(changed, min(MOST, len(changed)))
                for request in requests(messages, changed, reading.where, rng):
                    tried += 1
                    assert check(gate, world, request).blocked, (seed, messages, threat, radius, request)
    assert certified >= 5
    assert tried > 200


def test_what_the_noise_leaves_whole_is_never_certified_and_a_harmful_answer_blocks_it() -> None:
    for noise in (Windows(4), Groups(5, b"k"), Blocks(3)):
        flag = (
            Flag(("harmful",), at_least=3) if isinstance(noise, Windows) else Flag.of(["harmful"], LABELS, share="0.5")
        )
        for word, harmful in itertools.product(WORDS, (0.0, 1.0)):
            verdict = check(gate_of(noise, flag), World(0, harmful), [(word,)])
            assert verdict.state == "untouched"
            assert verdict.blocked == bool(harmful)
            assert verdict.about is not None
            assert not verdict.about.proved


@pytest.mark.parametrize(("flag", "blocked"), [(["harmful"], False), (["harmful", "unparsed"], True)])
def test_one_word_that_deletion_leaves_nothing_of_is_blocked_where_nothing_is(flag: list[str], blocked: bool) -> None:
    """A longer text is certified to stay blocked when all but one of its words are deleted."""
    config = gate_config(
        method="deletion", mask_rate="0.8", flag=flag, flag_threshold="0.3", samples=20, certify_samples=40,
        deterministic=True, alpha=0.05,
    )  # fmt: skip

    def safe(texts: Sequence[str], first_draw: int = 0) -> list[str]:
        return ["safe"] * len(texts)

    with ExitStack() as stack:
        gate, _ = load_function_gate(safe, LABELS, config, stack, b"key")
        for words in (("aa", "bb"), ("aa",)):
            assert drive(gate.steps(said([words])), safe).blocked == blocked


def test_case_accents_and_blanks_buy_no_other_noise() -> None:
    config = gate_config(method="deletion", flag=["harmful"], mask_rate="0.5", samples=20, deterministic=True)
    asked: list[list[str]] = []

    def safe(texts: Sequence[str], first_draw: int = 0) -> list[str]:
        asked.append([text.casefold() for text in texts])
        return ["safe"] * len(texts)

    with ExitStack() as stack:
        gate, _ = load_function_gate(safe, LABELS, config, stack, b"key")
        for text in ("one two three four", "ONE two  three Four ", "one tw\u00f3 three four"):
            gate._known.clear()
            drive(gate.steps(ClientText((Said("text", text),))), safe)
    assert asked[0] == asked[1] == asked[2]


def test_the_words_of_two_messages_are_read_together_and_one_message_by_itself() -> None:
    gate = gate_of(Windows(2), Flag(("harmful",)))

    def world(texts: Sequence[str], first_draw: int = 0) -> list[Scored]:
        return [Scored(label := "harmful" if text == "aa bb" else "safe", {label: 1.0}) for text in texts]

    assert drive(gate.steps(said([("cc", "aa"), ("bb", "cc")])), world).about.where == "all"
    assert not drive(gate.steps(said([("bb", "aa"), ("cc", "bb")])), world).blocked
    gate = gate_of(Groups(1, b"k"), Flag(("harmful",)))
    assert drive(gate.steps(said([("aa", "bb"), ("cc", "cc", "cc")])), world).about.where == "messages.0"


@pytest.mark.parametrize("messages", [1, 3])
def test_a_text_at_the_threshold_passes_at_most_at_the_level(messages: int, tmp_path) -> None:
    """Half of the noised texts of "bad" and one word more keep it: p_harm = η, however the key is drawn."""

    def classify(texts: list[str]) -> list[str]:
        return ["harmful" if "bad" in text.split() else "safe" for text in texts]

    config = gate_config(
        method="deletion", mask_rate="0.5", flag=["harmful"], flag_threshold="0.5", samples=6, certify_samples=10,
        deterministic=True, alpha=0.05,
    )  # fmt: skip
    passed, runs = 0, 120
    request = said([("bad", "thing"), *(("fine", f"word{i}") for i in range(messages - 1))])
    with ExitStack() as stack:
        gate, _ = load_function_gate(classify, LABELS, config, stack)
        for key in range(runs):
            keyed = Gate(gate.certifier, str(key).encode())
            passed += not drive(keyed.steps(request), lambda texts, _: classify(list(texts))).blocked
    # Six votes that are none of them harmful: 1/64, and less where the text is read in company.
    assert passed <= binom.isf(1e-4, runs, 0.05)
    assert messages > 1 or passed >= binom.ppf(1e-4, runs, 1 / 64)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "windows", "size": 3},
        {"method": "groups", "count": 4, "hashes": 2},
        {"method": "blocks", "count": 4},
        {"method": "chunks", "every": 2},
        {"method": "erase-and-check", "suffix": 40},
        {"method": "deletion", "mask_rate": "0.5", "flag_threshold": "0.9", "samples": 20, "certify_samples": 30},
    ],
    ids=lambda options: options["method"],
)
def test_a_request_never_takes_more_calls_than_it_may_and_one_that_might_takes_none(options: dict[str, object]) -> None:
    rng, asked, refused, passed = random.Random(3), 0, 0, 0

    def world(texts: Sequence[str], first_draw: int = 0) -> list[object]:
        nonlocal asked
        asked += len(texts)
        said = [rng.choice(LABELS) for _ in texts]
        return [*said] if options["method"] == "deletion" else [Scored(label, {label: 1.0}) for label in said]

    with ExitStack() as stack:
        config = gate_config(flag=["harmful"], deterministic=True, **options)
        gate, _ = load_function_gate(world, LABELS, config, stack, b"key", max_calls=60)
        for size in (1, 2, 4, 8, 12, 20, 40, 80, 150, 300):
            messages = [rng.choices([*WORDS, *map(str, range(100))], k=size) for _ in range(rng.randrange(1, 3))]
            asked, too_much = 0, False
            try:
                check(gate, world, messages)
            except TooMuchError:
                too_much = True
            refused, passed = refused + too_much, passed + (not too_much)
            assert asked <= (0 if too_much else 60)
            # What is known costs nothing again.
            before = asked
            with pytest.raises(TooMuchError, match=r"more than 60: .*--max-gate-calls") if too_much else nullcontext():
                check(gate, world, messages)
            assert asked == before
    assert passed >= 2
    assert refused >= 1 or options["method"] in ("groups", "blocks")
