"""Tables of plain text, as every command prints them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from clucert.render import key_value_table, rows_table, text_table

CELLS = st.text(st.characters(exclude_categories=("C", "Z", "M")), min_size=1, max_size=9)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5))
def test_columns_stand_below_one_another_on_the_terminal(lines: list[tuple[str, ...]]) -> None:
    """A Chinese character takes two columns, so the widths are the terminal's and not the string's."""
    widths = [max(cell_len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line, written in zip(lines, text_table(lines, right={1}).split("\n"), strict=True):
        before = line[0] + " " * (widths[0] - cell_len(line[0]))
        middle = " " * (widths[1] - cell_len(line[1])) + line[1]
        assert written == f"{before}  {middle}  {line[2]}"


def test_numbers_end_flush_and_text_starts_flush() -> None:
    rows = [{"run": "a", "share": 0.5, "n": 7}, {"run": "中文", "share": None, "n": 1200}]
    assert rows_table(rows) == "run   share     n\na       0.5     7\n中文      –  1200"
    assert rows_table([]) == ""


def test_control_characters_of_a_value_are_shown_and_do_not_bend_the_table() -> None:
    shown = key_value_table({"path": "a\u202eb\x1b[31m", "entries": 3})
    assert shown == "path     a\\u202eb\\x1b[31m\nentries  3"
    assert key_value_table({}) == ""


def test_a_table_that_is_too_wide_goes_on_below_and_breaks_no_number() -> None:
    rows = [{"name": f"row {i}", **{f"figure {k}": 1000 * i + k for k in range(12)}} for i in range(3)]
    whole, folded = rows_table(rows), rows_table(rows, 40)
    assert max(map(len, folded.splitlines())) <= 40 < max(map(len, whole.splitlines()))
    parts = [part.splitlines() for part in folded.split("\n\n")]
    assert all(part[1].startswith("row 0") for part in parts)
    assert [cell for i in (1, 2, 3) for part in parts for cell in part[i].split()[2:]] == [
        cell for line in whole.splitlines()[1:] for cell in line.split()[2:]
    ]
    assert rows_table(rows, 5).count("\n\n") == 11
