"""Running an endpoint: its configuration file, keys that change, logs for machines, spans, TLS, health."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPSConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import click
import openai
import pytest
import yaml
from click.testing import CliRunner
from serve_world import KEY, PROMPT, Serving, ask, order, reply_to, served, stub
from test_gate_endpoint import HARMFUL, SAFE, gated
from upstream import SECRET

from clucert.cli.serve import serve
from clucert.errors import CluCertError, InputError, UsageError
from clucert.serve import keys as key_ring
from clucert.serve.keys import KeyRing

OTEL = find_spec("opentelemetry") is not None and find_spec("opentelemetry.sdk") is not None
USUAL = ("--deterministic", "--method", "windows", "--size", "4")


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with stub("gate_upstream.py") as url:
        yield url


def asked(serving: Serving, text: str, *messages: Any) -> Any:
    with serving.client() as client:
        said: Any = [*messages, {"role": "user", "content": text}]
        return client.chat.completions.create(model="stub", messages=said)


def health(serving: Serving) -> Any:
    return json.loads(reply_to(f"{serving.root}/health")[1])


def test_a_configuration_file_gives_flags_that_the_command_line_overrides(upstream: str, tmp_path: Path) -> None:
    written = {"refusal": "Not from the file.", "log-format": "json", "read": ["user"], "max_body": 900, "size": 3}
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(written))
    with gated(upstream, tmp_path, *USUAL, "--config", str(tmp_path / "serve.yaml")) as running:
        assert asked(running, HARMFUL).choices[0].message.content == "Not through this gate."
        with pytest.raises(openai.APIStatusError) as raised:
            asked(running, SAFE * 20)
        assert raised.value.status_code == 413
        # The log: one object a line, whatever clients send.
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"{running.url}/chat/completions", b"{}", {"Authorization": f"Bearer {KEY}"}))
        refused.value.close()
        status, said, _ = reply_to(Request(f"{running.url}/models", headers={"Authorization": "Bearer wrong"}))
        assert status == 401
        assert b"Authorization: Bearer KEY" in said
        assert running.metrics()['clucert_faults_total{code="invalid_api_key"}'] == 1
        assert running.stop() == 0
        # The lines that say where it listens are objects, too.
        lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert [line["outcome"] for line in lines if "outcome" in line] == [
        "blocked",
        "request_too_large",
        "invalid_request",
        "invalid_api_key",
    ]
    told = next(line for line in lines if "outcome" in line)
    assert told.keys() >= {"time", "level", "message", "id", "path", "status", "seconds", "state", "source"}
    assert f"{told['path']} 200 blocked {told['state']}" in told["message"]
    assert lines[1]["message"] == "open to its API keys"
    assert [line["message"] for line in lines[-2:]] == [
        "stopping: no more connections are taken, 0 under way have 60 s",
        "stopped",
    ]
    assert not any(secret in running.log.read_text() for secret in ("bomb", "wonderful", KEY, SECRET))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("upstrem: x", r"serve.yaml:1: unknown key 'upstrem' \(did you mean upstream\?\)"),
        ("port: 80\nkeys: [x]", r"serve.yaml:2: unknown key 'keys'"),
        # What hides secrets takes the word behind  'api-key':  for one.
        ("api-key: x", r"unknown key 'api-key' \(did you mean .*api-key-file\?\)"),
        ("port: [80]", "serve.yaml:1: port takes one value, not a list"),
        ("read: [[user]]", "serve.yaml:1: read must be a value, or a list of values"),
        ("flag: [a, null]", "serve.yaml:1: flag must be a value, or a list of values"),
        ("refusal: {a: 1}", "serve.yaml:1: refusal must be a value"),
        ("- a", "the file must hold fields"),
    ],
)
def test_what_is_wrong_in_a_configuration_file_is_named_with_its_line(written: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "serve.yaml").write_text(written)
    with pytest.raises(InputError, match=said):
        serve.main(["--config", str(tmp_path / "serve.yaml")], standalone_mode=False)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("port: high", "'--port'"),
        ("reload: 3", "'3' is not a valid boolean"),
        ("seed: true", "'true'"),
    ],
)
def test_a_wrong_value_in_a_configuration_file_is_named_by_its_flag(written: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "serve.yaml").write_text(f"upstream: http://localhost:1\nmodel: m\n{written}\n")
    done = CliRunner().invoke(serve, ["--config", str(tmp_path / "serve.yaml")])
    assert done.exit_code == 2
    assert said in done.output


def test_any_value_of_a_configuration_file_is_read_or_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def served(*_: object) -> None:
        raise UsageError("it would serve")

    monkeypatch.setattr("clucert.serve.server.serve", served)
    for param in serve.params:
        for value in (True, 3.5, {"a": 1}):
            written = {"upstream": "http://localhost:1", "model": "m", str(param.name): value}
            (tmp_path / "serve.yaml").write_text(json.dumps(written))
            with pytest.raises((CluCertError, click.ClickException)):
                serve.main(["--config", str(tmp_path / "serve.yaml")], standalone_mode=False)


def test_keys_that_change_are_read_again_and_a_slip_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, now = tmp_path / "keys", [0.0]
    monkeypatch.setattr(key_ring.time, "monotonic", lambda: now[0])
    file.write_text("one\n")
    ring, still = KeyRing(("one",), file), KeyRing(("one",))

    def opened(*tried: str) -> list[bool]:
        now[0] += 2
        return [ring.opens(key) for key in tried]

    assert opened("one", "two", "") == [True, False, False]
    file.write_text("one\ntwo-new\n")
    assert opened("one", "two-new") == [True, True]
    (tmp_path / "other").write_text("three\n")
    (tmp_path / "other").replace(file)
    assert opened("one", "three") == [False, True]
    for slip in ("", "\n\n", "a key with blanks\n"):
        file.write_text(slip)
        assert opened("three", "", "a") == [True, False, False]
    file.unlink()
    assert opened("three", "") == [True, False]
    assert (still.opens("one"), still.opens("three"), bool(KeyRing(()))) == (True, False, False)


def test_keys_are_read_again_by_the_command(upstream: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n")
    with gated(upstream, tmp_path, *USUAL, "--reload", "--api-key-file", str(file)) as running:
        assert asked(running, SAFE)
        file.write_text("another-key\n")
        while True:
            try:
                asked(running, SAFE)
            except openai.AuthenticationError:
                break
            time.sleep(0.2)
        with running.client(key="another-key") as client:
            assert client.models.list()
        assert "keys read again: 1" in running.log.read_text()
    with pytest.raises(UsageError, match="--api-key-file"):
        serve.main(["--upstream", "http://x", "--model", "m", "--reload"], standalone_mode=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        [*command.split(), "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True
    )
    return folder


def test_it_speaks_tls_and_says_what_is_wrong_with_a_certificate(
    upstream: str, tmp_path: Path, certificate: Path
) -> None:
    cert, key = str(certificate / "cert.pem"), str(certificate / "key.pem")
    with gated(upstream, tmp_path, *USUAL, "--tls-cert", cert, "--tls-key", key) as running:
        assert running.url.startswith("https://")
        port = int(running.root.rpartition(":")[2])
        trusting = ssl.create_default_context(cafile=cert)
        connection = HTTPSConnection("localhost", port, context=trusting)
        body = json.dumps({"model": "stub", "messages": [{"role": "user", "content": SAFE}]})
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"})
        reply = connection.getresponse()
        assert (reply.status, reply.headers["x-clucert-decision"]) == (200, "passed")
        connection.close()
    asks = ["--upstream", upstream, "--model", "m", "--no-api-key", "--port", "0"]
    for flags in (["--tls-key", key], ["--tls-cert", cert], ["--tls-cert", "/nowhere"], ["--tls-cert", key]):
        with pytest.raises(UsageError, match="--tls-cert"):
            serve.main([*asks, "--method", "ranmask", *flags], standalone_mode=False)


def test_health_tells_upstream_and_gate_apart(upstream: str, tmp_path: Path) -> None:
    with gated(upstream, tmp_path, *USUAL) as running:
        assert health(running) == {"status": "ok", "upstream": "ready", "gate": "ready"}
    with gated(upstream, tmp_path, *USUAL, "--gate-url", "http://127.0.0.1:1") as running:
        assert health(running) == {"status": "waiting", "upstream": "ready", "gate": "unreachable"}
        assert "the gate does not answer yet" in running.log.read_text()
        with pytest.raises(openai.InternalServerError) as raised:
            asked(running, SAFE)
        assert raised.value.code == "gate_unavailable"


def test_the_image_runs_as_nobody_a_command_that_there_is() -> None:
    lines = (Path(__file__).parents[2] / "Dockerfile").read_text().splitlines()
    last = {line.split()[0]: line.partition(" ")[2] for line in lines if line[:1].isupper()}
    assert last["USER"] == "65534:65534"
    command, subcommand, *flags = json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"])
    assert (command, subcommand) == ("clucert", "serve")
    known = {name for param in serve.params for name in param.opts}
    assert {flag for flag in flags if flag.startswith("--")} <= known


def spans(serving: Serving) -> list[dict[str, Any]]:
    return [json.loads(line) for line in serving.log.read_text().splitlines() if line.startswith('{"name"')]


@pytest.mark.skipif(not OTEL, reason="OpenTelemetry is not installed: clucert[otel]")
def test_spans_have_states_and_numbers_and_no_word_of_anybody(upstream: str, tmp_path: Path) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with gated(upstream, tmp_path, *USUAL, "--traces", "console") as running:
        with running.client(default_headers={"traceparent": parent}) as client:
            for text in (SAFE, HARMFUL):
                client.chat.completions.create(model="stub", messages=[{"role": "user", "content": text}])
        with pytest.raises(openai.APIStatusError):
            asked(running, SAFE, order(fail=500))
        running.stop()
        found = spans(running)
    by_name = {span["name"]: span for span in found}
    assert set(by_name) == {"POST /v1/chat/completions", "apply_guardrail clucert", "chat stub"}
    assert len(found) == 3 + 2 + 3
    assert found[2]["context"]["trace_id"] == "0x0af7651916cd43dd8448eb211c80319c"
    assert found[0]["parent_id"] == found[1]["parent_id"] == found[2]["context"]["span_id"]
    blocked = found[3]["attributes"]
    assert blocked["gen_ai.operation.name"] == "apply_guardrail"
    assert (blocked["gen_ai.security.verdict.type"], blocked["gen_ai.security.action.type"]) == ("deny", "block")
    assert blocked["clucert.state"] == "certified"
    assert any(name.startswith("clucert.radius.") for name in blocked)
    assert found[-1]["attributes"]["error.type"] == "upstream_error"
    assert found[-1]["status"]["status_code"] == "ERROR"
    assert not any(word in json.dumps(found) for word in ("bomb", "bread", "the prompt", SECRET, KEY))


@pytest.mark.skipif(not OTEL, reason="OpenTelemetry is not installed: clucert[otel]")
def test_a_vote_is_a_span_with_its_price(tmp_path: Path) -> None:
    with stub() as upstream, served(upstream, tmp_path, "--traces", "console") as running:
        with running.client() as client:
            ask(client)
        running.stop()
        vote = spans(running)[0]["attributes"]
    assert (vote["clucert.decision"], vote["clucert.source"]) == ("complied", "majority")
    assert vote["gen_ai.usage.input_tokens"] == 1000 * vote["clucert.calls"]
    assert PROMPT.split()[3] not in running.log.read_text()


@pytest.mark.skipif(OTEL, reason="OpenTelemetry is installed")
def test_without_the_extra_the_command_that_installs_it_is_named(upstream: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clucert", "serve", "--upstream", upstream, "--model", "m", "--port", "0"]
    done = subprocess.run(
        [*command, "--no-api-key", "--method", "ranmask", "--traces", "otlp"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OPENAI_API_KEY": "x"},
    )
    assert done.returncode != 0
    assert "pip install 'clucert[otel]'" in done.stderr
