"""`clucert serve`: the guard in front of any OpenAI-compatible server."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clucert.border import read_text, yaml_fields
from clucert.cli.options import Choice, Command, Commas, given_flags, options
from clucert.cli.terminal import echo
from clucert.config import (
    GUARD,
    CertificateSection,
    ChangeSection,
    ExactSection,
    FlagSection,
    MethodSection,
    ModelSection,
    SamplingSection,
)
from clucert.errors import InputError, MissingExtraError, UsageError
from clucert.section import flag, nearest, options_of
from clucert.serve.options import (
    EXTRA_COMMAND,
    GateModelOptions,
    GateOptions,
    ServeOptions,
    check_exposure,
    is_loopback,
    read_keys,
)

if TYPE_CHECKING:
    from contextlib import ExitStack

    from clucert.methods.exact import ExactConfig
    from clucert.serve.metrics import Metrics

_TIMES = ("timeout", "max_retries", "max_connections")
_OF_VOTES = ("on_abstain", "answer", "refusal_phrases", "judge", "helper_model", "temperature")
"""Flags that say something of vote mode alone."""
_OF_GATES = tuple(options_of(GateOptions))


def _configured(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Have the flags that a file gives as defaults. Raises :class:`InputError`, naming the line, for an unknown one."""
    if path is None:
        return
    fields = yaml_fields(read_text(path), str(path))
    known = {param.name: param for param in context.command.params if param.name not in (None, "config", "help")}
    found: dict[str, Any] = {}
    for key, value in fields.values.items():
        name, where = str(key).replace("-", "_"), f"{path}:{fields.lines[key]}"
        if name not in known:
            hint = nearest(name, [n for n in known if n]).replace("_", "-")
            raise InputError(f"{where}: unknown key {key!r} ({hint})")
        multiple = isinstance(known[name], click.Option) and known[name].multiple
        several = multiple or isinstance(known[name].type, Commas)
        if isinstance(value, list) and not several:
            raise InputError(f"{where}: {key} takes one value, not a list")
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        if any(isinstance(each, dict | list | None) for each in values):
            raise InputError(f"{where}: {key} must be a value{', or a list of values' if several else ''}")
        written = [_as_written(each, known[name]) for each in values]
        found[name] = written if multiple or isinstance(value, list) else written[0]
    context.default_map = found


def _as_written(value: Any, param: click.Parameter) -> Any:
    """A value of YAML as it would stand on the command line: an option's type reads no other."""
    if isinstance(value, bool):
        return value if isinstance(param, click.Option) and param.is_flag else str(value).lower()
    return str(value)


