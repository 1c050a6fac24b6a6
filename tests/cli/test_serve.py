"""`clucert serve`: what is wrong is said in one line before anything is loaded or opened."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from clucert.cli.serve import serve
from clucert.errors import InputError, MissingExtraError, UsageError
from clucert.serve.options import ServeOptions, check_exposure, read_keys

NEEDED = ["--upstream", "http://localhost:1", "--model", "m"]


def run(*flags: str) -> None:
    serve.main([*NEEDED, *flags], standalone_mode=False)


def test_help_needs_no_extra_and_loads_no_server() -> None:
    code = "import sys\nfrom clucert.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "serve", "--help"], capture_output=True, text=True, check=True)
    assert "--upstream" in done.stdout
    loaded = set(done.stdout.split())
    assert not loaded & {"starlette", "uvicorn", "prometheus_client", "numpy", "openai", "pydantic.main.BaseModel"}


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    with pytest.raises(MissingExtraError, match=r"pip install 'clucert\[serve\]'"):
        run()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--host", "0.0.0.0"], "--no-api-key"),
        (["--host", "::"], "CLUCERT_API_KEY"),
        (["--method", "nope"], "unknown method"),
        (["--mask-rate", "2"], "out of range"),
        (["--alpha", "2"], "--alpha"),
        (["--api-key-file", "/nowhere"], "cannot read /nowhere"),
        (["--refusal-phrases", "/nowhere"], "cannot read /nowhere"),
        (["--host", "192.0.2.1", "--no-api-key", "--method", "ranmask"], "cannot listen on 192.0.2.1"),
        (["--host", "192.0.2.1", "--no-api-key", "--mode", "vote"], "cannot listen on 192.0.2.1"),
        ([], "--gate jailbreak --gate-model MODEL .* --mode vote"),
        (["--mode", "gate"], "--gate jailbreak"),
        (["--size", "4"], "--gate jailbreak"),
        (["--method", "ranmask", "--size", "4"], "--size is of gates"),
        (["--mode", "gate", "--method", "ranmask"], "--gate jailbreak"),
        (["--mode", "vote", "--gate", "jailbreak"], "leave it out, or --mode vote"),
        (["--mode", "vote", "--max-gate-calls", "9"], "--max-gate-calls is of gates"),
        (["--mode", "both"], "--mode: unknown value"),
    ],
)
def test_what_is_wrong_is_said_before_the_endpoint_opens(
    flags: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLUCERT_API_KEY", raising=False)
    with pytest.raises(UsageError, match=said) as raised:
        run(*flags)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("given", [(), ("--upstream", "http://localhost:1"), ("--model", "m")])
@pytest.mark.parametrize("mode", [("--mode", "vote"), ("--gate", "jailbreak")])
def test_an_upstream_goes_with_a_model_and_only_a_gate_needs_none(
    given: tuple[str, ...], mode: tuple[str, ...]
) -> None:
    if given or mode[0] == "--mode":
        with pytest.raises(UsageError, match="give both --upstream URL and --model NAME"):
            serve.main([*given, *mode], standalone_mode=False)
    else:
        with pytest.raises(UsageError, match="unknown method 'nope'"):
            serve.main([*mode, "--method", "nope"], standalone_mode=False)


def test_keys_come_from_a_file_or_the_environment_and_show_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("first-key\n\n second-key \n")
    assert read_keys(file, {"CLUCERT_API_KEY": "other"}) == ("first-key", "second-key")
    assert read_keys(None, {"CLUCERT_API_KEY": "a, b,"}) == ("a", "b")
    assert read_keys(None, {}) == ()
    assert "first-key" not in repr(ServeOptions(model="m", keys=("first-key",)))
    for wrong in ("", "two words", "schlüssel"):
        file.write_text(wrong)
        with pytest.raises(InputError) as raised:
            read_keys(file, {})
        assert not wrong or wrong not in str(raised.value)


def test_only_the_own_machine_is_served_without_a_key() -> None:
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        check_exposure(host, (), allowed=False)
    check_exposure("0.0.0.0", ("key",), allowed=False)
    check_exposure("0.0.0.0", (), allowed=True)
    with pytest.raises(UsageError):
        check_exposure("example.org", (), allowed=False)
