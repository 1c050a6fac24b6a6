r"""The strict reader of labels: an answer votes only when it *states* one label. Nothing here guesses.

**Words.** Texts are compared after :func:`fold`: case, compatibility forms (``１`` is ``1``), dashes, quotes and white
space do not matter; everything else does. A label is a whole word, and signs, digits, points, percent, currency,
fractions and units belong to it: of ``-1``, ``0.9``, ``1%``, ``$1``, ``1/2``, ``1st`` none is ``1``. Only quotes,
brackets and emphasis in pairs, and a closing full stop, comma, semicolon or exclamation mark, are dress, and none of
them where a label itself begins or ends with that character (``*``, ``C#``, ``<50K``). Where nothing else fits, a
hyphen or underscore between letters equals a space (``non-toxic`` is *non toxic*).

**An answer states a label** in one of three ways:

1. It is the label and nothing else.
2. It is JSON: a string, or an object with one answer key (``label``, ``answer``, …) that is a label. What its other
   fields say does not matter, what is written around it must name no other label.
3. One of its lines or sentences is the label alone, or a *heading* and the label: ``Sentiment: positive``, ``the final
   answer is positive``, ``I would classify this review as positive``. A heading is made of the few words in ``_LEAD``
   and ``_COPULA`` alone, so it holds no negation, hedge, alternative or question. "because" ends a statement. A number
   or a single letter ends in no full stop with more behind it: "1. First, …" is a list.

Then **nothing else may be named**: a text that holds another label anywhere, as a whole word, is no vote, nor is one
that states its label in one sentence and negates it in another. So a list of labels, an echo of the question and a
comparison are unparsed, and so is a sentence that merely contains a label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clucert.tasks.spelling import (
    UNDRESSINGS,
    Spellings,
    fold,
    lookup,
    names_in,
    others,
    spellings_of,
    undressed,
    unfenced,
    whole_label,
)

MAX_ANSWER = 20_000
"""Characters; a longer answer states nothing."""

# A full stop ends a sentence behind two letters; behind a digit or a single letter, or before
# a digit ("No. 1"), it may number something.
_SENTENCE = re.compile(
    r"(?!\.\s\d)(?<=[^\W\d_][^\W\d_])([.!;。])(?=\s)|(?<=[^\W\d_][^\W\d_]['\"*_)\]`])([.!;。])(?=\s)|\?(?=\s)"
)
_BECAUSE = re.compile(r",? because\b")
_NEGATION = re.compile(
    r"\b(?:not|no|nor|neither|never|cannot|without|hardly|either|or|between|unsure|unclear|wrong|incorrect)\b|n't\b"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LEAD = _words(
    """the this that these my our your its it it's i i'd i'll we we'd so thus therefore hence then here here's
    overall clearly definitely certainly sure ok okay final correct right best predicted overall single most appropriate
    fitting answer label class category classification sentiment result prediction verdict output choice option decision
    rating score topic section response conclusion judgment judgement type tag intent emotion tone polarity subject
    theme genre language stance grade level of for to in given above following provided review reviews text article news
    item message sentence passage request statement comment tweet post email e-mail mail document input film movie
    question prompt exchange and would will can should must have has been be classify classified label labelled labeled
    categorize categorise categorized categorised rate rated call called consider considered tag tagged mark marked
    belongs belong falls fall under into assign assigned choose chosen select selected"""
)
_MARKING = _words(": = - -> => →")
_ASKED = _words(
    """answer label class category classification sentiment result prediction verdict output choice option decision
    rating score topic section response conclusion judgment judgement type tag intent emotion tone polarity theme genre
    language stance grade level is are as be"""
)
_COPULA = _words(": = - -> => → is are was as be to under into call choose select")
_NOUNS = _words("option class category label choice section")
_AUXILIARY = _words("is are was be would will can should must have has as to under into - = :")
_I = _words("i i'd i'll we we'd")
_SHORT = 3
_CHOICE = _words("call choose select")
_CALLING = _words("call rate consider label mark tag")
_LONGEST_LEAD = 20
_MARKS = "*_`\"'"
# ``label=spam`` and ``"label":"spam"``, but no address and no time.
_JOINED = re.compile(r"^([\"'*_`]*[a-z]{2,20}(?: [a-z]{2,20})?[\"'*_`]*)([:=])(?=[^\s/])")
_ANSWER_KEYS = (
    *("label", "answer", "class", "category", "classification", "sentiment", "result", "prediction", "verdict"),
    *("output", "choice", "final_answer", "final answer", "rating", "score", "topic"),
)


def parse_label(text: str, names: Mapping[str, str]) -> str | None:
    """The label that ``text`` states, or None; the rule is that of this module.

    ``names`` maps every spelling (labels themselves included) to its label. Time is linear in ``text``.
    """
    return read_label(text, spellings_of(tuple(names.items())))


def read_label(text: str, spellings: Spellings) -> str | None:
    """:func:`parse_label` with spellings at hand."""
    if len(text) > MAX_ANSWER:
        return None
    if (label := whole_label(text, spellings)) is not None:
        return label
    decoded = _json_answer(unfenced(text))
    if decoded is not None:
        answer, around = decoded
        label = None if answer is None else whole_label(answer, spellings)
        return label if label is not None and others(around, label, spellings) is None else None
    return _stated(text, spellings)


def _stated(text: str, spellings: Spellings) -> str | None:
    """The one label that lines or sentences of ``text`` state, when nothing contradicts."""
    stated, rest = set(), []
    for line in unfenced(text).splitlines():
        for part in _parts(line, spellings):
            label = _statement(part, spellings)
            if label is None:
                rest.append(part)
            else:
                stated.add(label)
    if len(stated) != 1:
        return None
    (label,) = stated
    negated = any(_NEGATION.search(part) and (names_in(part, spellings) or _retracts(part)) for part in rest)
    return None if negated or any(others(part, label, spellings) for part in rest) else label


def _retracts(part: str) -> bool:
    """Whether so few words with a negation ("Not", "Actually, no") may be about the label that stands beside them."""
    return len(part.split()) <= _SHORT


def _parts(line: str, spellings: Spellings) -> Iterator[str]:
    """The line if it states something as a whole, else its sentences, folded."""
    plain = fold(line)
    if not plain:
        return
    if _statement(plain, spellings) is not None:
        yield plain
        return
    start = 0
    for end in _SENTENCE.finditer(plain):
        yield from _sides(plain[start : end.end()].strip())
        start = end.end()
    yield from _sides(plain[start:].strip())


def _sides(sentence: str) -> Iterator[str]:
    """What is stated, and why."""
    because = _BECAUSE.search(sentence)
    yield from filter(None, (sentence[: because.start()], sentence[because.end() :]) if because else (sentence,))


def _statement(plain: str, spellings: Spellings) -> str | None:
    """The label that a folded line or sentence states: it is the label alone, or a heading and the label."""
    if (label := _listed(plain, spellings)) is not None:
        return label
    words = _spaced(plain, spellings)
    lead: list[str] = []
    # A heading has few words, and whatever follows it is the label: so each end of one is tried.
    for end in range(1, min(len(words), _LONGEST_LEAD)):
        lead.append(_bare(words[end - 1]))
        if lead[-1] not in _LEAD and lead[-1] not in _COPULA:
            return None
        if not _asserts(lead) and not _calls(lead):
            continue
        label = _listed(" ".join(words[end:]), spellings)
        # "Label: - 1" may be −1.
        if label is not None and not (lead[-1] == "-" and words[end][:1].isdigit()):
            return None if others(" ".join(lead), label, spellings) else label
    return None


def _asserts(lead: Sequence[str]) -> bool:
    """Whether the words of a heading lead up to an answer: "the answer is", "sentiment:", "I classify this as"."""
    if lead[0] in _AUXILIARY:
        return False
    if lead[-1] in _NOUNS:
        return any(word in _COPULA for word in lead)
    if lead[-1] in _CHOICE:
        return lead[0] in _I
    if lead[-1] in _MARKING and _ASKED.isdisjoint(lead):
        # "Review: positive" repeats what was asked about.
        return False
    return lead[-1] in _COPULA or lead[-1] in ("it's", "here's")


def _calls(lead: Sequence[str]) -> bool:
    """Whether the label comes straight behind, as in "I would call this review"."""
    return lead[0] in _I and len(lead) > 2 and not _CALLING.isdisjoint(lead[1:4])


def _spaced(plain: str, spellings: Spellings) -> list[str]:
    """The words of an undressed line, with the colon or sign of equality behind a heading as a word of its own."""
    for _ in range(UNDRESSINGS):
        plain, before = undressed(plain, spellings), plain
        if plain == before:
            break
    words: list[str] = []
    for word in _JOINED.sub(r"\1\2 ", plain).split():
        bare = word.rstrip(_MARKS)
        if len(bare) > 1 and bare[-1] in ":=" and bare[:-1].strip(_MARKS).replace("-", "").isalpha():
            words += [bare[:-1], bare[-1]]
        else:
            words.append(word)
    return words


def _bare(word: str) -> str:
    return word if word in _COPULA else word.strip(f"{_MARKS}(),")


def _listed(plain: str, spellings: Spellings) -> str | None:
    """The label of a phrase that is one spelling, or several of one label: "safe, not harmful"; "sci/tech (tech)"."""
    if (label := lookup(plain, spellings)) is not None:
        return label
    parts = [part for part in re.split(r"[,()]", plain.rstrip(spellings.stops)) if part.strip()]
    found = {lookup(part.strip(), spellings) for part in parts}
    return found.pop() if len(parts) > 1 and len(found) == 1 else None


def _json_answer(text: str) -> tuple[str | None, str] | None:
    """What JSON in ``text`` answers (None for nothing), and what stands around it; None when there is no JSON."""
    start, end = text.find("{"), text.rfind("}") + 1
    if text.startswith(('"', "[")):
        start, end = 0, len(text)
    if start < 0 or end <= start:
        return None
    try:
        value: Any = json.loads(text[start:end], object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and not isinstance(value, _Pairs) and len(value) == 1:
        value = value[0]
    if isinstance(value, _Pairs):
        value = value.answer()
    if isinstance(value, bool):
        value = str(value)
    around = re.sub(r"```\w{0,20}", " ", f"{text[:start]}\n{text[end:]}")
    return (value if isinstance(value, str) else None), around


class _Pairs(list[tuple[str, Any]]):
    """The fields of a JSON object, those that are there twice included."""

    def answer(self) -> Any:
        """The value of its one answer key; of its only key, whatever its name, where that is no number."""
        answers = [value for key, value in self if fold(key) in _ANSWER_KEYS]
        if not answers and len(self) == 1:
            ((key, value),) = self
            answers = (
                []
                if re.fullmatch(r"[\d.+-]+", str(value)) or _NEGATION.search(fold(key).replace("_", " "))
                else [value]
            )
        value = answers[0] if len(answers) == 1 else None
        return value[0] if isinstance(value, list) and not isinstance(value, _Pairs) and len(value) == 1 else value
