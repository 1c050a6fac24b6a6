"""`clucert attack`: what the defences are worth against known attacks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clucert.cli import terminal
from clucert.cli.options import Choice, Command, config_options, given_flags, options
from clucert.cli.terminal import echo, echo_json
from clucert.config import Config, ExamplesSection, FlagSection
from clucert.errors import UsageError
from clucert.evaluate.runconfig import DataSection, RunSection, SuffixSection, load_config
from clucert.section import flag

if TYPE_CHECKING:
    from clucert.attacks.suffix import Form


@click.command(cls=Command)
@click.option("--recipe", default="deepwordbug,textbugger", show_default=True, help="Attacks, comma-separated.")
@click.option(
    "--defence", default="none,clucert", show_default=True, help="Methods, comma-separated; none is the bare model."
)
@click.option(
    "--certificates",
    type=click.Path(path_type=Path),
    help="Attack what this run of clucert evaluate has proved; its model, task and method.",
)
@click.option("--max-queries", type=int, help="Texts that one attack may ask about.  [no limit]")
@click.option(
    "--suffix-file", type=click.Path(path_type=Path), help="For --recipe suffix: attacks on every row, one a line."
)
@click.option(
    "--attack-form",
    type=Choice(["auto", "suffix", "prompt"]),
    default="auto",
    show_default=True,
    help="For --recipe suffix: attacks go behind the text, or are whole prompts.",
)
@options(DataSection)
@options(SuffixSection)
@options(RunSection, "run_dir")
@config_options(Config, without=(ExamplesSection, FlagSection))
@click.option("--dry-run", is_flag=True, help="Print calls, tokens and money; ask nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def attack(
    recipe: str,
    defence: str,
    certificates: Path | None,
    max_queries: int | None,
    suffix_file: Path | None,
    attack_form: Form,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Attack every row of a data set under every defence: a table, in the run directory too.

    A defended victim answers each query by --samples votes on noised texts, so a query to it costs that many calls:
    --dry-run counts them first.

    \b
    clucert attack --task sst2 --data reviews.csv --limit 30 \\
        --recipe deepwordbug --defence none,clucert --samples 20
    clucert attack --task refusal --data prompts.jsonl \\
        --recipe suffix --defence none,smoothllm,clucert --samples 10
    clucert attack --certificates runs/a --recipe deepwordbug --samples 25

    Recipes: deepwordbug, textbugger, synonyms; suffix puts jailbreaks from the data or a file on harmful prompts.
    """  # noqa: D301
    if certificates and dry_run:
        raise UsageError("--dry-run does not go with --certificates: give --limit and --max-queries to bound the cost")
    if certificates:
        _attack_certificates(certificates, _names(recipe), max_queries, as_json=as_json, flags=given_flags(flags))
        return
    from clucert.attacks.study import AttackStudy, run_attacks
    from clucert.attacks.suffix import read_suffixes
    from clucert.attacks.table import verdict_of
    from clucert.cli.screen import headline, warn, width

    config = load_config(None, given_flags(flags))
    suffixes = read_suffixes(suffix_file) if suffix_file else ()
    study = AttackStudy(config, _names(recipe), _names(defence), max_queries, suffixes, attack_form)
    if dry_run:
        from clucert.attacks.dry_run import dry_run_attacks
        from clucert.cli.estimate import show_estimate

        most = "about" if max_queries is None else "at most"
        with _bar() as bar:
            estimate = dry_run_attacks(study, progress=bar)
        show_estimate(estimate, config, as_json=as_json, of="attacks", most=most)
        return
    with _bar() as bar:
        report = run_attacks(study, bar, command=sys.argv)
    if as_json:
        echo_json(report.document(), indent=1)
    else:
        headline(verdict_of(report.rows))
        echo(report.text(width()))
    for note in report.notes:
        warn("note", note)
    echo(f"wrote {report.run_dir}", err=True)
    if report.errors:
        key, why = next(iter(report.errors.items()))
        echo(f"clucert: {len(report.errors)} attacks failed, the first ({key}): {why}", err=True)
        sys.exit(1)


def _attack_certificates(
    run: Path, recipes: tuple[str, ...], max_queries: int | None, *, as_json: bool, flags: dict[str, Any]
) -> None:
    """A table: how far the attacks go in what the run has proved."""
    from clucert.attacks.against import FILE, attack_run
    from clucert.attacks.certificates import Match
    from clucert.cli.screen import headline, width

    limit, samples = flags.pop("limit", None), flags.pop("samples", None)
    if wrong := sorted(set(flags) - {"cache", "base_url", "ca_file", "model"}):
        raise UsageError(f"{flag(wrong[0])} does not go with --certificates: the run {run} says what is attacked")
    with _bar() as bar:
        match = Match(samples=samples, max_queries=max_queries)
        found = attack_run(run, recipes, match, limit=limit, overrides=flags, progress=bar)
    if as_json:
        echo_json(found.document(), indent=1)
    else:
        headline(found.verdict)
        echo(found.text(width()))
    echo(f"wrote {run / FILE}", err=True)


def _names(listing: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in listing.split(",") if name.strip()))


@contextmanager
def _bar() -> Generator[Callable[[int, int], None]]:
    from rich.progress import Progress

    with Progress(console=terminal.console(err=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("attacks", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
