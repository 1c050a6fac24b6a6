"""Tables for canonical forms, out of optional packages: ``pip install 'clucert[canonical]'``.

* look-alike characters: ``confusable-homoglyphs`` (MIT; 0.15 MB), Unicode's confusables.txt (TR 39) as JSON;
* English words with frequencies: ``symspellpy`` (MIT; 2.6 MB), its list of 82,765 words.

Both packages are read as data and not imported.
"""

from __future__ import annotations

import json
import unicodedata
from importlib.util import find_spec
from pathlib import Path

import regex

from clucert.errors import MissingExtraError

_SCRIPTS = regex.compile(r"[\p{Latin}\p{Greek}\p{Coptic}\p{Cyrillic}\p{Armenian}\p{Cherokee}\p{Lisu}\p{Common}]")
"""Scripts whose letters pass for Latin ones. Of others (kana, Arabic) the table has letters that look like a stroke."""


def confusables() -> dict[str, str]:
    """Characters that are not ASCII to the ASCII string they look like, case kept where there is one of each.

    A character whose compatibility form is ASCII already is left out.

    Raises:
        MissingExtraError: ``confusable-homoglyphs`` is not installed.

    """
    table = json.loads(_file("confusable_homoglyphs", "confusables.json").read_text(encoding="utf-8"))
    out = {}
    for char, others in table.items():
        targets = [other["c"] for other in others if other["c"].isascii() and other["c"].isprintable()]
        if len(char) != 1 or char.isascii() or not targets or not _SCRIPTS.match(char):
            continue
        if not unicodedata.normalize("NFKD", char).isascii():
            target = min(targets, key=lambda t: (len(t), t))
            out[char] = "I" if target == "l" and char.isupper() else '"' if target == "''" else target
    return out


def english_frequencies() -> dict[str, int]:
    """English words, lower case, with their counts in a large corpus.

    Raises:
        MissingExtraError: ``symspellpy`` is not installed.

    """
    lines = _file("symspellpy", "frequency_dictionary_en_82_765.txt").read_text(encoding="utf-8-sig").splitlines()
    return {word: int(count) for word, count in map(str.split, lines)}


def _file(package: str, name: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None or not (path := Path(spec.origin).with_name(name)).is_file():
        raise MissingExtraError(f"{package} with its {name}", "pip install 'clucert[canonical]'")
    return path
