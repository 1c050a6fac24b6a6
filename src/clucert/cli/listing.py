"""`clucert methods`, `tasks`, `models`, `attacks`: what there is, a line each, and what each is good for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import clucert
from clucert.cli.options import AS_JSON, Command
from clucert.cli.terminal import echo, echo_json
from clucert.errors import MissingExtraError
from clucert.registry import Registry

Entry = Mapping[str, Any]


def _print(what: str, entries: Sequence[Entry], said: Callable[[Entry], str], hint: str, *, as_json: bool) -> None:
    if as_json:
        echo_json({"schema_version": 1, what: list(entries)}, indent=2)
        return
    from clucert.cli.screen import pairs, say

    pairs({entry["name"]: said(entry) for entry in entries})
    echo()
    say(hint)


@click.command(cls=Command)
@AS_JSON
def methods(as_json: bool) -> None:
    """List the methods: what each does, and what it proves."""
    from clucert.methods import load_any, method_names, proves

    found = []
    for name in method_names():
        method = load_any(name)
        found.append({"name": name, "description": method.description, **proves(method)})

    def said(entry: Entry) -> str:
        return f"{entry['description']} Proves: {entry['in_words']}."

    folder = Path(clucert.__file__).parent / "methods"
    hint = f"Use one with --method NAME; or copy its file from {folder}, change it, and give the path of yours."
    _print("methods", found, said, hint, as_json=as_json)


@click.command(cls=Command)
@AS_JSON
def tasks(as_json: bool) -> None:
    """List the tasks: their labels, and what numbers in a label column mean."""
    from clucert.tasks import TASKS, load_task

    found = []
    for name in TASKS.names():
        task = load_task(name)
        numbers = [dict(each) for each in getattr(task, "numberings", ())]
        found.append({"name": name, "labels": task.labels and list(task.labels), "numbers": numbers})

    def said(entry: Entry) -> str:
        labels = ", ".join(entry["labels"] or ()) or "open answers; no exact methods, no flags"
        read = [", ".join(f"{number} {label}" for number, label in each.items()) for each in entry["numbers"]]
        return f"{labels}  (numbers: {'; or '.join(read)})" if read else labels

    hint = "Use one with --task NAME; your own with --labels a,b --prompt prompt.txt, or --task FILE.yaml."
    _print("tasks", found, said, hint, as_json=as_json)


@click.command(cls=Command)
@AS_JSON
def models(as_json: bool) -> None:
    """List the kinds of models, and which certificates each can have."""
    from clucert.models.load import MODELS

    local = ("smollm2", "llamacpp", "hf")
    found = [
        {"name": name, "description": _first_line(MODELS, name), "exact": name in local} for name in MODELS.names()
    ]
    own = "a function of one text or of a list, or a fitted scikit-learn classifier, asked about the text alone."
    found.append({"name": "python", "description": f"python:FILE.py:NAME: {own}", "exact": False})
    trained = "FILE.clucert: what clucert train wrote, asked about the text alone."
    found.append({"name": "FILE.clucert", "description": trained, "exact": True})

    def said(entry: Entry) -> str:
        exact = "Sampled and exact methods." if entry["exact"] else "Sampled methods; exact ones with --deterministic."
        return f"{entry['description']} {exact}"

    hint = "Use one with --model NAME/MODEL, such as llamacpp/model.gguf or openai/gpt-4o-mini; smollm2 takes no name."
    _print("models", found, said, hint, as_json=as_json)


@click.command(cls=Command)
@AS_JSON
def attacks(as_json: bool) -> None:
    """List the attacks, and whether they stay in what certificates speak of."""
    from clucert.attacks.exact import GUIDED
    from clucert.attacks.recipes import ATTACKS, load_attack
    from clucert.attacks.search import GreedyWordSwap

    found: list[dict[str, Any]] = []
    for name in ATTACKS.names():
        certificates = isinstance(load_attack(name), GreedyWordSwap)
        found.append({"name": name, "description": _first_line(ATTACKS, name), "attacks_certificates": certificates})
    guided = "A search guided by the margin, of every change that an exact certificate speaks of."
    found.append({"name": GUIDED, "description": guided, "attacks_certificates": True})

    def said(entry: Entry) -> str:
        return f"{entry['description']}{'  Also with --certificates RUN.' if entry['attacks_certificates'] else ''}"

    hint = f"Use some with clucert attack --recipe NAME,NAME; {GUIDED} goes with --certificates alone."
    _print("attacks", found, said, hint, as_json=as_json)


def _first_line(registry: Registry, name: str) -> str:
    """Of the documentation of what ``name`` stands for; or how to install it."""
    try:
        documented = registry.get(name).__doc__ or ""
    except MissingExtraError as error:
        return f"{error}."
    return " ".join(documented.strip().partition("\n\n")[0].replace("``", "").split())
