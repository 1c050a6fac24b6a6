"""Options of the endpoint."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from clucert.border import read_text
from clucert.errors import InputError, UsageError
from clucert.section import Section, option
from clucert.serve.fields import Provider
from clucert.serve.logs import Format
from clucert.serve.traces import Exporter
from clucert.types import Who

KEY_VARIABLE = "CLUCERT_API_KEY"
EXTRA_COMMAND = "pip install 'clucert[serve]'"


class ServeOptions(Section, title="Endpoint"):
    """Everything about the endpoint that is not about the defence."""

    model: str
    """The upstream's name of the model, and the only one that clients may ask for."""
    keys: tuple[str, ...] = Field(default=(), repr=False)
    """Any of them opens ``/v1``; none leaves it open."""
    host: str = option("127.0.0.1", "Address to listen on.")
    port: int = option(8080, "0 takes a free one.", ge=0, le=65535)
    provider: Provider = option("openai", "Whose fields a request may have beside those of OpenAI's API.")
    allow_field: list[str] = option([], "Another field to let through, unread: min_tokens, messages.reasoning_content.")
    max_in_flight: int = option(8, "Requests that are worked on at a time.", ge=1)
    max_queue: int = option(64, "Requests that may wait; the next one gets 503.", ge=0)
    max_body: int = option(1 << 20, "Bytes of a request.", ge=1)
    max_header: int = option(1 << 15, "Bytes of its headers.", ge=1)
    max_characters: int = option(100_000, "Characters of text in it.", ge=1)
    max_parts: int = option(1000, "Objects in it: messages, their parts, tools and their parameters.", ge=1)
    max_clients: int = option(2000, "Connections that are open at a time; the next one gets 503.", ge=1)
    body_timeout: float = option(15.0, "Seconds for a client to send a request, or to read what it is sent.", gt=0)
    allow_host: list[str] = option([], "A name that clients may call this endpoint by where it asks for no key.")
    max_tokens: int = option(1024, "Longest answer, also where a request does not say.", ge=1)
    temperature: float = option(1.0, "Where a request names none. At 0 equal noised prompts share a call.", ge=0, le=2)
    request_timeout: float = option(300.0, "Seconds for a request, its wait in the queue included.", gt=0)
    shutdown_timeout: float = option(60.0, "Seconds that requests in flight have after SIGTERM.", gt=0)
    log_prompts: bool = option(False, "Write prompts and answers to the log.")
    log_format: Format = option("text", "Lines for people, or JSON.")
    traces: Exporter = option("off", "OpenTelemetry spans: to OTEL_EXPORTER_OTLP_ENDPOINT, or to standard error.")
    tls_cert: Path | None = option(None, "Certificate chain (PEM): the endpoint speaks HTTPS.")
    tls_key: Path | None = option(None, "Its private key (PEM).", unset="in the same file")
    key_file: Path | None = None
    """Where the keys are read again from when they change; None where they stay."""


class GateOptions(Section, title="Gate"):
    """What is read of a request, and what becomes of the rest."""

    upstream: str | None = Field(default=None, repr=False)
    """The server's URL; None answers those alone who ask a model themselves."""
    refusal: str
    seed: int | None = None
    """For studies: fixes the noise."""
    read: tuple[Who, ...] = option(
        ("user", "tool"), "Whose text is read: user, tool (results), system (definitions, too), assistant.", commas=True
    )
    unread: Literal["refuse", "pass"] = option("refuse", "Images, sounds and files, which no gate reads.")
    stream_timeout: float | None = option(
        None, "Seconds for a stream, from its request to its end.", unset="as --request-timeout", gt=0
    )
    max_gate_calls: int = option(5000, "Calls of the classifier that one request may take; more get 413.", ge=1)


class GateModelOptions(Section, title="Gate"):
    """Who votes on what."""

    gate: str | None = option(None, "Task that lets requests pass, e.g. jailbreak.", unset="none: --mode vote")
    gate_model: str = option("smollm2", "Who votes: smollm2, hf/…, vllm/NAME, FILE.clucert, python:FILE.py:NAME.")
    gate_url: str | None = option(None, "The server of that model.", unset="the provider's own", repr=False)


def read_keys(file: Path | None, env: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The endpoint's own keys: one a line in ``file``, else comma-separated in ``CLUCERT_API_KEY``.

    Never from the command line, which other users of the machine can see. Raises :class:`InputError` for a file that
    holds none, or a key that no client can send.
    """
    if file is None:
        found, origin = env.get(KEY_VARIABLE, "").split(","), KEY_VARIABLE
    else:
        origin = str(file)
        found = read_text(file).splitlines()
    keys = tuple(key.strip() for key in found if key.strip())
    if file is not None and not keys:
        raise InputError(f"{file} holds no key: write one a line, or leave --api-key-file away")
    if any(not (key.isascii() and key.isprintable()) or " " in key for key in keys):
        raise InputError(f"a key in {origin} has blanks or characters that are not ASCII: clients cannot send it")
    return keys


def check_exposure(host: str, keys: tuple[str, ...], *, allowed: bool) -> None:
    """Raise :class:`UsageError` where anybody on the network could spend the upstream's tokens."""
    if keys or allowed or is_loopback(host):
        return
    raise UsageError(f"--host {host} opens the endpoint to others: set {KEY_VARIABLE}, or say --no-api-key")


def local_only(options: ServeOptions) -> bool:
    """Whether only those may ask who call the endpoint by a name of this machine, or one of ``allow_host``."""
    return bool(options.allow_host) or (not options.keys and is_loopback(options.host))


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
