"""A secret that is planted wherever a user may write one is in no output: config, manifest, report, error, cache."""

from __future__ import annotations

import json
import traceback

import click
import pytest

from clucert.api import evaluate_callable
from clucert.cache.location import redact_argument
from clucert.cli import COMMANDS, cli
from clucert.config import Config
from clucert.errors import CluCertError, InputError, shortened
from clucert.evaluate.plan import make_plan
from clucert.evaluate.runconfig import StudyConfig, load_config, print_config
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
        ("http://host/v1?code=hunter2&encode=1", "http://host/v1?encode=1"),  # the key of an Azure function
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
        "POST /v1?a=1&code=hunter2",
        "sk-hunter2hunter2",
        "AWS_SECRET_ACCESS_KEY=hunter2 and more",
        "OPENAI_API_KEY='hunter2'",
        "github_pat_hunter2hunter2",
        "pplx-hunter2hunter2",
        f"AIza{'hunter2' * 5}",
        "eyJhunter2hunter2.eyJhunter2.hunter2",
    ):
        assert "hunter2" not in redact(message, env={}), message
    assert redact("a\nb\r\n c", env={}) == "a b c"
    assert redact("key = 3, MONKEY, set OPENAI_API_KEY, eyJ.a", env={}) == "key = 3, MONKEY, set OPENAI_API_KEY, eyJ.a"
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
def test_a_whole_run_leaves_no_secret_anywhere(tmp_path, fails, monkeypatch, run_cli):
    """Command line, manifest, records, summary, report, cache and what was printed, of a run that works and one not."""
    port, run = free_port(), tmp_path / "run"
    url = f"http://me:{PASSWORD}@127.0.0.1:{port}/v1?api-key={PARAMETER}"
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "data.csv").write_text("text,label\na good and funny story,positive\na dull and slow one,negative\n")
    options = {
        **{"task": "sst2", "data": tmp_path / "data.csv", "model": "openai/test", "method": "ranmask"},
        **{"mask-rate": "0.5", "samples": 10, "certify-samples": 30, "max-retries": 0},
        **{"base-url": url, "run-dir": run, "cache": tmp_path / "cache.sqlite", "junit": tmp_path / "j.xml"},
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]

    def clucert(*arguments: str) -> str:
        ended = run_cli(*arguments)
        assert "Traceback" not in ended.err
        return safe(ended.out + ended.err)

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


URL = f"http://me:{PASSWORD}@127.0.0.1:1/v1?api-key={PARAMETER}"
CACHE = f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:1/db?password={PARAMETER}"
WRONG = (URL, CACHE, f"http://me:hun/{PASSWORD}'{PARAMETER}@127.0.0.1:1", f"https://h/v1?sig={PARAMETER}&a={SECRET}")
"""What a user may put by mistake where it does not belong, or rightly where it does."""
MINIMAL = {
    "certify": ["A good and funny story", "--task", "sst2"],
    "evaluate": ["--task", "sst2", "--data", "data.csv", "--run-dir", "new"],
    "compare": ["run", "run"],
    "report": ["run", "-o", "report.html"],
    "tune": ["--task", "sst2", "--data", "data.csv", "--run-dir", "tuned", "--mask-rates", "0.5"],
    "audit": ["run"],
    "attack": ["--task", "sst2", "--data", "data.csv", "--run-dir", "attacked", "--recipe", "deepwordbug"],
    "train": ["--task", "sst2", "--data", "data.csv", "-o", "x.clucert", "--copies", "0"],
    "cache stats": [],
    "cache export": [],
    "serve": ["--upstream", "http://127.0.0.1:1", "--model", "x", "--port", "99999"],
}
OWN_NAMES = ("--api-key-file", "--run-dir", "--out", "--output", "--tables", "--plots", "--junit", "--sarif")
"""What a file is called that a user has named is said."""
TO_THE_DEAD = {
    **{"--model": "openai/x", "--base-url": "http://127.0.0.1:1", "--max-retries": "0"},
    **{"--method": "ranmask", "--samples": "5", "--certify-samples": "5"},
}
"""A server that is not there: every command ends soon."""


