"""Runs attacks to their ends, many side by side, so that what they ask goes to the victim in one batch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np

from clucert.attacks.base import Ask, Attack, AttackResult, Scored
from clucert.attacks.victims import Victim
from clucert.errors import BadAnswerError, FatalModelError, InputError, ModelError
from clucert.models.encoders import load_encoder
from clucert.protocols import Encoder
from clucert.types import Encode

SIDE_BY_SIDE = 32
"""Attacks under way at once: what they ask one victim is answered in one batch."""

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """Texts for ``victim`` to score; send back a list of :class:`Scored`, in order."""

    victim: Victim
    texts: Sequence[str]


Course = Generator[Question | Encode, Any, T]
"""An attack, or several one after the other, that waits for answers."""


def course_of(
    attack: Attack, victim: Victim, text: str, gold: str, rng: np.random.Generator, max_queries: int | None = None
) -> Course[AttackResult]:
    """The course of one attack on the answer of ``victim`` to ``text``, whose right answer is ``gold``."""
    steps = attack.steps(text, gold, rng, max_queries=max_queries)
    reply: Any = None
    with closing(steps):
        while True:
            try:
                request = steps.send(reply)
            except StopIteration as stop:
                result: AttackResult = stop.value
                return result
            reply = yield Question(victim, request.texts) if isinstance(request, Ask) else request


def attack_text(
    attack: Attack,
    victim: Victim,
    text: str,
    gold: str,
    rng: np.random.Generator,
    *,
    max_queries: int | None = None,
    encoder: Encoder | None = None,
) -> AttackResult:
    """Attack the answer of ``victim`` to ``text``, whose right answer is ``gold``.

    ``encoder`` measures sentences for attacks that ask for it; MiniLM is loaded when none is given. Raises what the
    victim raises: an attack that lost an answer has no result.
    """
    course = course_of(attack, victim, text, gold, rng, max_queries)
    ((_, result),) = side_by_side([(None, course)], 1, encoder)
    if isinstance(result, (ModelError, InputError)):
        raise result
    return result


def side_by_side(
    courses: Iterable[tuple[K, Course[T]]], width: int, encoder: Encoder | None = None
) -> Iterator[tuple[K, T | ModelError | InputError]]:
    """Run every course, ``width`` at a time: results as they come, each the same as if its course had run alone.

    In each round the questions of all courses to one victim are one call; a victim that samples (``numbers_draws``)
    numbers the draws of a call, so it is asked about each course separately. When that call fails, each course asks for
    itself, so an error ends only those that meet it: it takes the place of their results. Texts to embed are never put
    together, because an embedding's last bits depend on its batch. Raises :class:`FatalModelError`, which every
    course would meet.
    """
    line = iter(courses)
    running: list[_Running[K, T]] = []
    try:
        while True:
            running += [_Running(key, course) for key, course in islice(line, width - len(running))]
            if not running:
                return
            _serve(running, encoder)
            yield from [(one.key, one.outcome) for one in running if one.outcome is not None]
            running = [one for one in running if one.outcome is None]
    finally:
        for one in running:
            one.course.close()


class _Running(Generic[K, T]):
    """A course, and what it waits for or came to."""

    def __init__(self, key: K, course: Course[T]) -> None:
        self.key, self.course = key, course
        self.request: Question | Encode | None = None
        self.outcome: T | ModelError | InputError | None = None
        self.go_on(None)

    def go_on(self, reply: Any) -> None:
        """Send ``reply`` and keep what the course asks next, or its end."""
        self.request = None
        try:
            self.request = self.course.send(reply)
        except StopIteration as stop:
            self.outcome = stop.value
        except FatalModelError:
            raise
        except (ModelError, InputError) as error:
            self.fail(error)

    def fail(self, error: ModelError | InputError) -> None:
        """End the course without a result."""
        self.course.close()
        self.outcome = error


def _serve(running: Sequence[_Running[Any, Any]], encoder: Encoder | None) -> None:
    """Answer what each waits for, once."""
    asking: dict[tuple[int, int], list[_Running[Any, Any]]] = {}
    for one in running:
        if isinstance(one.request, Question):
            victim = one.request.victim
            # Numbers that went on from one course to the next would make its answers depend on the others.
            alone = getattr(victim, "numbers_draws", False)
            asking.setdefault((id(victim), id(one) if alone else 0), []).append(one)
        elif one.request is not None:
            one.go_on((encoder or _minilm()).encode(one.request.texts))
    for group in asking.values():
        _ask(group)


def _ask(group: Sequence[_Running[Any, Any]]) -> None:
    """Answer questions to one victim."""
    questions = [one.request for one in group if isinstance(one.request, Question)]
    try:
        answers = _scored(questions[0].victim, [text for question in questions for text in question.texts])
    except FatalModelError:
        raise
    except (ModelError, InputError) as error:
        if len(group) == 1:
            group[0].fail(error)
        else:
            for one in group:
                _ask([one])
        return
    rest = iter(answers)
    for one, question in zip(group, questions, strict=True):
        one.go_on(list(islice(rest, len(question.texts))))


def _scored(victim: Victim, texts: Sequence[str]) -> list[Scored]:
    reply = victim.score(texts)
    if len(reply) != len(texts):
        raise BadAnswerError(f"{victim.name} gave {len(reply)} answers to {len(texts)} texts")
    return reply


@cache
def _minilm() -> Encoder:
    return load_encoder()