@click.command(cls=Command)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_configured,
    help="YAML file of these flags, by their names; flags override it.",
)
@click.option("--upstream", metavar="URL", help="Server to defend; with or without /v1.")
@click.option("--model", help="The upstream's name of the model; the one that clients ask for.")
@click.option("--mode", type=Choice(["gate", "vote"]), help="What decides.  [gate; vote where its own flags are given]")
@click.option("--refusal", default="I can't help with that.", show_default=True, help="What is said instead.")
@click.option("--seed", type=int, help="For studies: fix the noise, show its seed.  [a secret key of each process]")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="Keys of this endpoint, one a line.  [CLUCERT_API_KEY, comma-separated]",
)
@click.option("--reload", is_flag=True, help="Read --api-key-file again whenever it changes.")
@click.option("--no-api-key", is_flag=True, help="Open to whoever reaches it, on any --host.")
@options(GateModelOptions)
@options(GateOptions)
@click.option(
    "--on-abstain",
    type=Choice(["refuse", "pass"]),
    default="refuse",
    show_default=True,
    help="Vote mode, where the vote is too close: a fixed refusal, or the undefended answer.",
)
@click.option(
    "--answer",
    type=Choice(["noised", "original"]),
    default="noised",
    show_default=True,
    help="Vote mode, where complied wins: an answer to a noised prompt, or to the prompt as it came.",
)
@click.option(
    "--refusal-phrases",
    type=click.Path(path_type=Path),
    help="Vote mode: phrase list that tells refusals (YAML).  [packaged]",
)
@click.option("--judge", help="Vote mode: model that tells refusals instead, e.g. openai/NAME at the same URL.")
@options(ServeOptions)
@options(ModelSection, "helper_model", "deterministic", *_TIMES, "ca_file", max_retries=2)
@options(MethodSection, **GUARD)
@options(FlagSection)
@options(ChangeSection)
@options(ExactSection)
@options(SamplingSection, "samples", "certify_samples", "sampling", **GUARD)
@options(CertificateSection)
def serve(upstream: str | None, model: str | None, **flags: Any) -> None:
    """Put the guard in front of any OpenAI-compatible server: applications change their base URL, nothing else.

    With --gate a small classifier votes on what the client wrote. If it may pass, the original request goes upstream
    once, as it came (streams, tools, /v1/responses, …); if not, a refusal in the shape of the API goes out, with a
    certificate of what would still be blocked.

    With --mode vote the last user turn is noised N + N′ times, the upstream answers each noised prompt, and the
    vote on refused or complied decides (docs/defend.md).

    A gate without --upstream and --model answers LiteLLM's guardrail route alone.

    In brackets stand the defaults of vote mode. Those of a gate: method windows, canonical characters, 512 requests at
    a time and as many that wait, and answers of any length. Where --max-tokens is given, requests must name theirs.

    \b
    clucert serve --upstream http://localhost:8000 --model NAME \\
        --gate jailbreak --gate-model smollm2 --method windows
    clucert serve --upstream http://localhost:8000 --model NAME \\
        --gate jailbreak --gate-model vllm/GUARD \\
        --gate-url http://gpu:8001 --method deletion --threshold 0.3
    clucert serve --gate jailbreak --gate-model guard.clucert
    CLUCERT_API_KEY=… clucert serve --upstream https://api.openai.com \\
        --model gpt-4o-mini --host 0.0.0.0 --mode vote --method ranmask

    The upstream's key is read from OPENAI_API_KEY, the endpoint's own from CLUCERT_API_KEY or --api-key-file.
    """  # noqa: D301
    if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "prometheus_client")):
        raise MissingExtraError("the server (starlette, uvicorn, prometheus_client)", EXTRA_COMMAND)
    keys = () if flags["no_api_key"] else read_keys(flags["api_key_file"])
    check_exposure(flags["host"] or ServeOptions.model_fields["host"].default, keys, allowed=flags["no_api_key"])
    if flags["reload"] and not (keys and flags["api_key_file"]):
        raise UsageError("--reload goes with --api-key-file: there is nothing else that changes")
    flags["key_file"] = flags["api_key_file"] if flags["reload"] else None
    del flags["no_api_key"], flags["api_key_file"], flags["reload"]
    votes = _is_vote(flags.pop("mode"), flags)
    if upstream is not None and model is not None:
        (_vote if votes else _gate)(upstream, model, keys, flags)
    elif votes or upstream is not None or model is not None:
        raise UsageError("give both --upstream URL and --model NAME (only a gate that LiteLLM asks needs neither)")
    else:
        _gate(None, "", keys, flags)


def _is_vote(mode: str | None, flags: dict[str, Any]) -> bool:
    """Whether votes decide. Raises :class:`UsageError` where nothing says what does."""
    if mode is None and flags["gate"] is None:
        sections = (MethodSection, ChangeSection, SamplingSection, CertificateSection)
        of_votes = {*_OF_VOTES, *(name for section in sections for name in options_of(section))} - {"seed"}
        mode = "vote" if of_votes & _from_user(flags).keys() else None
    if mode != "vote" and flags["gate"] is None:
        raise UsageError(
            "say what decides: --gate jailbreak --gate-model MODEL reads each prompt before it goes upstream once, "
            "--mode vote asks the upstream many times a request"
        )
    if mode == "vote" and flags["gate"] is not None:
        raise UsageError("--gate is of gates: leave it out, or --mode vote")
    return mode == "vote"


def _from_user(flags: dict[str, Any]) -> dict[str, Any]:
    """Those that stand on the command line."""
    context = click.get_current_context()
    return {n: value for n, value in flags.items() if context.get_parameter_source(n) is not ParameterSource.DEFAULT}


def _endpoint(model: str, keys: tuple[str, ...], flags: dict[str, Any]) -> ServeOptions:
    own = given_flags({name: flags.pop(name) for name in (*options_of(ServeOptions), "key_file")})
    return ServeOptions.of(model=model, keys=keys, **own)


