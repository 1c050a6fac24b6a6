"""A run directory may come from anybody: it decides neither where a key goes nor what is written where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clucert.api import smooth
from clucert.attacks.against import attack_run
from clucert.audit.run import audit
from clucert.config import Config
from clucert.errors import CluCertError, UsageError
from clucert.evaluate.read_certificates import read_run
from clucert.evaluate.runconfig import StudyConfig, load_config, print_config
from tests.commands import refused
from tests.processes import QuietHandler, answering

KEY = "sk-verysecret0123456789"


@contextmanager
def listening() -> Iterator[tuple[int, list[str]]]:
    """A server that notes every request with its headers."""
    heard: list[str] = []

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            heard.append(f"{self.path} {self.headers}")
            self.send_error(404)

        def do_POST(self) -> None:
            self.posted()
            heard.append(f"{self.path} {self.headers}")
            self.reply({"choices": [{"message": {"content": "positive"}}]})

    with answering(Handler) as url:
        yield int(url.rpartition(":")[2]), heard


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty working folder and a user's cache of their own."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("CLUCERT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return tmp_path


def hostile(folder: Path, **config: Any) -> Path:
    """A run with one good certificate, and a manifest that wants more than it should have."""
    run = folder / "run"
    run.mkdir()
    options = {"task": "sst2", "method": "ranmask", "mask_rate": "0.5", "samples": 20, "certify_samples": 40}
    smoothed = smooth(lambda texts: ["positive"] * len(texts), ["negative", "positive"], **options)
    document = smoothed.certify("A short but good story about two friends").document()
    record = {"id": "1", "status": "done", "document": document, "input": "x"}
    (run / "records.jsonl").write_text(json.dumps(record) + "\n")
    manifest = {
        **{"clucert_version": "0", "created": "", "command": [], "task": "sst2", "labels": ["negative", "positive"]},
        **{"method": "ranmask", "parameters": {}, "model": ["openai/m"], "seed": 0, "versions": {}},
        "data": {"path": "", "sha256": "", "rows": 1},
        "config": {"model": ["openai/m"], "max_retries": 0, "timeout": 20.0, **options, **config},
    }
    (run / "manifest.json").write_text(json.dumps(manifest))
    return run


def both(run: Path, overrides: dict[str, Any] | None = None) -> None:
    audit(run, overrides=overrides)
    attack_run(run, ["deepwordbug"], overrides=overrides)


@pytest.mark.parametrize("address", ["http://127.0.0.1:{}", "http://me:pw@127.0.0.1:{}/v1", "http://LOCALHOST:{}/v1/"])
def test_a_key_never_goes_where_only_the_manifest_says(home, address, run_cli):
    with listening() as (port, heard):
        run = hostile(home, base_url=address.format(port))
        for command in (audit, lambda where: attack_run(where, ["deepwordbug"])):
            with pytest.raises(UsageError, match="--base-url") as caught:
                command(run)
            assert "\n" not in str(caught.value)
            assert "pw" not in str(caught.value)
        for arguments in (("audit", run), ("attack", "--certificates", run)):
            refused(run_cli(*arguments), 2, "--base-url")
        assert heard == []


def test_a_server_that_the_user_names_is_asked(home, monkeypatch):
    with listening() as (port, heard):
        run = hostile(home, base_url=f"http://127.0.0.1:{port}")
        both(run, {"base_url": f"http://127.0.0.1:{port}/v1"})
        assert any(KEY in request for request in heard)
        heard.clear()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
        both(run, {"cache": False})
        assert heard
    with listening() as (other, told):
        # Another one than the run's is the user's right.
        both(run, {"base_url": f"http://127.0.0.1:{other}", "cache": False})
        assert told


def test_a_manifest_chooses_no_path_and_no_machine(home):
    elsewhere = home / "elsewhere"
    wanted = {
        "cache": str(elsewhere / "cache.sqlite"),
        "run_dir": str(elsewhere / "runs"),
        "junit": str(elsewhere / "junit.xml"),
        "engine": "ray",
        "ray_address": "10.0.0.1:6379",
        "worker_env": ["OPENAI_API_KEY"],
        "accept_model_change": True,
        "batch": True,
    }
    with listening() as (port, _):
        run = hostile(home, **wanted)
        both(run, {"base_url": f"http://127.0.0.1:{port}"})
        assert not elsewhere.exists()
        assert (home / "xdg" / "clucert" / "answers.sqlite").exists()
    config, _ = read_run(run, None, {"base_url": "http://x"})
    for name in wanted:
        assert getattr(config, name) == StudyConfig.model_fields[name].get_default(call_default_factory=True)
    assert read_run(run, None, {"cache": "mine.sqlite"})[0].cache == Path("mine.sqlite")


@pytest.mark.parametrize("written", [False, "False"])
def test_no_cache_stays_no_cache(home, written):
    with listening() as (port, _):
        run = hostile(home, cache=written)
        assert read_run(run, None, None)[0].cache is False
        both(run, {"base_url": f"http://127.0.0.1:{port}"})
    assert not (home / "xdg").exists()
    assert list((home / "work").iterdir()) == []


def test_no_cache_survives_every_way_to_write_it_down(tmp_path):
    study = StudyConfig(cache=False)
    file = tmp_path / "study.yaml"
    file.write_text(print_config(study))
    assert "cache: false" in file.read_text()
    assert load_config(file, {}).cache is False
    for config in (study, Config(cache=False)):
        for dumped in (config.model_dump(), config.model_dump(mode="json"), json.loads(config.model_dump_json())):
            assert dumped["cache"] is False
            assert type(config).model_validate(dumped).cache is False
    for text in ("False", "false"):
        assert load_config(None, {"cache": text}).cache is False
    assert Config(cache="a.sqlite").cache == Path("a.sqlite")
    assert Config().cache is None
    assert StudyConfig(cache="a.sqlite").model_dump(mode="json")["cache"] == "a.sqlite"


def test_a_manifest_that_is_no_configuration_is_one_line(home):
    for wrong in ({"alpha": 7}, {"unheard_of": 1}, {"model": []}, {"timeout": "soon"}):
        folder = home / next(iter(wrong))
        folder.mkdir()
        with pytest.raises(CluCertError, match=r"manifest\.json is damaged: config\.") as caught:
            audit(hostile(folder, **wrong))
        assert "\n" not in str(caught.value)
