"""A secret that is planted wherever a user may write one is in no output: config, manifest, report, error, cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback

import pytest

from clucert.cache.location import redact_argument
from clucert.config import Config
from clucert.errors import CluCertError
from clucert.evaluate.plan import make_plan
from clucert.evaluate.runconfig import load_config, print_config
from clucert.models.server_address import Endpoint
from clucert.redact import clean_base_url, redact, without_credentials
from tests.processes import free_port
from tests.promises.test_promise_whose_answers import Serving, serve

PASSWORD, PARAMETER, SECRET = "hunter2hunter2", "zz9plural-z-alpha", "sk-verysecret0123456789"
PLANTED = (PASSWORD, PARAMETER, SECRET)


def safe(text: str) -> str:
    for secret in PLANTED:
        assert secret not in text
    return text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:8000/v1", "http://host:8000/v1"),
        ("localhost:8000", "localhost:8000"),
        ("http://Host/v1/?api-version=2", "http://Host/v1/?api-version=2"),
        ("http://me:hunter2@host/v1", "http://host/v1"),
        ("me:hunter2@host", "host"),
        ("http://me:hun/ter2@host/v1", "http://host/v1"),
        ("http://me:hun?ter2@host/v1", "http://host/v1"),
        ("http://hunter2@host/v1?a=1", "http://host/v1?a=1"),
        ("http://host/v1?api-key=hunter2&a=1", "http://host/v1?a=1"),
        ("http://host/v1?sig=hunter2", "http://host/v1"),
        ("http://host/v1?mail=a@b", "http://host/v1?mail=a@b"),
    ],
)
def test_a_url_loses_its_credentials_and_nothing_else(url, shown):
    assert without_credentials(url) == shown
    assert "ter2" not in redact_argument(url) + redact_argument(f"--base-url={url}")
    assert "ter2" not in clean_base_url(shown)


def test_every_form_of_a_secret_is_replaced():
    env = {"MY_API_KEY": "alpha beta/gamma", "HF_TOKEN": "short", "PATH": "/usr/local/bin"}
    written = "alpha beta/gamma alpha%20beta%2Fgamma short /usr/local/bin"
    assert redact(written, env=env) == "*** *** short /usr/local/bin"
    for message in (
        "Authorization: Bearer hunter2",
        "'Authorization': 'Basic hunter2'",
        'authorization="hunter2"',
        "x-api-key: hunter2",
        "{'api_key': 'hunter2'}",
        "GET http://me:hunter2@host/v1?api-key=hunter2&x=1",
        "POST /v1?subscription-key=hunter2",
        "sk-hunter2hunter2",
    ):
        assert "hunter2" not in redact(message, env={}), message
    assert redact("a\nb\r\n c", env={}) == "a b c"
    assert redact("x" * 500, env={}, limit=300) == "x" * 297 + "…"
    # What is cut is cut afterwards: half a secret is one, too.
    assert "hunt" not in redact("y" * 295 + "hunter2hunter2", [PASSWORD], env={}, limit=300)


def test_a_servers_own_words_repeat_no_parameter_of_its_url():
    endpoint = Endpoint.of(f"http://host/v1?api-key={PARAMETER}", SECRET)
    assert endpoint.base_url == "http://host/v1"
    safe(endpoint.scrub(f"no such key {PARAMETER}, {SECRET}") + repr(endpoint))


def test_a_configuration_shows_no_secret_and_works_with_it(tmp_path):
    written = f"http://me:{PASSWORD}@host/v1?api-key={PARAMETER}&a=1"
    (tmp_path / "data.csv").write_text("text,label\nfine,positive\n")
    study = load_config(None, {"base_url": written, "task": "sst2", "data": str(tmp_path / "data.csv")})
    assert study.base_url == written
    plan = make_plan(study, ["clucert", "evaluate", "--base-url", written, f"--base-url={written}"])
    for shown in (
        *(print_config(study), repr(study), str(study), study.model_dump_json(), str(study.model_dump())),
        *(repr(Config(base_url=written)), plan.manifest.model_dump_json(), repr(plan.manifest)),
    ):
        safe(shown)
    file = tmp_path / "study.yaml"
    file.write_text(print_config(study))
    assert load_config(file, {}).base_url == "http://host/v1?a=1"


@pytest.mark.parametrize("fails", [False, True])
def test_a_whole_run_leaves_no_secret_anywhere(tmp_path, fails):
    """Command line, manifest, records, summary, report, cache and what was printed, of a run that works and one not."""
    port, run = free_port(), tmp_path / "run"
    url = f"http://me:{PASSWORD}@127.0.0.1:{port}/v1?api-key={PARAMETER}"
    environment = {**os.environ, "OPENAI_API_KEY": SECRET, "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    (tmp_path / "data.csv").write_text("text,label\na good and funny story,positive\na dull and slow one,negative\n")
    options = {
        **{"task": "sst2", "data": tmp_path / "data.csv", "model": "openai/test", "method": "ranmask"},
        **{"mask-rate": "0.5", "samples": 10, "certify-samples": 30, "max-retries": 0},
        **{"base-url": url, "run-dir": run, "cache": tmp_path / "cache.sqlite", "junit": tmp_path / "j.xml"},
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]

    def clucert(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "clucert", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr
        return safe(done.stdout + done.stderr)

    with serve(port if not fails else free_port(), Serving()) as serving:
        clucert("evaluate", *flags)
        clucert("evaluate", *flags, "--print-config")
        clucert("report", str(run), "-o", str(tmp_path / "report.html"))
        clucert("audit", str(run), "--base-url", url, "--limit", "1")
        clucert("certify", "A good story", "--task", "sst2", "--model", "openai/test", "--base-url", url, "--json")
        assert bool(serving.asked) != fails
    assert json.loads((run / "manifest.json").read_text())["command"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "records.jsonl" for path in files)
    for path in files:
        content = path.read_bytes()
        for secret in PLANTED:
            assert secret.encode() not in content, path


def test_an_error_carries_no_secret_in_its_causes(monkeypatch):
    from clucert.api import certify

    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    url = f"http://me:{PASSWORD}@127.0.0.1:1/v1?api-key={PARAMETER}"
    with pytest.raises(CluCertError) as caught:
        certify("A good story", task="sst2", model="openai/x", base_url=url, cache=False, max_retries=0)
    safe("".join(traceback.format_exception(caught.value)))
