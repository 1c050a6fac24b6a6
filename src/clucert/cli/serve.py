"""`clucert serve`: the guard in front of any OpenAI-compatible server."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from clucert.cli.options import Choice, Command, given_flags, options
from clucert.config import GUARD, CertificateSection, ChangeSection, MethodSection, ModelSection, SamplingSection
from clucert.errors import MissingExtraError
from clucert.section import options_of
from clucert.serve.options import EXTRA_COMMAND, ServeOptions, check_exposure, read_keys

_TIMES = ("timeout", "max_retries", "max_connections")


@click.command(cls=Command)
@click.option("--upstream", required=True, metavar="URL", help="Server to defend; with or without /v1.")
@click.option("--model", required=True, help="The upstream's name of the model; the one that clients ask for.")
@click.option(
    "--on-abstain",
    type=Choice(["refuse", "pass"]),
    default="refuse",
    show_default=True,
    help="Where the vote is too close: a fixed refusal, or the undefended answer.",
)
@click.option("--refusal", default="I can't help with that.", show_default=True, help="The fixed refusal.")
@click.option(
    "--refusal-phrases", type=click.Path(path_type=Path), help="Phrase list that tells refusals (YAML).  [packaged]"
)
@click.option("--judge", help="Model that tells refusals instead, e.g. openai/NAME at the same URL.")
@click.option("--seed", type=int, help="For studies: fix the noise, show its seed.  [a secret key of each process]")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="Keys of this endpoint, one a line.  [CLUCERT_API_KEY, comma-separated]",
)
@click.option("--no-api-key", is_flag=True, help="Open to whoever reaches it, on any --host.")
@options(ServeOptions)
@options(ModelSection, "helper_model", "deterministic", *_TIMES, max_retries=2)
@options(MethodSection, **GUARD)
@options(ChangeSection)
@options(SamplingSection, "samples", "certify_samples", "sampling", **GUARD)
@options(CertificateSection)
def serve(upstream: str, model: str, **flags: Any) -> None:
    """Put the guard in front of any OpenAI-compatible server: applications change their base URL, nothing else.

    The last user turn of each request is noised N + N′ times, the upstream answers each noised prompt, and the vote
    on refused or complied decides whose answer goes out, with its certificate in headers and body (docs/defend.md).

    \b
    clucert serve --upstream http://localhost:8000 --model NAME \\
        --method ranmask --mask-rate 0.3
    CLUCERT_API_KEY=… clucert serve --upstream https://api.openai.com \\
        --model gpt-4o-mini --host 0.0.0.0

    The upstream's key is read from OPENAI_API_KEY, the endpoint's own from CLUCERT_API_KEY or --api-key-file.
    """  # noqa: D301
    if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "prometheus_client")):
        raise MissingExtraError("the server (starlette, uvicorn, prometheus_client)", EXTRA_COMMAND)
    keys = () if flags["no_api_key"] else read_keys(flags["api_key_file"])
    check_exposure(flags["host"] or ServeOptions.model_fields["host"].default, keys, allowed=flags["no_api_key"])
    _run(upstream, model, keys, flags)


def _run(upstream: str, model: str, keys: tuple[str, ...], flags: dict[str, Any]) -> None:
    from clucert.guard.model import guard_config
    from clucert.guard.result import Policy
    from clucert.refusals import PhraseDetector
    from clucert.refusals.phrases import read_phrases
    from clucert.serve.engine import GuardOptions
    from clucert.serve.server import serve as run

    own = given_flags({name: flags.pop(name) for name in options_of(ServeOptions)})
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

    run(config, guard, ServeOptions.of(model=model, keys=keys, **own), listening)