@pytest.fixture
def command_line(tmp_path, monkeypatch, run_cli):
    """Runs a command in an empty folder, and looks for what was planted in all that it printed and wrote."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "data.csv").write_text("text,label\na good and funny story,positive\na dull one,negative\n")
    evaluate_callable(_classify, ["positive", "negative"], "data.csv", "run", method="groups", deterministic=True)
    planted = {path for path in tmp_path.rglob("*") if path.is_file()}

    def run(*arguments: str) -> int:
        ended = run_cli(*arguments)
        assert "Traceback" not in ended.err
        shown = [ended.out, ended.err]
        # What a path is called is the user's own choice; what is in it is ours.
        shown += [path.read_text("utf-8", "replace") for path in {*tmp_path.rglob("*")} - planted if path.is_file()]
        for secret in PLANTED:
            leak = next((text for text in shown if secret in text), None)
            assert leak is None, (arguments[-2:], leak.partition(secret)[0][-200:], secret)
        return ended.code

    return run


def _classify(texts):
    return ["positive" if "good" in text else "negative" for text in texts]


@pytest.mark.parametrize("name", MINIMAL)
def test_a_secret_in_any_option_of_any_command_is_shown_nowhere(name, command_line):
    command: click.Command | None = cli
    for part in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), part)
    assert command is not None
    options = [option for option in command.params if isinstance(option, click.Option) and not option.is_flag]
    given = [option.opts[-1] for option in options if option.opts[-1] not in OWN_NAMES]
    known = {option.opts[-1] for option in options}
    own = name not in ("audit", "serve")
    common = [part for pair in TO_THE_DEAD.items() if own and pair[0] in known for part in pair]
    codes = set()
    for place, option in enumerate(given):
        codes.add(command_line(*name.split(), *MINIMAL[name], *common, option, WRONG[place % len(WRONG)]))
    assert codes <= {0, 1, 2, 3}
    assert 2 in codes


def test_every_command_that_has_options_of_its_own_was_tried():
    listings = {"init", "weights", "methods", "tasks", "models", "attacks"}
    assert {name.split()[0] for name in MINIMAL} == set(COMMANDS) - listings


@pytest.mark.parametrize("wrong", WRONG)
def test_a_secret_in_any_key_of_a_configuration_is_shown_nowhere(wrong, command_line, tmp_path_factory):
    file = tmp_path_factory.mktemp("given") / "study.yaml"
    for place, name in enumerate(StudyConfig.model_fields):
        value = (wrong, [wrong], {"password": PASSWORD, "api_key": PARAMETER, "at": wrong}, [[wrong]])[place % 4]
        file.write_text(json.dumps({"task": "sst2", name: value}), encoding="utf-8")
        assert command_line("evaluate", "--config", str(file), "--print-config") in (0, 1, 2)
        file.unlink()


def test_an_error_holds_no_secret_whoever_shows_it(tmp_path, monkeypatch):
    """A program that logs it does not go through the command line."""
    from clucert.api import certify

    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    for written in (URL, CACHE, f"x {SECRET}", f"hf:{URL}"):
        safe(repr(InputError(f"no such file: {written}")))
    # What is cut for a message is cut afterwards.
    for most in range(10, 120, 5):
        assert "hunter2h" not in shortened(f"http://me:{PASSWORD}@host/v1 and more", most)
    assert "postgresql+psycopg://user@host/db" in str(InputError("write postgresql+psycopg://user@host/db"))
    assert "me2" not in str(InputError("http://me2@host, http://user@me2@host"))
    with pytest.raises(InputError) as caught:
        evaluate_callable(_classify, ["positive", "negative"], URL, tmp_path / "run", method="groups")
    safe(repr(caught.value))
    wrong = f"http://me:{PASSWORD}@127.0.0.1:99999"
    with pytest.raises(InputError, match="the base URL is not a URL") as caught:
        certify("A good story", task="sst2", model="openai/x", base_url=wrong, cache=False)
    safe(repr(caught.value))


def test_an_error_carries_no_secret_in_its_causes(monkeypatch):
    from clucert.api import certify

    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    url = f"http://me:{PASSWORD}@127.0.0.1:1/v1?api-key={PARAMETER}"
    with pytest.raises(CluCertError) as caught:
        certify("A good story", task="sst2", model="openai/x", base_url=url, cache=False, max_retries=0)
    safe("".join(traceback.format_exception(caught.value)))
    for written in (f"{url}.csv", f"{url}.csv.gz", f"{url}.parquet", f"hf:{url}"):
        with pytest.raises(CluCertError) as caught:
            evaluate_callable(_classify, ["positive", "negative"], written, "run", method="groups", deterministic=True)
        safe("".join(traceback.format_exception(caught.value)))
