"""Hostile text made harmless where it is shown: the one place that knows what a terminal acts on.

Texts, labels, answers, model names and error messages come from data, servers and models. None of their control
characters, escape sequences, changes of direction or invisible characters reaches a terminal or a log.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Controls of both sets (U+009B begins an escape sequence, too), line separators, changes of direction, invisible
# characters and tags, lone surrogates. The joiners U+200C and U+200D belong to scripts and emoji.
_HOSTILE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u070f\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str, *, lines: bool = False) -> str:
    r"""``text`` with what a terminal acts on as ``\x1b``; line breaks and tabs are spaces, or with ``lines`` kept.

    Printable text is returned as it is.
    """
    if text.isprintable():
        return text
    return _HOSTILE.sub(_kept if lines else _spaced, text.replace("\r\n", "\n"))


def harmless_json(document: Any, **options: Any) -> str:
    """``document`` as JSON in which the same characters are escaped, so that it reads back as it was."""
    return escaped_json(json.dumps(document, ensure_ascii=False, **options))


def escaped_json(written: str) -> str:
    """JSON with the same characters escaped; it reads back as it did before."""
    return written if written.isascii() else _HOSTILE.sub(_json_escape, written)


def replaced(text: str) -> str:
    """``text``, as long as before, with U+FFFD in place of each such character but line breaks and tabs."""
    return text if text.isprintable() else _HOSTILE.sub(lambda c: c[0] if c[0] in "\n\t" else "\ufffd", text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _kept(found: re.Match[str]) -> str:
    return found[0] if found[0] in "\n\t" else _escape(found)


def _spaced(found: re.Match[str]) -> str:
    return " " if found[0] in "\n\r\t" else _escape(found)


def _json_escape(found: re.Match[str]) -> str:
    # Between the values, line breaks are the layout; within a string they are escaped already.
    return found[0] if found[0] in "\n\t" else json.dumps(found[0])[1:-1]
