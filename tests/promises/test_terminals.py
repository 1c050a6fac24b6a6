"""Escape sequences that are planted in every input are raw in no output: terminal, JSON, log, report, run directory."""

from __future__ import annotations

import ast
import itertools
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from clucert.cli import terminal
from clucert.visible import harmless_json, replaced, visible
from tests.commands import Command
from tests.processes import QuietHandler, answering

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u2066\u200f\x7f\x85\u2028\U000e0041"
RAW = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)
SOURCE = Path(__file__).parents[2] / "src/clucert"


SUFFIXES = (".json", ".jsonl", ".html", ".xml", ".md", ".yaml", ".log", ".sarif", ".txt")
"""Not CSV and Parquet, which are read back cell by cell as they were and have no escapes."""


def harmless(data: bytes, where: object) -> str:
    text = data.decode("utf-8")
    found = RAW.search(text)
    assert found is None, f"{where}: {found[0]!r} in {text[max(0, found.start() - 80) : found.end() + 20]!r}"
    return text


@contextmanager
def hostile(fails: int = 0) -> Iterator[str]:
    """Says the label, or hostile things around one; every ``fails``-th time it is an error."""
    count = itertools.count(1)

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            entry = {"id": f"m{ESCAPE}", "owned_by": ESCAPE, "meta": {ESCAPE: ESCAPE}}
            self.say({"object": "list", "data": [entry]})

        def do_POST(self) -> None:
            asked, number = self.posted().decode(), next(count)
            said = {"error": {"message": f"no{ESCAPE}\nno {asked[-80:]}", "type": ESCAPE, "code": ESCAPE}}
            if fails and number % fails == 0:
                self.say(said, 400)
                return
            content = f"well{ESCAPE} maybe" if number % 13 == 0 else "positive"
            choice = {"index": 0, "message": {"content": content}, "finish_reason": "stop"}
            self.say({"choices": [choice], "model": f"m{ESCAPE}", "system_fingerprint": ESCAPE})

        def say(self, body: Any, status: int = 200) -> None:
            self.reply(body, status, {"X-Odd": "a\x9bb"}, "No\x1b[2J")

    with answering(Handler) as url:
        yield url


@pytest.fixture
def world(tmp_path: Path) -> Path:
    rows = [f"a{ESCAPE} good and funny story", "a dull and slow one", f"{ESCAPE}", "an honest picture of two friends"]
    lines = [{"id": f"r{i}{ESCAPE}", "body": text, "gold": "positive"} for i, text in enumerate(rows)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "task.yaml").write_text(
        "name: odd\nprompt: 'What is this? {text}'\nlabels: [positive, \"neg\\eative\\x9b2\"]\n"
        "columns: {text: body, label: gold}\n"
    )
    return tmp_path


Looked = Callable[..., tuple[int, str]]


