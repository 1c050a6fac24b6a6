"""Answers that could not be stored in a shared cache yet: they are kept on this machine's disk until they can be."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from platformdirs.unix import Unix

from clucert.cache.base import CacheEntry, decode_answer, encode_answer
from clucert.errors import CacheError
from clucert.types import Answer


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/clucert``, else ``~/.cache/clucert``, on every system: earlier answers are there."""
    return Unix("clucert", appauthor=False).user_cache_path


def entry_line(entry: CacheEntry) -> str:
    """``entry`` as one line of JSON."""
    return json.dumps(dataclasses.asdict(entry) | {"answer": json.loads(encode_answer(entry.answer))}) + "\n"


class Outbox:
    """A folder of small files, each written whole or not at all, for one shared cache, named by its shown URL."""

    def __init__(self, cache: str) -> None:
        self._folder = cache_folder() / "unsent" / hashlib.sha256(cache.encode()).hexdigest()[:16]
        self._taken: list[Path] = []
        self.used = False
        """Whether this process has written a file that is not sent yet."""

    def keep(self, entries: Iterable[CacheEntry]) -> str:
        """Write ``entries`` to the disk; returns the note for the user."""
        lines = [entry_line(entry) for entry in entries]
        path = self._folder / f"{uuid.uuid4().hex}.jsonl"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path.with_suffix(".tmp"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            path.with_suffix(".tmp").replace(path)
        except OSError as error:
            return f"{len(lines)} answers could not be kept in {self._folder} either ({error.strerror})"
        self.used = True
        return f"{len(lines)} answers wait in {self._folder} and are stored by the next command that reaches it"

    def take(self) -> Iterator[tuple[str, dict[str, Answer]]]:
        """Answers by model, of one file after the other; they stay until :meth:`sent`. Skips what is no outbox file."""
        self._taken = sorted(self._folder.glob("*.jsonl")) if self._folder.is_dir() else []
        self.used = False
        for path in self._taken:
            by_model: dict[str, dict[str, Answer]] = {}
            try:
                for line in path.read_text(encoding="ascii").splitlines():
                    entry = json.loads(line)
                    by_model.setdefault(entry["model"], {})[entry["key"]] = decode_answer(json.dumps(entry["answer"]))
            except (OSError, ValueError, KeyError, TypeError, CacheError):
                # Another process may have sent it in the meantime.
                continue
            yield from by_model.items()

    def sent(self) -> None:
        """All that was taken is stored: delete it."""
        for path in self._taken:
            path.unlink(missing_ok=True)
        self._taken = []
