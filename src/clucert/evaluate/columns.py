"""Which columns of a table hold texts, labels and ids: those that the user names, else the usual ones."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from clucert.core.noise.tokens import FIXED_PARTS
from clucert.errors import InputError
from clucert.evaluate.readers import Format, Table
from clucert.section import flag

TEXT_COLUMNS = ("text", "sentence", "question", "prompt")
MESSAGES = "messages"
"""The column of chats. Of one message that is not the system's, its content is the text."""
LISTS: Mapping[str, str] = {"passage": "passages", "turn": "messages"}
"""By the unit of a method that keeps or drops whole passages or turns: the column that lists them."""
LABEL_COLUMNS = ("label", "answer")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the fields of a row are, by the names of columns; None for what is nowhere."""

    text: str
    label: str | None
    id: str | None
    extra: Mapping[str, str]
    fixed: Mapping[str, str | None] = field(default_factory=dict)
    """Where the text is a list: what is fixed, by its name."""
    lists: bool = False

    @property
    def all(self) -> list[str]:
        """The columns that have to be read, each once."""
        named = (self.text, self.label, self.id, *self.extra.values(), *self.fixed.values())
        return list(dict.fromkeys(name for name in named if name))


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where examples come from and how to read them.

    ``path`` is a CSV, TSV, JSON Lines or Parquet file, or ``hf:NAME[:CONFIG][@SPLIT]``. Columns that are not named are
    the usual ones above, ``id`` and ``attack``; without an id column (or with
    ``id_column=""``) an example's id is the number of its line.

    ``quoted`` says whether CSV and TSV use quotes (default: yes, and an ambiguous row of TSV is malformed), ``header``
    whether they begin with names; else columns are called 1, 2, … ``encoding`` is that of the file (default: UTF-8).

    A row without a label, and every row of a file without such a column, is certified and not judged.

    With ``unit`` passage or turn an example's text is the JSON of :func:`clucert.core.noise.tokens.listed`: the list in
    the text column (first of all ``passages`` or ``messages``), and the columns ``system`` and ``question`` as what is
    fixed.

    ``limit`` takes the first examples and reads no further. ``sample`` draws that many at random with ``seed``,
    uniformly without replacement from what ``limit`` leaves, and keeps them in the order of the file; a larger sample
    with the same seed holds the smaller one.
    """

    path: str
    format: Format | None = None
    quoted: bool | None = None
    header: bool = True
    encoding: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    attack_column: str | None = None
    extra_columns: tuple[str, ...] = ()
    label_map: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    skip_malformed: bool = False
    unit: str | None = None


def choose_columns(table: Table, source: DataSource, need_labels: bool) -> Columns:
    """The columns of ``table`` that ``source`` names, else the usual ones. Raises :class:`InputError` for none."""
    lists = LISTS.get(source.unit or "")
    usual = (*TEXT_COLUMNS, MESSAGES) if lists is None else (lists, *TEXT_COLUMNS)
    text = _column(table, source, source.text_column, usual, "text_column")
    label = _column(table, source, source.label_column, LABEL_COLUMNS, "label_column", optional=True)
    if label is None and source.label_column is None:
        _check_unlabelled(table, source, need_labels=need_labels)
    identity = _column(table, source, source.id_column, ("id",), "id_column", optional=True)
    attack = _column(table, source, source.attack_column, ("attack",), "attack_column", optional=True)
    extra = {name: _column(table, source, name, (), "extra_columns") or name for name in source.extra_columns}
    if attack:
        extra["attack"] = attack
    if text is None:  # for the type checker: a required column is found or raised about
        raise InputError(f"{source.path} has no text column")
    found = {name: _column(table, source, None, (name,), "", optional=True) for name in FIXED_PARTS if lists}
    fixed = {name: column for name, column in found.items() if column not in (None, text)}
    return Columns(text, label, identity, extra, fixed, lists is not None)


LIKE_LABELS = frozenset(
    ("labels", "target", "targets", "class", "classes", "gold", "category", "sentiment", "y", "output", "answers", "v1")
)
"""Columns that may well hold the labels although nobody said so: never passed over in silence."""


def _check_unlabelled(table: Table, source: DataSource, *, need_labels: bool) -> None:
    """Raise :class:`InputError` where labels are needed, or another column looks as if it held them."""
    like = [name for name in table.columns if name.casefold() in LIKE_LABELS]
    if not need_labels and not like:
        return
    known = ", ".join(map(repr, table.columns)) or "none"
    named = f"did you mean {like[0]!r}? --label-column {like[0]}" if like else "name one with --label-column"
    without = "" if need_labels else ", or --label-column '' where there are no labels"
    raise InputError(
        f"{source.path} has no column {' or '.join(map(repr, LABEL_COLUMNS))}: {named}{without}; "
        f"columns: {known}{table.hint}"
    )


def _column(
    table: Table,
    source: DataSource,
    named: str | None,
    usual: tuple[str, ...],
    option: str,
    *,
    optional: bool = False,
) -> str | None:
    """The column to read: the one named, else the first usual one that is there; case decides only between two."""
    if named == "" and optional:
        return None
    by_case = {name.casefold(): name for name in reversed(table.columns)}
    for name in (named,) if named is not None else usual:
        if name in table.columns:
            return name
        if name.casefold() in by_case:
            return by_case[name.casefold()]
    if optional and named is None:
        return None
    known = ", ".join(map(repr, table.columns)) or "none"
    wanted = repr(named) if named is not None else " or ".join(map(repr, usual))
    near = difflib.get_close_matches(named or usual[0], table.columns, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise InputError(
        f"{source.path} has no column {wanted}: {hint}name one with {flag(option)}; columns: {known}{table.hint}"
    )
