"""Reads the final number of a worked answer, exactly: equal numbers are equal votes."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from fractions import Fraction

MAX_DIGITS = 60
MAX_EXPONENT = 60

_GROUP = "[,\u00a0\u2009\u202f']"
_DIGITS = rf"(?:\d{{1,3}}(?:{_GROUP}\d{{3}})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)"
_POWER = r"(?:[eE][+-]?\d+|\s?[x×*·]\s?10\s?\^\s?[+-]?\d+)"
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_NUMBER = re.compile(
    rf"""
    (?<![\w./])                                     # not the tail of a word or of another number
    (?P<sign>(?<![)\]}}])[-+−–])?
    (?:[$€£¥]\s?(?P<inner>[-−])?)?
    (?:
        (?P<whole>\d+)\s(?P<mixed>\d+/\d+)(?![\d/])
      | (?P<over>{_DECIMAL})\s?/\s?(?P<under>\d+(?:\.\d+)?)(?![\d/]|\.\d)
      | (?P<before>\d+)?\s?(?P<vulgar>[{_VULGAR}])
      | (?P<decimal>{_DECIMAL})(?!\d|/\d)(?P<power>{_POWER})?
    )
    """,
    re.VERBOSE,
)
_HASHES = re.compile(r"####(?!#)")
_BOXED = re.compile(r"\\f?boxed\s?\{")
_ANSWER = re.compile(r"\banswer\s*(?:is\b|would be\b|:|=)", re.IGNORECASE)
_BEFORE = re.compile(r"[\s*_`\"'(\[:=≈~]*(?:[a-zA-Z]\s?=\s?)?")
"""What may stand between a marker and its number."""
_BESIDE = re.compile(rf"[^\d\\^+*/√π.−–{_VULGAR}-]*")
"""The same in a box."""
_GOES_ON = re.compile(
    r"\s?(?:[+/×·÷^=π√]|[*x:,.−–-](?=\s?\d)|\\(?:sqrt|pi)\b)|[xyznk]\b|\s(?:or|to)\s[^\w\s]?\d", re.IGNORECASE
)
"""A number that this follows is a part of an expression, a range, a time, a list or an alternative."""
_HEDGED = re.compile(
    r"\s*(?:not|between|either|neither|less|more|at least|at most)\b(?![^.;!?\n]*\bbut\b)", re.IGNORECASE
)
"""Behind "answer is": no answer, but for "not 5 but 7"."""
_NUMBERED = re.compile(r"[.)]\s*[^\W\d_]")
"""``#### 2. Check`` may be a heading."""
_SENTENCE_END = re.compile(r"[.;!?](?=\s|$)|\n")
_BEHIND = 400
"""Characters behind a marker that are looked at."""
_MARKERS = 50
"""Markers of one kind that are looked at, from the end."""
_LATEX = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        (r"\\(?:left|right|displaystyle|[()\[\]])", ""),
        (r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s?\{([^{}]*)\}", r"\1"),
        (r"\^\s?(?:\{\s?\\circ\s?\}|\\circ)|\\degree", ""),
        (r"(?<=\d)(?:\{,\}|\\[,!;: ]|~)(?=\d{3})", ","),
        (r"\\[,;: ]|\\quad", " "),
        (r"\\!", ""),
        (r"\\(?:times|cdot)", "×"),
        (r"\^\s?\{\s?([+-]?\d{1,9})\s?\}", r"^\1"),
        (r"\\([$%#&])", r"\1"),
    )
)
_FRACTION = re.compile(r"\\[dtc]?frac\s?(?:\{([^{}]*)\}|(\d))\s?(?:\{([^{}]*)\}|(\d))")


def final_number(text: str) -> str | None:
    r"""The number that an answer ends on, in canonical form, or None when it holds none that is certain.

    Looked for straight behind the last ``####``, in the last ``\boxed{}``, straight behind the last "answer is" or
    "answer:", then in the sentence of that marker, else it is the last number anywhere. A marker with no number is
    passed over; what comes after a marked number does not replace it; a calculation counts by what stands behind its
    last ``=``. A marked expression that is no number (``2\sqrt{3}``, ``3 - 4``, ``2:30``) is None, not another number
    of the text. LaTeX fractions, mixed numbers and thousands are numbers. Units are left aside: ``$5`` is 5 and ``50%``
    is 50, as in GSM8K's gold answers.
    """
    plain = _plain(text)
    hashes, boxes, answers = (_behind(marker, plain) for marker in (_HASHES, _BOXED, _ANSWER))
    readings = (
        *((_marked, rest) for rest in hashes if not _heads(rest)),
        *((_boxed, rest) for rest in boxes),
        *((_marked, rest) for rest in answers),
        *((_marked, rest) for rest in hashes),
    )
    for read, rest in readings:
        if (found := read(rest)) is not _NOTHING:
            return None if found is None else canonical(found)
    sentences = [_SENTENCE_END.split(rest, maxsplit=1)[0] for rest in answers]
    for part in (*sentences, plain):
        if numbers := _numbers(part):
            return canonical(numbers[-1])
    return None


_NOTHING = Fraction(-1, MAX_DIGITS**9)
"""Stands for: no number is here. Told by identity."""


