"""`clucert audit`: try to break the certificates of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clucert.cli import terminal
from clucert.cli.options import Command, given_flags, options
from clucert.cli.terminal import echo, echo_json
from clucert.config import CacheSection


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--limit", type=int, help="The first K certificates only.")
@click.option("--screen", type=int, default=40, show_default=True, help="Samples that rank a candidate text.")
@click.option("--confirm", type=int, default=300, show_default=True, help="Fresh samples on which a break must show.")
@click.option(
    "--level", type=float, default=0.001, show_default=True, help="Probability of calling a sound claim broken."
)
@click.option(
    "--texts", type=int, default=120, show_default=True, help="Texts tried for a claim of an exact certificate."
)
@options(CacheSection)
@click.option("--base-url", help="The run's server, which is asked only where you name it here, or another one.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="PEM file of authorities to trust.")
@click.option("--model", multiple=True, help="The run's Python function, whose file is run only where you name it.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, the texts included.")
def audit(
    run: Path,
    limit: int | None,
    base_url: str | None,
    model: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Search the certified ball of every input of RUN for a text that flips the smoothed classifier.

    Random changes, synonyms, antonyms, label words and words of the other answers, at the positions the votes depend on
    most; tokens inserted, deleted and moved, blocks and suffixes where certificates speak of them. A break is called
    only on fresh samples, or, of an exact certificate, on a text that is asked about anew. The proved radius should
    show none; the published one may.
    """
    from clucert.audit.run import audit as attack_run
    from clucert.audit.run import save
    from clucert.audit.steps import Effort
    from clucert.cli.progress import audit_bar

    effort = Effort(**{name: given.pop(name) for name in ("screen", "confirm", "level", "texts")})
    with audit_bar() as bar:
        result = attack_run(
            run,
            limit=limit,
            overrides=given_flags({"base_url": base_url, "model": model, **given}),
            effort=effort,
            progress=bar,
        )
    written = save(result, run)
    if as_json:
        echo_json(result.document(), indent=1)
    else:
        from clucert.audit.render import print_audit

        print_audit(terminal.console(), result)
    echo(f"wrote {written}", err=True)
