"""Tables and plots."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import HOSTILE, NASTY

from clucert.errors import MissingExtraError, UsageError
from clucert.report import sections, write_plots, write_report, write_tables
from clucert.report.summary import read_summaries
from clucert.report.tables import to_csv, to_markdown


def test_every_format_holds_the_same_rows(runs: list[Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    files = write_tables(runs, tmp_path, ("csv", "json", "md", "parquet"))
    assert len(files) == 8
    rows = json.loads((tmp_path / "inputs.json").read_text(encoding="utf-8"))
    assert len(rows) == 72
    assert parquet.read_table(tmp_path / "inputs.parquet").to_pylist() == rows
    with (tmp_path / "inputs.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["text"] for row in read] == [row["text"] for row in rows]
    assert (tmp_path / "inputs.md").read_text(encoding="utf-8").count("\n") == 74


def test_the_summary_table_holds_the_metrics(runs: list[Path], tmp_path: Path) -> None:
    write_tables(runs, tmp_path, ("json",))
    rows = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    for row, summary in zip(rows, read_summaries(runs), strict=True):
        point = summary.at("published", 1)
        assert (row["certacc@1"], row["certacc@1_low"]) == (point.value, point.low)
        assert row["r_avg"] == summary.r_avg
        assert row["money"] is None
        assert row["calls"] == 24 * 250


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
def test_no_text_cell_of_a_csv_is_a_formula(cells: list[str]) -> None:
    written = to_csv([{"cell": cell} for cell in cells])
    _, *read = list(csv.reader(io.StringIO(written, newline="")))
    for row, cell in zip(read, cells, strict=True):
        found = row[0] if row else ""
        assert (
            found.lstrip()[:1] not in set("=+-@")
            or found.lstrip("+-").rstrip("%").replace(",", "").replace(".", "", 1).isdigit()
        )
        assert found.removeprefix("'") == cell.replace("\0", "�") or found == cell


def test_plain_numbers_stay_as_they_are() -> None:
    assert to_csv([{"gold": "-5", "n": -3, "text": "-x"}]) == "gold,n,text\r\n-5,-3,'-x\r\n"


def test_markdown_stays_text(hostile: Path, tmp_path: Path) -> None:
    write_tables([hostile], tmp_path, ("md", "csv", "json"))
    table = (tmp_path / "inputs.md").read_text(encoding="utf-8")
    assert table.count("\n") == len(HOSTILE) + 3
    for live in ("<script>", "](http", "](java", "\0", "\u202e"):
        assert live not in table
    assert to_markdown([{"a": "x|y"}]) == "| a |\n| --- |\n| x\\|y |\n"


def test_hostile_text_survives_in_parquet(hostile: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_tables([hostile], tmp_path, ("parquet",))
    assert parquet.read_table(tmp_path / "inputs.parquet").column("text").to_pylist()[: len(HOSTILE)] == list(HOSTILE)


def test_an_unknown_format_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.xls"):
        write_tables(runs, tmp_path, ("xls",))
    with pytest.raises(UsageError, match="gif"):
        write_plots(runs, tmp_path, ("gif",))


def test_a_missing_extra_names_the_command(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtraError, match="pip install 'clucert"):
        write_tables(runs, tmp_path, ("parquet",))
    for form in ("png", "pdf"):
        with pytest.raises(MissingExtraError, match="pip install 'clucert"):
            write_plots(runs, tmp_path, (form,))
    assert len(write_plots(runs, tmp_path, ("svg",))) == 3


STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("form", STARTS)
def test_plots_are_pictures_and_the_same_for_the_same_runs(runs: list[Path], tmp_path: Path, form: str) -> None:
    if form != "svg":
        pytest.importorskip("vl_convert")
    first = write_plots(runs[1:], tmp_path / "a", (form,))
    again = write_plots(runs[1:], tmp_path / "b", (form,))
    assert [file.name for file in first] == [f"{name}.{form}" for name in ("certified-accuracy", "radii", "stages")]
    for one, two in zip(first, again, strict=True):
        content = one.read_bytes()
        assert content.startswith(STARTS[form])
        if form != "pdf":  # its writer keeps the entries of a dictionary in any order
            assert content == two.read_bytes()


def test_plots_show_what_the_page_shows(runs: list[Path], tmp_path: Path) -> None:
    """One renderer: every shape of a file is on the page, in colours that need no style sheet of a browser."""
    page = write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")
    shapes = re.compile(r'<(?:rect|path|circle) [^>]*class="(?:line|band|mark|bar|stage)[^>]*>')
    for file in write_plots(runs, tmp_path, ("svg",)):
        written = file.read_text(encoding="utf-8")
        assert ElementTree.fromstring(written).tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in written
        drawn = [found for found in shapes.findall(written) if 'width="12" height="12"' not in found]
        assert len(drawn) >= 9
        assert not [found for found in drawn if found not in page]


def test_hostile_names_are_plotted_as_text(hostile: Path, tmp_path: Path) -> None:
    for file in write_plots([hostile], tmp_path, ("svg",)):
        assert b"<img" not in file.read_bytes()
        assert "\u202e" not in "".join(ElementTree.parse(file).getroot().itertext())
        assert NASTY[:12] in "".join(ElementTree.parse(file).getroot().itertext())


def test_titles_of_charts_side_by_side_do_not_overlap(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "refined_note", lambda _: f" (words of {'the original or the refined text, ' * 3})")
    write_plots(runs, tmp_path, ("svg",))
    sheet = ElementTree.fromstring((tmp_path / "certified-accuracy.svg").read_text(encoding="utf-8"))
    titles = [text for text in sheet.findall("{*}text") if text.get("class") == "title"]
    by_line: dict[str, list[tuple[float, str]]] = {}
    for text in titles:
        by_line.setdefault(text.attrib["y"], []).append((float(text.attrib["x"]), text.text or ""))
    beside = [sorted(line) for line in by_line.values() if len(line) > 1]
    assert beside
    for line in beside:
        for (x, told), (after, _) in pairwise(line):
            # A bold letter of 12 px is 6.5 wide, on average.
            assert x + 6.5 * len(told) < after
