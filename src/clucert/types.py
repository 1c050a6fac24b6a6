"""The values that flow through CluCERT: frozen, slotted, and free of I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Stage = Literal["refine", "predict", "certify"]
"""What a request is for; drivers count and time by it."""
PerturbationKind = Literal["swap", "patch", "insert"]
"""How SmoothLLM changes characters."""
RetainedKernel = Literal["keep", "redraw", "canonical"]
"""K: what happens to retained words."""


Unit = Literal["word", "sentence", "passage", "turn"]
"""What an exact method keeps, drops and counts."""
Who = Literal["user", "tool", "system", "assistant"]
"""Whose text of a request: ``tool`` is results; ``system`` has developer messages, instructions, tool definitions and
schemas, too."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Blanks:
    """A text with blanks, each for one word: the same request for a model that can be held to the rest of the text.

    It is asked to continue ``prefix + ask`` and answers with the whole text, of which it chooses the blanks alone.
    """

    prefix: str
    """What every such question shares."""
    ask: str
    pieces: tuple[str, ...]
    """The text before, between and behind the blanks: one more than there are blanks."""

    def filled(self, words: Sequence[str]) -> str:
        """The whole text with a word for each blank."""
        return "".join(piece + word for piece, word in zip(self.pieces, [*words, ""], strict=True))


@dataclass(frozen=True, slots=True)
class Query:
    """One request to a language model.

    ``messages`` is what a chat server is sent. ``prefix`` and ``suffix`` are the same request as plain text to be
    continued, for backends that score or complete raw text; ``prefix`` is the part that every query of a task
    shares (instructions and shots), so that a backend can compute it once.

    With ``labels`` the answer wanted is one of these strings: a backend that can score continuations fills
    ``Answer.label_logprobs``; one that cannot returns text, and a strict parser reads it.
    """

    messages: tuple[Message, ...]
    prefix: str = ""
    suffix: str = ""
    labels: tuple[str, ...] | None = None
    max_tokens: int = 16
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    """The draw's index when the model samples (temperature > 0); part of every cache key."""
    extra: tuple[tuple[str, str], ...] = ()
    """Further fields of the request, each with its value as JSON, for servers; local models pass over them."""
    draw: int | None = field(default=None, repr=False)
    """Which of several asks of one question at temperature 0 this is, for models that may answer them differently.
    Never sent; part of every cache key of such a model. Not shown, so that digests of a request do not depend on it."""
    blanks: Blanks | None = field(default=None, repr=False)
    """For models that say ``fills``, in place of the rest; nobody else is given it."""


CHARACTERS_PER_TOKEN = 4
"""The rule of thumb for English where no tokenizer is at hand."""
TOKENS_PER_MESSAGE = 4
"""What a chat template puts around each message."""