def _marked(rest: str) -> Fraction | None:
    """The number straight behind a marker; None for an expression that is none, ``_NOTHING`` where none is there."""
    before = _BEFORE.match(rest)
    start = before.end() if before else 0
    found = _NUMBER.match(rest, start)
    if found is None:
        return None if _HEDGED.match(rest) else _NOTHING
    if not _GOES_ON.match(rest, found.end()):
        return _value(found)
    clause = _SENTENCE_END.split(rest[start:], maxsplit=1)[0]
    _, equals, result = clause.rpartition("=")
    value = _marked(result) if equals else None
    return None if value is _NOTHING else value


def _heads(rest: str) -> bool:
    """Whether the number behind ``####`` may be that of a heading."""
    before = _BEFORE.match(rest)
    found = _NUMBER.match(rest, before.end() if before else 0)
    return found is not None and _NUMBERED.match(rest, found.end()) is not None


def _behind(marker: re.Pattern[str], plain: str) -> list[str]:
    """What stands behind each marker, the last one first."""
    ends = deque((found.end() for found in marker.finditer(plain)), _MARKERS)
    return [plain[end : end + _BEHIND] for end in reversed(ends)]


def _box(rest: str) -> str:
    """What stands before the closing brace; nothing where there is none."""
    depth = 1
    for end, character in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return rest[:end]
    return ""


def _boxed(rest: str) -> Fraction | None:
    """The one number of a box, with a name before it or a unit behind it; as :func:`_marked` otherwise."""
    box = _box(rest)
    if not any(map(str.isdigit, box)) and not any(c in _VULGAR for c in box):
        return _NOTHING
    beside = _BESIDE.match(box)
    number = box[beside.end() if beside else 0 :]
    found = _NUMBER.match(number)
    if found is None:
        return None
    behind = number[found.end() :]
    alone = not any(map(str.isdigit, behind)) and "\\" not in behind and not behind.startswith("!")
    value = _marked(number) if alone or "=" in number else None
    return None if value is _NOTHING else value


def canonical(number: Fraction) -> str:
    """``42``, ``-0.5``, ``1/3``: a decimal where that is exact, else a fraction in lowest terms."""
    rest = number.denominator
    places = 0
    while rest % 10 == 0 or rest % 5 == 0 or rest % 2 == 0:
        rest //= 10 if rest % 10 == 0 else 5 if rest % 5 == 0 else 2
        places += 1
    if rest != 1:
        return str(number)
    digits = f"{abs(number.numerator) * 10**places // number.denominator:0{places + 1}d}"
    sign = "-" if number < 0 else ""
    if not places:
        return sign + digits
    return f"{sign}{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip(".")


def numbers_in(text: str) -> list[Fraction]:
    """Every number in ``text``, in order; those beyond 60 digits or exponents are left out."""
    return _numbers(_plain(text))


def _numbers(plain: str) -> list[Fraction]:
    return [value for found in _NUMBER.finditer(plain) if (value := _value(found)) is not None]


def _plain(text: str) -> str:
    # Superscripts are no digits: 10⁵ is not 105.
    digits = (str(unicodedata.decimal(c)) if c.isdecimal() and not c.isascii() else c for c in text)
    plain = "".join(digits)
    if "\\" not in plain:
        return plain.replace("{,}", ",")
    for pattern, put in _LATEX:
        plain = pattern.sub(put, plain)
    return _FRACTION.sub(_divided, plain)


def _divided(found: re.Match[str]) -> str:
    """A LaTeX fraction of numbers as ``1/2``, apart from a whole number before it; another one as it is."""
    over, under = ((found[1] or found[2]).strip(), (found[3] or found[4]).strip())
    sign = "-" if over.startswith(("-", "−")) else ""
    over = over.lstrip("-−").replace(",", "")
    if not re.fullmatch(r"\d{1,60}(?:\.\d{1,60})?", over) or not re.fullmatch(r"\d{1,60}(?:\.\d{1,60})?", under):
        return found[0]
    before = found.string[found.start() - 1 : found.start()]
    return f"{' ' if before.isdigit() else ''}{sign}{over}/{under}"


def _value(found: re.Match[str]) -> Fraction | None:
    if len(found[0]) > MAX_DIGITS:
        return None
    part = found.groupdict()
    try:
        if part["whole"]:
            size = int(part["whole"]) + Fraction(part["mixed"])
        elif part["over"]:
            size = Fraction(re.sub(_GROUP, "", part["over"])) / Fraction(part["under"])
        elif part["vulgar"]:
            vulgar = Fraction(unicodedata.numeric(part["vulgar"])).limit_denominator(8)
            size = int(part["before"] or 0) + vulgar
        else:
            size = Fraction(re.sub(_GROUP, "", part["decimal"]))
            exponent = int(re.sub(r"^.*?([+-]?\d+)$", r"\1", part["power"])) if part["power"] else 0
            if abs(exponent) > MAX_EXPONENT:
                return None
            size *= Fraction(10) ** exponent
    except ZeroDivisionError:
        return None
    negative = (part["sign"] in ("-", "−", "–")) != bool(part["inner"])
    return -size if negative else size
