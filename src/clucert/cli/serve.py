"""`clucert serve`: the guard in front of any OpenAI-compatible server."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from clucert.cli.options import DETERMINISTIC, defence_options, given_flags
from clucert.errors import MissingExtraError

_GUARD = (
    click.option("--upstream", required=True, metavar="URL", help="Server to defend; with or without /v1."),
    click.option("--model", required=True, help="The upstream's name of the model; the one that clients ask for."),
    click.option(
        "--method",
        default="clucert-no-refine",
        show_default=True,
        help="How prompts are noised: ranmask, selfdenoise, clucert-proved, …, or a YAML file.",
    ),
    click.option("--samples", type=click.IntRange(1), default=10, show_default=True, help="N: calls that vote."),
    click.option(
        "--certify-samples", type=click.IntRange(1), default=40, show_default=True, help="N′: fresh calls that certify."
    ),
    click.option(
        "--on-abstain",
        type=click.Choice(["refuse", "pass"]),
        default="refuse",
        show_default=True,
        help="Where the vote is too close: a fixed refusal, or the undefended answer.",
    ),
    click.option("--refusal", default="I can't help with that.", show_default=True, help="The fixed refusal."),
    click.option(
        "--refusal-phrases", type=click.Path(path_type=Path), help="Phrase list that tells refusals (YAML).  [packaged]"
    ),
    click.option("--judge", help="Model that tells refusals instead, e.g. openai/NAME at the same URL."),
    click.option("--seed", type=int, help="For studies: fix the noise, show its seed.  [a secret key of each process]"),
)
_UPSTREAM = (
    click.option("--helper-model", help="Who refines and fills, e.g. openai/NAME at the same URL.  [--model]"),
    DETERMINISTIC,
    click.option("--timeout", type=float, help="Seconds to wait for one upstream call.  [60]"),
    click.option("--max-retries", type=int, default=2, show_default=True, help="Tries after the first of a call."),
    click.option("--max-connections", type=int, help="Upstream calls under way at once.  [32]"),
)
_ENDPOINT = (
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one."),
    click.option(
        "--api-key-file",
        type=click.Path(path_type=Path),
        help="Keys of this endpoint, one a line.  [CLUCERT_API_KEY, comma-separated]",
    ),
    click.option("--no-api-key", is_flag=True, help="Open to whoever reaches it, on any --host."),
    click.option("--max-in-flight", type=click.IntRange(1), default=8, show_default=True, help="Requests at a time."),
    click.option("--max-queue", type=click.IntRange(0), default=64, show_default=True, help="Requests that may wait."),
    click.option("--max-body", type=click.IntRange(1), default=1 << 20, show_default=True, help="Bytes of a request."),
    click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Longest answer."),
    click.option(
        "--temperature",
        type=click.FloatRange(0, 2),
        default=1.0,
        show_default=True,
        help="Where a request names none. At 0 equal noised prompts share a call.",
    ),
    click.option(
        "--request-timeout",
        type=click.FloatRange(0, min_open=True),
        default=300.0,
        show_default=True,
        help="Seconds for a request, its wait included.",
    ),
    click.option(
        "--shutdown-timeout",
        type=click.FloatRange(0, min_open=True),
        default=60.0,
        show_default=True,
        help="Seconds that requests in flight have after SIGTERM.",
    ),
    click.option("--log-prompts", is_flag=True, help="Write prompts and answers to the log."),
)
_OWN = ("host", "port", "max_in_flight", "max_queue", "max_body", "max_tokens", "temperature")
_OWN_TIMES = ("request_timeout", "shutdown_timeout", "log_prompts")


def _serve_options(command: Any) -> Any:
    for option in reversed((*_GUARD, *_UPSTREAM, *_ENDPOINT)):
        command = option(command)
    return command


@click.command(short_help="Defend an OpenAI-compatible endpoint.")
@_serve_options
@defence_options
def serve(upstream: str, model: str, **flags: Any) -> None:
    """Put the guard in front of any OpenAI-compatible server: applications change their base URL, nothing else.

    The last user turn of each request is noised N + N′ times, the upstream answers each noised prompt, and the vote
    on refused or complied decides whose answer goes out, with its certificate in headers and body (docs/defend.md).

    \b
    clucert serve --upstream http://localhost:8000 --model NAME --method ranmask --mask-rate 0.3
    CLUCERT_API_KEY=… clucert serve --upstream https://api.openai.com --model gpt-4o-mini --host 0.0.0.0

    The upstream's key is read from OPENAI_API_KEY, the endpoint's own from CLUCERT_API_KEY or --api-key-file.
    """  # noqa: D301
    from clucert.serve.options import EXTRA_COMMAND, check_exposure, read_keys

    if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "prometheus_client")):
        raise MissingExtraError("the server (starlette, uvicorn, prometheus_client)", EXTRA_COMMAND)
    keys = () if flags["no_api_key"] else read_keys(flags["api_key_file"])
    check_exposure(flags["host"], keys, allowed=flags["no_api_key"])
    _run(upstream, model, keys, flags)


def _run(upstream: str, model: str, keys: tuple[str, ...], flags: dict[str, Any]) -> None:
    from clucert.guard.model import guard_config
    from clucert.guard.result import Policy
    from clucert.refusals import PhraseDetector
    from clucert.refusals.phrases import read_phrases
    from clucert.serve.options import GuardOptions, ServeOptions
    from clucert.serve.server import serve as run

    own = {name: flags.pop(name) for name in (*_OWN, *_OWN_TIMES)}
    phrases = flags.pop("refusal_phrases")
    guard = GuardOptions(
        Policy(flags.pop("on_abstain"), flags.pop("refusal")),
        PhraseDetector(read_phrases(phrases) if phrases else None),
        flags.pop("seed"),
    )
    del flags["no_api_key"], flags["api_key_file"]
    config = guard_config(model=f"openai/{model}", base_url=upstream, **given_flags(flags))

    def listening(url: str) -> None:
        calls = config.samples + config.certify_samples
        open_to = "its API keys" if keys else "anybody who reaches it: no API key is set"
        click.echo(
            f"clucert: defending {model} at {url}, {calls} samples a request at most ({config.method})", err=True
        )
        click.echo(f"clucert: open to {open_to}", err=True)

    run(config, guard, ServeOptions(model, keys=keys, **own), listening)