def _gate(upstream: str | None, model: str, keys: tuple[str, ...], flags: dict[str, Any]) -> None:
    from clucert.guard.text_gate import gate_config
    from clucert.serve.gate import GateRoutes, GateService
    from clucert.serve.server import serve as run

    if wrong := next((name for name in _from_user(flags) if name in _OF_VOTES), None):
        raise UsageError(f"{flag(wrong)} is of vote mode: leave it out, or --gate")
    if flags["max_in_flight"] is None:
        queue = flags["max_queue"]
        flags |= {"max_in_flight": IN_FLIGHT, "max_queue": IN_FLIGHT if queue is None else queue}
    served = _endpoint(model, keys, flags)
    said = given_flags({name: flags.pop(name) for name in _OF_GATES})
    options_ = GateOptions.of(upstream=upstream, refusal=flags.pop("refusal"), seed=flags.pop("seed"), **said)
    given = {name: value for name, value in _from_user(flags).items() if not name.startswith("gate")}
    named = {"task": flags["gate"], "model": flags["gate_model"], "base_url": flags["gate_url"]}
    config = gate_config(**given_flags({**named, "max_retries": 2, **given}, flagged=True))
    said_first = f"gate {config.task} ({config.model[0]}, {config.method})"
    said_first, price = (
        (f"{said_first} before {model}", "the original request goes upstream once")
        if upstream is not None
        else (said_first, "asked by LiteLLM alone: there is no --upstream")
    )
    notes = tuned_otherwise(config)

    def opened(metrics: Metrics, stack: ExitStack) -> GateService:
        service = GateService(config, options_, served, metrics, stack)
        notes.insert(0, f"blocks at {service.blocks}")
        return service

    run(opened, GateRoutes, served, _listening(said_first, served, price, notes))


def tuned_otherwise(config: ExactConfig) -> list[str]:
    """What to know where the threshold of a gate was chosen for texts in another canonical form than it reads."""
    from clucert.methods import load_any

    tuned, here = load_any(config.method).tuned or {}, ",".join(config.canonical or ())
    there = tuned.get("canonical", here)
    if there == here:
        return []
    said = there or "none"
    return [f"note: {config.method} was tuned with --canonical {said}, and here it is {here or 'none'}: tune it again"]


IN_FLIGHT = 512
"""Requests that a gate works on at a time: nearly all of that is waiting for the upstream."""


def _vote(upstream: str, model: str, keys: tuple[str, ...], flags: dict[str, Any]) -> None:
    from clucert.guard.model import guard_config
    from clucert.guard.result import Policy
    from clucert.refusals import PhraseDetector
    from clucert.refusals.phrases import read_phrases
    from clucert.serve.app import Routes
    from clucert.serve.engine import GuardOptions, GuardService
    from clucert.serve.server import serve as run

    of_gates = {*options_of(GateModelOptions), *options_of(ExactSection), *options_of(FlagSection), *_OF_GATES}
    if wrong := next((name for name in _from_user(flags) if name in of_gates), None):
        raise UsageError(f"{flag(wrong)} is of gates: say which with --gate, for example --gate jailbreak")
    served = _endpoint(model, keys, flags)
    phrases = flags.pop("refusal_phrases")
    guard = GuardOptions(
        Policy(flags.pop("on_abstain"), flags.pop("refusal"), flags.pop("answer")),
        PhraseDetector(read_phrases(phrases) if phrases else None),
        flags.pop("seed"),
    )
    given = given_flags({name: value for name, value in flags.items() if name not in of_gates})
    config = guard_config(model=f"openai/{model}", base_url=upstream, **given)
    calls = config.samples + config.certify_samples
    run(
        lambda metrics, stack: GuardService(config, guard, metrics, stack),
        Routes,
        served,
        _listening(f"defending {model}", served, f"{calls} samples a request at most ({config.method})"),
    )


def _listening(what: str, served: ServeOptions, price: str, notes: Sequence[str] = ()) -> Callable[[str], None]:
    """Says where it listens and who may ask; as a line of the log where that is for machines."""
    log = logging.getLogger("clucert.serve")
    who = "every program on this machine" if is_loopback(served.host) else "anybody who reaches it"
    open_to = "its API keys" if served.keys else f"{who}: no API key is set"

    def listening(url: str) -> None:
        for said in (f"{what} at {url}, {price}", f"open to {open_to}", *notes):
            if served.log_format == "json":
                log.info("%s", said)
            else:
                echo(f"clucert: {said}", err=True)

    return listening
