"""Fixtures of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from study_world import SECRET, World, chatting, write_data


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    write_data(tmp_path / "data.jsonl")
    with chatting(tmp_path, 0.01) as port:
        yield World(tmp_path, port)
