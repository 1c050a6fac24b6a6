"""Text ↔ words, without loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import regex


@dataclass(frozen=True, slots=True)
class WordedText:
    """A text as its words and what stands between them: ``gaps[0] + words[0] + gaps[1] + … + gaps[n]``."""

    words: tuple[str, ...]
    gaps: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def text(self) -> str:
        """The text, exactly as it was split."""
        return self.join(self.words)

    def join(self, words: Sequence[str]) -> str:
        """The text with other words in the same places."""
        return "".join(g + w for g, w in zip(self.gaps, words, strict=False)) + self.gaps[-1]


def split(text: str) -> WordedText:
    """Split ``text`` into its words, losing nothing: ``split(t).text == t`` for every string.

    A word is what a reader would call one: letters, digits and their marks with inner apostrophes, hyphens
    and underscores; abbreviations with their periods (``U.S.``); a number with its separators (``$1,000``
    holds ``1,000``); a URL, an e-mail address or a file path; an emoji; one Han character; a run of hiragana
    or of katakana. Scripts written without spaces that would need a dictionary (Thai, Lao, Khmer) give one
    word a run. The tokens of a treebank (``'s``, ``n't``) are words; its brackets (``-lrb-``), HTML entities, tags
    that lay out (``<br />``, ``<p>``) and all other punctuation, white space and control characters go to the gaps.

    Linear time on any input: every part of the pattern that could fail late is possessive or of bounded
    length.
    """
    words: list[str] = []
    gaps: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        start = match.start()
        gaps.append(text[end:start])
        words.append(match.group())
        end = match.end()
    gaps.append(text[end:])
    return WordedText(tuple(words), tuple(gaps))


def is_word(string: str) -> bool:
    """Whether ``string`` is exactly one word with nothing around it."""
    return split(string).words == (string,)


def same_shape(text: WordedText, words: Sequence[str]) -> bool:
    """Whether ``words`` put into ``text`` split back into exactly these words.

    It holds for words (:func:`is_word`) wherever the gaps beside them hold white space: no word spans white
    space and no rule looks across it. In a gap without, two neighbours may merge: two kana runs that replace
    Han characters, or ``it`` and ``com`` around a bare period. A mask token with brackets is never one word,
    so the answer for it is False.
    """
    return len(words) == len(text) and split(text.join(words)).words == tuple(words)


# The building blocks. ASCII comes first in every class because it is tested first.
_CORE = r"[a-zA-Z0-9[\p{L}\p{N}\p{M}--[\p{Han}\p{Hiragana}\p{Katakana}\u30FC\uFF70\uFE0E\uFE0F\u20E3]]]"
_START = r"(?=[a-zA-Z0-9\p{L}\p{N}])"
_JOINER = r"['’\-‐‑·\u05F3\u05F4\u00AD\u200C\u200D\u2060\uFEFF]"
_TAIL = r"[^\s<>\"'`|{}]*[\w/]"

_URL = rf"(?i:(?:https?|ftp)://|www\.(?=\w)){_TAIL}"
# The local part is bounded as in RFC 5321, which also bounds what is read from every word that has no @.
_EMAIL = r"[a-zA-Z0-9][\w.+\-]{0,63}+@(?:[\w\-]{1,63}+\.(?=\w)){1,8}+\w{2,24}+"
_HOST = (
    r"(?i:(?:[a-z0-9][a-z0-9\-]{0,62}+\.){1,4}(?:com|org|net|edu|gov|io)(?![\w\-])"
    rf"(?:/{_TAIL}|['’]s(?!\w))?)"
)
_FILE = (
    r"(?:(?:[a-zA-Z]:|~|\.{1,2})?[/\\])?(?:[\w\-.]{1,64}+[/\\]){0,16}+[\w\-]{1,64}+"
    r"\.(?:py|js|ts|c|h|cpp|rs|go|java|sh|md|txt|csv|json|jsonl|ya?ml|toml|ini|html?|xml|pdf|docx?|xlsx?|png|jpe?g|gif|"
    r"zip|gz|exe|dll|log)(?![\w\-])"
)
_PATH = r"(?:(?:[a-zA-Z]:|~|\.{1,2})?[/\\][\w\-.]{1,64}+){2,16}+(?<=\w)"

_PICTOGRAPH = (
    r"(?:[\p{Extended_Pictographic}--[0-9#*©®‼⁉™ℹ\u2190-\u21FF\u3030\u303D]]|\p{Extended_Pictographic}(?=\uFE0F))"
    r"[\p{Emoji_Modifier}\uFE0E\uFE0F\u20E3\U000E0020-\U000E007F]*+"
)
_EMOJI = rf"\p{{Regional_Indicator}}{{1,2}}+|[0-9#*]\uFE0F?\u20E3|{_PICTOGRAPH}(?:\u200D{_PICTOGRAPH})*+"

_CJK = r"[\p{Han}]\p{M}*+|[\p{Hiragana}\u30FC]++\p{M}*+|[\p{Katakana}\u30FC\uFF70]++\p{M}*+"
_NUMBER = r"[0-9]++(?:[.,:/][0-9]++)++"
_ABBREVIATION = r"\p{L}(?:\.\p{L})+(?![\p{L}\p{N}\p{M}])\.?|(?i:ph\.d)\b\.?"
_CLITIC = r"(?<![\p{L}\p{N}])['’](?i:s|re|ve|ll|d|m|em|til|tis|twas)(?![\p{L}\p{N}'’])"
# A line break is written <br />, and nothing here looks across white space: its name ends there, too. Tags with
# attributes are left to be words: what stands in them is read by a model, and is to be noised. So are <b> and the like,
# as stored certificates have them.
TAG = r"(?i:</?br(?=[\s/>]|$)|</?(?:p|hr|div|ul|ol|li|dl|dt|dd|table|tr|td|th|h[1-6]|blockquote|pre)/?>)"
"""A tag of HTML that lays out, without attributes, or the beginning of a line break: no word."""

_NOT_A_WORD = (
    rf"(?:{TAG}|(?<!\w)-(?i:[lr][rcs]b)-(?!\w)|&(?i:lt|gt|amp|quot|apos|nbsp);"
    r"|&?\#(?:[0-9]{1,7}|x[0-9a-fA-F]{1,6});)(*SKIP)(*FAIL)"
)
_PLAIN = (
    rf"(?:[A-Z](?:\+\+|\#)(?!\w)|{_START}{_CORE}++"
    rf"(?:(?:{_JOINER}|_++)(?={_CORE}){_CORE}++|(?<=[0-9])[.,:/](?=[0-9]){_CORE}++|(?<=[A-Z])&(?=[A-Z]){_CORE}++)*+)"
)

_WORD = regex.compile(
    "|".join((_NOT_A_WORD, _URL, _EMAIL, _HOST, _FILE, _PATH, _EMOJI, _ABBREVIATION, _CLITIC, _CJK, _PLAIN)),
    regex.V1,
)

URL = regex.compile(f"{_URL}|{_EMAIL}|{_HOST}", regex.V1)
"""A word that is a URL, an e-mail address or a host name, on full match."""

PATH = regex.compile(f"{_FILE}|{_PATH}", regex.V1)
"""A word that is a file path or a file's name, on full match."""