@pytest.fixture
def clucert(world: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Command) -> Looked:
    """The command in this process, in the folder of ``world``; everything that it prints is looked at."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret0123456789")
    monkeypatch.setenv("XDG_CACHE_HOME", str(world / "xdg"))
    monkeypatch.chdir(world)

    def run(*arguments: str) -> tuple[int, str]:
        ended = run_cli(*arguments)
        return ended.code, harmless(ended.stdout, arguments) + harmless(ended.stderr, arguments)

    return run


def files_are_harmless(folder: Path) -> None:
    for path in folder.rglob("*"):
        written = path.suffix in SUFFIXES
        if written and path.name not in ("data.jsonl", "task.yaml"):
            harmless(path.read_bytes(), path)


SMALL = ("--method", "ranmask", "--mask-rate", "0.9", "--samples", "5", "--certify-samples", "15", "--max-retries", "0")


def test_no_output_of_a_study_holds_what_was_planted(world: Path, clucert: Looked) -> None:
    common = ("--task", "task.yaml", "--model", "openai/test", *SMALL)
    with hostile() as url:
        asked = (*common, "--base-url", url, "--cache", "c.sqlite")
        code, said = clucert("evaluate", *asked, "--data", "data.jsonl", "--run-dir", "run", "--show-unparsed", "3")
        assert code == 0, said
        assert r"\x1b[2J" in said
        clucert("evaluate", *asked, "--data", "data.jsonl", "--run-dir", "run", "--json", "--junit", "j.xml")
        clucert("evaluate", *asked, "--data", "data.jsonl", "--run-dir", "other", "--dry-run")
        code, said = clucert("audit", "run", "--base-url", url, "--limit", "1")
        clucert("certify", f"good{ESCAPE} one", *asked, "-v", "--show-samples", "2")
        clucert("certify", f"good{ESCAPE} one", *asked, "--json")
        clucert("attack", "--certificates", "run", "--base-url", url, "--limit", "1", "--max-queries", "5")
        code, said = clucert("attack", *asked, "--data", "data.jsonl", "--limit", "1", "--max-queries", "5")
        assert code in (0, 1), said
    code, said = clucert("report", "run", "-o", "r.html", "--tables", "tables", "--sarif", "s.sarif")
    assert code == 0, said
    assert len(list((world / "tables").iterdir())) > 3
    for more in ((), ("--json",)):
        clucert("compare", "run", "run", *more)
        clucert("cache", "stats", "--cache", "c.sqlite", *more)
    clucert("cache", "export", "out.jsonl", "--cache", "c.sqlite")
    files_are_harmless(world)


def test_errors_of_servers_and_users_hold_nothing_of_it_either(world: Path, clucert: Looked) -> None:
    with hostile(fails=2) as url:
        asked = ("--task", "task.yaml", "--model", "openai/test", *SMALL, "--base-url", url, "--cache", "c.sqlite")
        code, said = clucert("evaluate", *asked, "--data", "data.jsonl", "--run-dir", "run")
        assert code == 1
        clucert("evaluate", *asked, "--data", "data.jsonl", "--run-dir", "run", "--junit", "j.xml")
        clucert("report", "run", "-o", "r.html", "--tables", "tables")
        assert r"answered 400: no\x1b]0;owned" in said
    files_are_harmless(world)
    for arguments in (
        ("certify", "x", "--task", f"no{ESCAPE[:12]}"),
        ("certify", "x", "--method", f"no{ESCAPE[:12]}", "--task", "sst2"),
        ("certify", "x", "--mask-rate", f"{ESCAPE[:12]}", "--task", "sst2"),
        ("certify", "x", f"--{ESCAPE[:12]}"),
        (f"{ESCAPE[:12]}",),
        ("evaluate", "--data", f"{ESCAPE[:12]}", "--task", "sst2"),
        ("report", f"{ESCAPE[:12]}"),
        ("cache", "stats", "--cache", f"postgresql+psycopg://h/{ESCAPE[:12]}"),
    ):
        assert clucert(*arguments)[0] in (1, 2)


def test_visible_shows_everything_and_changes_nothing_else() -> None:
    assert RAW.search(visible(ESCAPE)) is None
    assert visible("a\x1b[2J\nb\tc\r\nd") == r"a\x1b[2J b c d"
    assert visible("a\x1b\nb\tc\r\nd\re", lines=True) == "a\\x1b\nb\tc\nd\\x0de"
    kept = "größe 中文 한국어 ‘quoted’ 👨\u200d👩\u200d👧 می\u200cخواهم \xa0 ½ e\u0301"
    assert visible(kept) == replaced(kept) == kept
    assert len(replaced(ESCAPE)) == len(ESCAPE)
    assert RAW.search(replaced(ESCAPE)) is None


def test_json_reads_back_as_it_was() -> None:
    document = {ESCAPE: [ESCAPE, "中文", {"a": "\ud800\nb"}]}
    for options in ({}, {"indent": 2}, {"default": str}):
        written = harmless_json(document, **options)
        assert RAW.search(written.replace("\n", "")) is None
        assert json.loads(written) == document


def test_the_console_is_a_net_for_what_nobody_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.console().print(Text(f"a{ESCAPE}b"), f"c{ESCAPE}d")
    terminal.echo(f"e{ESCAPE}f")
    assert RAW.search(capsys.readouterr().out.replace("\n", "")) is None


def test_commands_print_in_one_place_only() -> None:
    """``click.echo``, ``print`` and consoles of one's own are what would go around it."""
    for path in SOURCE.rglob("*.py"):
        source = path.read_text()
        if path.name == "terminal.py" or not re.search(r"\bprint\(|echo\(|Console\(|std(?:out|err)\.write\(", source):
            continue
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "click.echo":
                # YAML has escapes of its own, which are read back.
                assert ast.unparse(node) == "click.echo(yaml_of(config), nl=False)", path
            assert called not in ("print", "click.secho", "sys.stdout.write", "sys.stderr.write", "rich.print"), path
            if called in ("Console", "rich.console.Console"):
                assert path.name in ("summary.py", "__init__.py"), path  # captured, not printed


def test_what_is_logged_is_one_visible_line(caplog: pytest.LogCaptureFixture) -> None:
    from clucert.cache.base import AnswerCache
    from clucert.cache.server_identity import OneModelCache, ServerIdentity
    from clucert.types import Answer

    class Empty:
        def get_many(self, keys: Any) -> dict[str, Answer]:
            return {}

    cache: AnswerCache = Empty()  # type: ignore[assignment]
    mine = OneModelCache(cache, ServerIdentity(f"http://h/{ESCAPE}"))
    assert mine.must_identify
    with caplog.at_level(logging.WARNING):
        mine.own({"k": Answer("x")})
    assert caplog.messages
    assert all(RAW.search(message) is None for message in caplog.messages)
