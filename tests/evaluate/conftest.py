"""Fixtures of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from study_world import SECRET, World, chatting, write_data


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[World]:
    """Its server answers at once, or after the ``LATENCY`` of a module whose runs are met in the middle."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    write_data(tmp_path / "data.jsonl")
    with chatting(tmp_path, getattr(request.module, "LATENCY", 0.0)) as port:
        yield World(tmp_path, port)
