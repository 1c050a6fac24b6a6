"""A file of the model hub, by its pinned revision and digest: fetched once, checked, and kept in the cache folder."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from clucert.cache.outbox import cache_folder
from clucert.errors import DataIntegrityError, ModelUnavailableError
from clucert.models.weights import written_whole
from clucert.redact import redact

HUB = "https://huggingface.co"
_SECONDS = 30.0
"""Of silence, until the hub counts as out of reach."""
_PIECE = 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of one revision: what has another digest is never used."""

    repository: str
    revision: str
    file: str
    sha256: str
    size: int
    """Bytes."""

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        return f"hub {self.repository}@{self.revision[:12]}, {self.file}"

    @property
    def kept(self) -> Path:
        """Where it is kept once it was fetched."""
        return cache_folder() / "hub" / f"{self.sha256[:16]}-{Path(self.file).name}"

    def url(self, env: Mapping[str, str] = os.environ) -> str:
        """Its address; ``HF_ENDPOINT`` names a mirror, as for the hub's own library."""
        hub = env.get("HF_ENDPOINT") or HUB
        return f"{hub.rstrip('/')}/{self.repository}/resolve/{self.revision}/{self.file}"


def fetched(wanted: HubFile) -> Path:
    """The file, from the cache folder or, the first time, from the hub. It is checked when it is fetched, not later.

    Raises :class:`ModelUnavailableError` when it is not here and cannot be had: no network, ``HF_HUB_OFFLINE``, a hub
    without it, or no place to keep it; :class:`DataIntegrityError` when the hub sends anything else.
    """
    if wanted.kept.is_file():
        return wanted.kept
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true"):
        raise ModelUnavailableError(f"{wanted.origin}: not fetched, for HF_HUB_OFFLINE is set")
    url = wanted.url()
    log.warning("clucert: fetching %d MB from %s, once", round(wanted.size / 1e6), redact(url))
    try:
        wanted.kept.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - the digest says what is taken
            _keep(answer, wanted)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ModelUnavailableError(f"{wanted.origin}: {redact(url)} cannot be had: {redact(str(reason))}") from None
    return wanted.kept


def _keep(answer: IO[bytes], wanted: HubFile) -> None:
    """Write what ``answer`` holds, and put it in its place once it is known to be the right file."""
    digest, size = hashlib.sha256(), 0
    with written_whole(wanted.kept) as file:
        while size <= wanted.size and (piece := answer.read(_PIECE)):
            size += len(piece)
            digest.update(piece)
            file.write(piece)
        if size != wanted.size or digest.hexdigest() != wanted.sha256:
            came, expected = f"{size:,} with {digest.hexdigest()[:12]}…", f"{wanted.size:,} with {wanted.sha256[:12]}…"
            raise DataIntegrityError(
                f"{wanted.origin}: of bytes and SHA-256 came {came}, not {expected}: nothing was kept"
            )
