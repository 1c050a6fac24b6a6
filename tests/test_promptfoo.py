"""The Python assertion of promptfoo: what it is given, and what it returns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clucert.promptfoo import get_assert

FUNCTION = "def classify(text): return 'spam' if 'win' in text else 'ham'\n"


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(FUNCTION)
    return f"python:{tmp_path / 'mine.py'}:classify"


def judged(text: str, named: str, **config: Any) -> dict[str, Any]:
    own = {"model": named, "labels": ["spam", "ham"], "method": "blocks", "deterministic": True, "cache": False}
    found = get_assert("whatever", {"vars": {"text": text, "n": 3}, "config": own | config, "test": {}})
    assert set(found) == {"pass", "score", "reason"}
    json.dumps(found)
    return found


def test_it_passes_where_the_radius_is_proved(model: str) -> None:
    text = "win win win win win"
    assert judged(text, model)["pass"] is True
    assert judged(text, model, expected="spam", radius=2)["score"] == 1
    half = judged(text, model, radius=4)
    assert (half["pass"], half["score"]) == (False, 0.5)
    assert "4 wanted" in half["reason"]
    assert judged(text, model, expected="ham") == {"pass": False, "score": 0.0, "reason": "answered 'spam', not 'ham'"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"variable": "txt"}, "there is text, n"),
        ({"variable": "n"}, "no text"),
        ({"threat": "insert"}, "replace"),
        ({"metod": "blocks"}, "did you mean method"),
        ({"model": "opneai/x", "labels": None, "task": "sst2"}, "openai"),
    ],
)
def test_what_is_wrong_fails_with_a_reason_of_one_line(model: str, config: dict[str, Any], said: str) -> None:
    found = judged("win win", model, **config)
    assert found["pass"] is False
    assert said in found["reason"]
    assert "\n" not in found["reason"]


@pytest.mark.skipif(shutil.which("promptfoo") is None, reason="promptfoo is not installed")
def test_promptfoo_itself_reads_it(model: str, tmp_path: Path) -> None:
    (tmp_path / "certified.py").write_text("from clucert.promptfoo import get_assert\n")
    own = {"model": model, "labels": ["spam", "ham"], "method": "blocks", "deterministic": True, "cache": False}
    check = {"type": "python", "value": "file://certified.py", "config": own}
    tests = [{"vars": {"text": text}, "assert": [check]} for text in ("win win win win win", "win win see you there")]
    config = {"prompts": ["{{text}}"], "providers": ["echo"], "tests": tests}
    (tmp_path / "promptfooconfig.json").write_text(json.dumps(config))
    command = ["promptfoo", "eval", "-c", "promptfooconfig.json", "-o", "out.json", "--no-cache"]
    own_python = {"PROMPTFOO_PYTHON": sys.executable, "PROMPTFOO_CONFIG_DIR": str(tmp_path)}
    quiet = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1"}
    env = {**os.environ, **own_python, **quiet}
    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, timeout=120, env=env)
    results = json.loads((tmp_path / "out.json").read_text())["results"]["results"]
    assert [result["success"] for result in results] == [True, False]
