"""One in-process llama.cpp server with a single slot, prompted with token ids.

A single slot is deliberate: llama.cpp's arithmetic depends on what else is in the batch and on how much of the prompt
happened to be cached (log-probabilities move by up to 0.2). Alone in its slot and started from the same saved prefix,
a query gets the same answer to the bit, whatever was asked before it.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clucert.errors import BadAnswerError, InputError, MissingExtraError, ModelUnavailableError

LLAMACPP_COMMAND = "pip install 'clucert[llamacpp]'"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to run llama.cpp."""

    path: Path
    context: int
    """Longest prompt plus answer, in tokens."""
    threads: int
    slot_dir: Path
    """The folder of saved prefixes."""


class LlamaServer:
    """A running llama.cpp server. Not thread-safe: one caller at a time."""

    def __init__(self, options: ServerOptions) -> None:
        self._key = secrets.token_hex(16)
        self._server = _start(options, self._key)
        host = urlsplit(self._server.listening_address)
        self._http = http.client.HTTPConnection(host.hostname or "127.0.0.1", host.port, timeout=60)

    def tokenize(self, text: str, *, special: bool = False, first: bool = False) -> list[int]:
        """Token ids. Control tokens written out in ``text`` count as such only when ``special``;
        ``first`` adds what the model wants at the start of a prompt.
        """
        body = {"content": text, "parse_special": special, "add_special": first}
        return [int(token) for token in self._post("/tokenize", body)["tokens"]]

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """The chat template of the model filled with ``messages``, ready for the assistant to speak."""
        return str(self._post("/apply-template", {"messages": list(messages)})["prompt"])

    def complete(self, tokens: Sequence[int], **options: Any) -> dict[str, Any]:
        """One completion of a prompt given in tokens; the server's JSON reply."""
        reply: dict[str, Any] = self._server.handle_completions({"prompt": list(tokens), **options})
        error = reply.get("error")
        if error is None:
            return reply
        if error.get("type") == "exceed_context_size_error":
            raise InputError(
                f"a prompt of {error.get('n_prompt_tokens')} tokens does not fit the model's context of "
                f"{error.get('n_ctx')}: shorten the text or raise the context"
            )
        raise BadAnswerError(f"llama.cpp: {error.get('message', 'unknown error')}")

    def save(self, name: str) -> None:
        """Keep the state of the slot in a file of the slot folder."""
        self._post("/slots/0?action=save", {"filename": name})

    def restore(self, name: str) -> None:
        """Put the slot into a saved state."""
        self._post("/slots/0?action=restore", {"filename": name})

    def close(self) -> None:
        """Stop the server and free its memory."""
        self._http.close()
        self._server = None

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            try:
                status, content = self._exchange(path, body)
            except (ConnectionError, http.client.HTTPException):
                # The server closes connections that are idle for seconds; these requests may be repeated.
                self._http.close()
                status, content = self._exchange(path, body)
            reply: dict[str, Any] = json.loads(content)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ModelUnavailableError(f"llama.cpp stopped answering: {error}") from error
        if status != http.client.OK:
            detail = reply.get("error", {}).get("message", "unknown error")
            raise BadAnswerError(f"llama.cpp refused {path}: {detail}")
        return reply

    def _exchange(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        self._http.request("POST", path, json.dumps(body), headers)
        response = self._http.getresponse()
        return response.status, response.read()


def _start(options: ServerOptions, key: str) -> Any:
    # Threads that spin at OpenMP barriers cost twice the CPU time and starve whoever shares the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtraError("llama.cpp (xllamacpp)", LLAMACPP_COMMAND) from error
    params = xllamacpp.CommonParams()
    params.model.path = str(options.path)
    params.n_ctx = options.context
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.slot_save_path = f"{options.slot_dir}{os.sep}"
    params.api_keys = [key]
    params.n_threads_http = 1
    params.verbosity = -1
    params.cache_ram_mib = 0
    params.cache_idle_slots = params.fit_params = params.warmup = params.ui = False
    with suppress(AttributeError):
        params.offline = True
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelUnavailableError(f"llama.cpp could not load {options.path}: {error}") from None
