"""`clucert certify`: one text in, one certificate out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from clucert.cli.options import Command, config_options, given_flags, options, refuse_sampling
from clucert.config import Config, FlagSection
from clucert.errors import InputError, UsageError
from clucert.methods import load_exact
from clucert.methods.exact import ExactSection
from clucert.section import flag, options_of

if TYPE_CHECKING:
    from clucert.api import Certification, ExactCertification


@click.command(cls=Command)
@click.argument("text")
@config_options(Config)
@options(ExactSection)
@click.option("--show-unparsed", type=int, default=0, help="Print K answers that were no votes.  [1]")
@click.option("-v", "--verbose", is_flag=True, help="Votes, bounds, method and assumptions in full.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON document (docs/json.md).")
def certify(text: str, as_json: bool, show_unparsed: int, verbose: bool, **flags: Any) -> None:
    """Certify TEXT ("-" reads standard input): how many words may change and the answer stays.

    \b
    clucert certify "a thoughtful and quick response" --task sst2
    echo "Stocks fell" | clucert certify - --task agnews --json
    clucert certify "…" --task sst2 --method groups    # exact; few questions
    clucert certify "…" --task jailbreak --method windows --flag harmful
    clucert certify "…" --task jailbreak --method deletion --flag harmful \\
        --threshold 0.1
    """  # noqa: D301  (\b is click's mark for a block that is not rewrapped)
    exact = given_flags({name: flags.pop(name) for name in ExactSection.model_fields})
    method, default = flags.get("method"), flags.get("method") is None
    if method is not None and load_exact(method) is not None:
        given = given_flags({**flags, "method": "ranmask"})
        refuse_sampling(given, method)
        exact |= {name: given.pop(name) for name in options_of(FlagSection) if name in given}
        # The models alone are wanted: any method that samples loads them.
        config = Config.of(**given)
        from clucert.build import exact_flags

        exact_flags(config, method)
        _prove(text, config, method, exact, as_json, verbose)
        return
    if exact:
        raise UsageError(
            f"{flag(next(iter(exact)))} goes with --method blocks, groups, chunks, windows or erase-and-check"
        )
    config = Config.of(**given_flags(flags))
    if text == "-":
        text = _standard_input()
    from clucert.api import Session
    from clucert.cli.progress import vote_bar

    with vote_bar() as bar, Session(config, watch=bar.answered) as session:
        certification = session.certify(text, progress=bar)
        base = session.backends.classifier
        known = default and session.labels is not None and base is not None and base.deterministic
        said: dict[str, Any] = {name: getattr(config, name) for name in options_of(FlagSection)}
        also = session.prove(text, **said) if known else []
    if as_json:
        document = certification.document()
        if default:
            document["exact"] = [proof.document() for proof in also]
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    _print(certification, also, config.show_samples, unread=show_unparsed, verbose=verbose)


def _print(
    certification: Certification, also: Sequence[ExactCertification], show: int, *, unread: int, verbose: bool
) -> None:
    """A certificate, exact ones beside it, and ``show`` samples of either kind: on one screen, or in full."""
    from rich.console import Console

    from clucert.render import print_certified, print_exact, sample_lines
    from clucert.summary import print_summary
    from clucert.types import Cost

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    samples = sample_lines(certification.samples, show)
    if verbose:
        print_certified(console, certification.certificate, certification.cost, samples, unread=unread)
        for proof in also:
            print_exact(console, proof.certificate, proof.cost, beside=certification.prediction)
        return
    cost = Cost()
    for each in (certification.cost, *(proof.cost for proof in also)):
        cost.add(each)
    print_summary(console, certification.certificate, [proof.certificate for proof in also], cost, unread=unread)
    for line in samples:
        console.print(line)


def _prove(text: str, config: Config, method: str, parameters: dict[str, Any], as_json: bool, verbose: bool) -> None:
    """Print the certificate of a method that asks a fixed family of sub-texts."""
    from clucert.api import Session
    from clucert.cli.progress import vote_bar

    if text == "-":
        text = _standard_input()
    with vote_bar() as bar, Session(config, watch=bar.answered) as session:
        (proof,) = session.prove(text, [method], progress=bar, **parameters)
    if as_json:
        click.echo(json.dumps(proof.document(), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    from clucert.render import print_exact
    from clucert.summary import print_summary

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if verbose:
        print_exact(console, proof.certificate, proof.cost, text=True)
    else:
        print_summary(console, None, [proof.certificate], proof.cost)


def _standard_input() -> str:
    """What is piped in, without the marks of a file: a byte order mark, carriage returns, the end of the last line."""
    data = sys.stdin.buffer.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 (byte {error.start}): convert it first (iconv)") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
