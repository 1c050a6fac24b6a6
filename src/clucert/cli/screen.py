"""What a command prints: sentences that are folded and tables that fit where standard output is a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence

from clucert.cli.terminal import echo
from clucert.render import key_value_table, rows_table, safe


def width() -> int | None:
    """Columns of the terminal; None where the output goes to a file or another program, which need no line ends."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(*sentences: str) -> None:
    """Print each, folded between words. Texts are hostile: what is no character to print is shown as its code."""
    for sentence in sentences:
        echo(_folded(safe(sentence, 2000).plain, width()))


def warn(kind: str, sentence: str) -> None:
    """Print a warning or a note on standard error, folded where that is a terminal."""
    columns = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    echo(_folded(safe(f"clucert: {kind}: {sentence}", 2000).plain, columns, "  "), err=True)


def headline(sentence: str) -> None:
    """Print the sentence that says what holds, before everything else."""
    echo(_folded(safe(sentence, 2000).plain, width()), bold=True)


def show(rows: Sequence[Mapping[str, object]], title: str = "", keys: int = 1) -> None:
    """Print a table and what it is about; nothing for no rows. ``keys`` columns say which row is which."""
    if rows:
        echo()
        say(*filter(None, [title]))
        echo(rows_table(rows, width(), keys))


def pairs(fields: Mapping[str, object]) -> None:
    """Print names and values, long values folded beside their names."""
    space, columns = max(map(len, fields), default=0) + 2, width()
    for line in key_value_table(fields).splitlines():
        echo(_folded(line, columns, " " * space))


def _folded(text: str, columns: int | None, indent: str = "") -> str:
    if columns is None:
        return text
    fold = textwrap.TextWrapper(
        columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
    fold.replace_whitespace = fold.expand_tabs = False
    return "\n".join(fold.wrap(text)) or text
