"""The comment on a pull request."""

from __future__ import annotations

import re
from pathlib import Path

from clucert.report import write_comment
from clucert.report.comment import escaped


def test_a_comment_says_in_a_sentence_and_a_table_what_holds(runs: list[Path], tmp_path: Path) -> None:
    said = write_comment(runs, tmp_path / "c.md").read_text(encoding="utf-8")
    assert said.count("rows are answered right") == len(runs)
    assert "| clean_accuracy |" in said
    assert "| radius |" in said


def test_what_comes_of_a_run_is_no_markup_and_no_mention(hostile: Path, tmp_path: Path) -> None:
    said = write_comment([hostile], tmp_path / "c.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)[<\[]", said)
    assert not set("\0\u202e\x1b") & set(said)
    assert "@team" not in escaped("@team, see [x](y)")
