"""`clucert cache`: what is kept, what it saves, how to get rid of it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from clucert.cli.terminal import echo, echo_json

_WHERE = click.option(
    "--cache", "path", help="File, or postgresql+psycopg://USER@HOST/DB.  [CLUCERT_CACHE, or the user's cache folder]"
)


@click.group()
def cache() -> None:
    """Answers of models, kept so that nothing is paid for twice.

    The key of an answer is a digest of base URL, model, the whole request, and the draw's index when the model samples.
    Errors are never kept.
    """


@cache.command()
@_WHERE
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def stats(path: str | None, as_json: bool) -> None:
    """How many answers of which model, and how much disk they take."""
    from clucert.cache import cache_stats
    from clucert.render import key_value_table

    found = dataclasses.asdict(cache_stats(path))
    echo_json(found, default=str) if as_json else echo(key_value_table(found))


@cache.command()
@_WHERE
@click.option("--model", help="Only the answers of this model.")
@click.confirmation_option(prompt="Delete the kept answers?")
def clear(path: str | None, model: str | None) -> None:
    """Delete kept answers."""
    from clucert.cache import clear_cache

    echo(f"{clear_cache(path, model=model)} answers deleted", err=True)


@cache.command()
@_WHERE
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write.  [standard output]")
def export(path: str | None, out: Path | None) -> None:
    """Write every answer as one JSON object a line."""
    from clucert.cache import export_cache

    if out is None:
        count = export_cache(sys.stdout, path)
    else:
        with out.open("w", encoding="utf-8") as file:
            count = export_cache(file, path)
    echo(f"{count} answers", err=True)
