"""A folder with a chat server, data and a configuration, for tests of whole studies."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clucert.cache import answer_key, open_cache
from clucert.cache.keys import ModelIdentity
from clucert.cache.server_identity import IDENTIFYING_TEXT
from clucert.evaluate.run_directory import read_records
from clucert.evaluate.runconfig import StudyConfig, load_config
from clucert.evaluate.study import RunSummary, evaluate
from clucert.tasks import load_task

HERE = Path(__file__).parent
ROWS = 10
WORDS = ["a", "good", "story", "about", "two", "friends", "warm", "and", "funny", "cast", "one", "dull", "slow", "end"]
SECRET = "sk-verysecret0123456789"


@dataclass
class World:
    """A folder with a server's log, data and a config."""

    folder: Path
    port: int

    def config(self, **changes: Any) -> dict[str, Any]:
        return {
            "task": "sst2",
            "data": str(self.folder / "data.jsonl"),
            "model": "openai/test",
            "base_url": f"http://127.0.0.1:{self.port}",
            "method": "ranmask",
            "mask_rate": "0.5",
            "samples": 10,
            "certify_samples": 30,
            "deterministic": True,
            "max_connections": 8,
            "max_retries": 0,
            "in_flight": 3,
            "run_dir": str(self.folder / "run"),
            "cache": str(self.folder / "cache.sqlite"),
        } | changes

    def start(self, limit_bytes: int | None = None, **changes: Any) -> subprocess.Popen[str]:
        config = self.config(**changes)
        # Processes that start at the same moment have a file each.
        path = self.folder / f"{Path(config['run_dir']).name}.yaml"
        path.write_text(yaml.safe_dump(config))
        arguments = [sys.executable, str(HERE / "study_process.py"), str(path)]
        return subprocess.Popen(
            arguments if limit_bytes is None else [*arguments, str(limit_bytes)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENAI_API_KEY": SECRET},
        )

    def study(self, **changes: Any) -> StudyConfig:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config(**changes)))
        return load_config(path, {})

    def run(self, **changes: Any) -> RunSummary:
        """The study in this process."""
        return evaluate(self.study(**changes), command=["clucert", "evaluate"])

    def finish(self, process: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, f"{out}\n{err}"
        assert "Traceback" not in err, err
        return json.loads(out) if out.startswith("{") else {"error": out.strip()}

    def asked(self) -> list[str]:
        lines = (self.folder / "log.txt").read_bytes().split(b"\n")[:-1]
        # A process that uses the cache first asks one short question that identifies the model: it is not counted here.
        return [said for line in lines if (said := json.loads(line)) != IDENTIFYING_TEXT]

    def wait_for(self, calls: int, process: subprocess.Popen[str]) -> None:
        while process.poll() is None and len(self.asked()) < calls:
            time.sleep(0.002)

    def stored(self) -> set[str]:
        """The prompts whose answers are in the cache."""
        model = ModelIdentity("openai/test", f"http://127.0.0.1:{self.port}", "", True)
        task = load_task("sst2")
        prompts = set(self.asked())
        keys = {p: answer_key(model, task.query(p.removeprefix("Review: "))) for p in prompts}
        with open_cache(self.folder / "cache.sqlite") as cache:
            known = cache.get_many(list(keys.values()))
        return {prompt for prompt, key in keys.items() if key in known}

    def records(self, name: str = "run") -> dict[str, Any]:
        """The records, but for what depends on the clock and on earlier runs."""
        found, _, torn = read_records(self.folder / name)
        assert not torn
        plain = {identity: record.model_dump(exclude={"reused"}) for identity, record in found.items()}
        for record in plain.values():
            if record["document"]:
                del record["document"]["cost"]["seconds"]
        return plain


@contextmanager
def chatting(folder: Path, seconds: float) -> Iterator[int]:
    """A server that answers by a fixed rule, and first notes each question in ``log.txt``: its port."""
    command = [sys.executable, str(HERE / "chat_server.py"), str(folder / "log.txt"), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def write_data(path: Path, rows: int = ROWS, poison: int | None = None) -> None:
    rng = random.Random(4)
    with path.open("w") as out:
        for i in range(rows):
            words = [rng.choice(WORDS) for _ in range(8)]
            # Masking keeps at least one word, and protects none: the poison must be in every word.
            text = " ".join(["unanswerable"] * 4 if i == poison else words)
            out.write(json.dumps({"id": f"r{i}", "text": text, "label": "positive"}) + "\n")