def estimate_input(query: Query) -> int:
    """Tokens of ``query`` where no tokenizer is at hand: a token per four characters, four for each message."""
    characters = sum(len(message.content) for message in query.messages)
    return -(-characters // CHARACTERS_PER_TOKEN) + TOKENS_PER_MESSAGE * len(query.messages)


def estimate_output(text: str) -> int:
    """Tokens of an answer by the same rule, at least one."""
    return max(1, -(-len(text) // CHARACTERS_PER_TOKEN))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call cost, in tokens. ``cached`` of the ``input`` tokens were not computed again."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: int = 0
    """Of the calls, those whose tokens are an estimate, because the server reported none or impossible ones."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.estimated + other.estimated,
        )

    def document(self) -> dict[str, int]:
        """As JSON; ``estimated`` only where something is."""
        found = {"calls": self.calls, "input": self.input, "output": self.output, "cached": self.cached}
        return found | ({"estimated": self.estimated} if self.estimated else {})

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.calls - other.calls,
            self.input - other.input,
            self.output - other.output,
            self.cached - other.cached,
            self.estimated - other.estimated,
        )

    @classmethod
    def total(cls, usages: Sequence[Usage]) -> Usage:
        """The sum of many."""
        return cls(
            sum([usage.calls for usage in usages]),
            sum([usage.input for usage in usages]),
            sum([usage.output for usage in usages]),
            sum([usage.cached for usage in usages]),
            sum([usage.estimated for usage in usages]),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a language model said to one :class:`Query`."""

    text: str = ""
    label_logprobs: tuple[float, ...] | None = None
    """Log-probability of each of ``Query.labels``, in order, where the backend scored them."""
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    """Why the model stopped (``stop``, ``length``, …), where it says so."""
    answered_by: str | None = field(default=None, compare=False)
    """What the server says of the model that answered: its name and a fingerprint."""


Vote = str | None
"""A label, or None for an answer that names no label (UNPARSED)."""


@dataclass(frozen=True, slots=True)
class Unread:
    """The beginning of an answer that was no vote, and why it was none."""

    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Scored:
    """How a classifier answers one text: its vote, and how likely it finds each label.

    ``shares`` are label probabilities, or shares of the votes of a smoothed classifier. A classifier that gives bare
    labels has a share of 1 for its answer.
    """

    answer: Vote
    shares: Mapping[str, float]

    def share(self, label: str) -> float:
        """Share of ``label``; 0 when the classifier does not name it."""
        return self.shares.get(label, 0.0)


@dataclass(frozen=True, slots=True)
class Predictions:
    """Votes of a base classifier on a batch of texts, in order, and what they cost."""

    votes: tuple[Vote, ...]
    usage: Usage = field(default_factory=Usage)
    unread: tuple[Unread, ...] = ()
    """Examples of the answers behind votes that are None, where there are answers to show."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Counts of one sampling stage: everything a certificate is derived from.

    ``drawn = sum(counts.values()) + unparsed + dropped``: ``counts`` and ``unparsed`` are the votes of the samples that
    the filter kept; ``dropped`` samples were never shown to the model, or it was not confident of them
    (``min_confidence``).
    """

    counts: Mapping[str, int]
    unparsed: int = 0
    dropped: int = 0

    def __add__(self, other: Votes) -> Votes:
        labels = dict.fromkeys([*self.counts, *other.counts])
        counts = {label: self.counts.get(label, 0) + other.counts.get(label, 0) for label in labels}
        return Votes(counts, self.unparsed + other.unparsed, self.dropped + other.dropped)

    @property
    def kept(self) -> int:
        """Samples that were voted on."""
        return sum(self.counts.values()) + self.unparsed

    @property
    def drawn(self) -> int:
        """Samples that were drawn."""
        return self.kept + self.dropped


AnswerKind = Literal["deterministic", "declared", "probed", "sampled"]


@dataclass(frozen=True, slots=True)
class Answers:
    """How equal noised texts came by their votes; a certificate needs votes of a fixed function, or a draw for each.

    ``deterministic``: asked once, and the backend is known to repeat itself. ``declared``: asked once, for the user
    says that it does. ``probed``: asked once within the certificate, and ``probes`` more times spread over it without a
    difference. ``sampled``: every sample was asked anew.
    """

    kind: AnswerKind
    probes: int = 0

    def __str__(self) -> str:
        said = {
            "deterministic": "known deterministic, equal texts asked once",
            "declared": "declared deterministic, equal texts asked once: the radii rest on it",
            "probed": f"probed {self.probes} times, no difference: equal texts asked once, and the radii rest on it",
            "sampled": "sampled, every noised text asked anew",
        }
        return said[self.kind]

    @property
    def taken(self) -> str:
        """What is taken for granted of the backend, as the end of "no assumption"; empty where nothing is."""
        taken = {
            "declared": " but that equal texts get equal answers (declared)",
            "probed": f" but that the server repeats itself (probed {self.probes} times)",
        }
        return taken.get(self.kind, "")


@dataclass(frozen=True, slots=True)
class Refinement:
    """Which words were kept, and how they were chosen."""

    positions: tuple[int, ...]
    """Positions of the kept words in the original text, ascending."""
    method: str
    """The refiner that chose them: ``off``, ``llm`` or ``embedding``."""
    fallback: str | None = None
    """What the refiner that was asked for left to another; None when it chose every word. Every certificate prints
    it."""
    others: int = 0
    """How many of the positions another one chose."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Noised texts, one for each retention set, in order."""

    texts: Sequence[str]
    failed: int = 0
    """How many of them still hold a mask token because the language model did not fill it. They are votes like the
    others (the outcome is a function of the masked text), but a certificate reports how many there were."""


# What the sans-I/O generators yield, and what they are sent back.


@dataclass(frozen=True, slots=True)
class Classify:
    """Ask the base classifier about ``texts``; send back a list of :data:`Vote`, in order; of :class:`Scored` where
    ``scored``.
    """

    texts: Sequence[str]
    stage: Stage
    first_draw: int = 0
    """Index of the first text among the draws of this stage, for models that sample."""
    samples: int | None = None
    """Samples that the votes are for, where equal ones share a text; as many as ``texts`` when None."""
    scored: bool = False


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask the helper language model (refine, fill) each query; send back a list of answer texts, in order."""

    queries: Sequence[Query]
    stage: Stage


@dataclass(frozen=True, slots=True)
class Encode:
    """Embed ``texts``; send back a float32 array of shape (len(texts), dim) with rows of unit length."""

    texts: Sequence[str]
    stage: Stage


Work = Literal["refine", "noise", "recover", "encode", "cluster", "model", "certificate"]
"""What time is accounted to (the paper's Figure 4)."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Not a question: says what the generator does until its next request, for whoever keeps a clock. Send None."""

    work: Work


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Run these computations at the same time, each as if it were alone; send back the list of their results, in order.

    What they cost is the cost of the computation that asks for them.
    """

    computations: Sequence[Callable[[], Generator[Any, Any, Any]]]
    backends: Any = None
    """Who answers their requests (:class:`clucert.runtime.computation.Backends`); None is who answers this one."""


Request = Classify | Generate | Encode | Phase | SideBySide


KEPT = 20
"""Different unread answers that are kept as examples, of one text."""


@dataclass(slots=True)
class Cost:
    """What a computation cost: calls and tokens by kind of work, wall time by kind of work, in seconds."""

    samples: int = 0
    """Noised texts that were voted on; identical ones share a call when the model is deterministic."""
    classify: Usage = field(default_factory=Usage)
    generate: Usage = field(default_factory=Usage)
    """The helper model's: refine and fill."""
    seconds: defaultdict[Work, float] = field(default_factory=lambda: defaultdict(float))
    reused: Usage = field(default_factory=Usage)
    """The part of ``total`` that was not paid for now: answers from the cache, or asked for by another input."""

    unread: list[Unread] = field(default_factory=list)
    """Examples of answers that were no votes, no two alike; those of the selecting samples come first."""

    def show(self, unread: Sequence[Unread]) -> None:
        """Keep examples, as long as there is room."""
        self.unread = list(dict.fromkeys([*self.unread, *unread]))[:KEPT]

    @property
    def total(self) -> Usage:
        """Calls and tokens of both models."""
        return self.classify + self.generate

    @property
    def paid(self) -> Usage:
        """Calls and tokens that were sent for this computation alone."""
        return self.total - self.reused

    def add(self, other: Cost) -> None:
        """Count what a part of this computation cost."""
        self.samples += other.samples
        self.classify += other.classify
        self.generate += other.generate
        self.reused += other.reused
        self.show(other.unread)
        for work, seconds in other.seconds.items():
            self.seconds[work] += seconds
