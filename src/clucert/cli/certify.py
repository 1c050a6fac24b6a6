"""`clucert certify`: one text in, one certificate out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from clucert.cli import terminal
from clucert.cli.options import Command, config_options, given_flags, options
from clucert.cli.terminal import echo_json
from clucert.config import Config, ExactSection, implied_method
from clucert.errors import InputError, UsageError
from clucert.methods import load_exact
from clucert.methods.exact import ExactConfig, readers_of
from clucert.section import flag

if TYPE_CHECKING:
    from clucert.certification import Certification, ExactCertification


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
    given = given_flags(flags)
    if implied := implied_method(given.get("model")):
        given.setdefault("method", implied)
    default = "method" not in given
    if not default and load_exact(given["method"]) is not None:
        _prove(text, ExactConfig.of(**given), as_json=as_json, unread=show_unparsed, verbose=verbose)
        return
    if exact := next((name for name in given if name in ExactSection.model_fields), None):
        raise UsageError(f"{flag(exact)} goes with {readers_of(exact)}")
    config = Config.of(**given)
    if text == "-":
        text = _standard_input()
    from clucert.api import Session
    from clucert.cli.progress import vote_bar
    from clucert.summary import verdict

    with vote_bar() as bar, Session(config, watch=bar.answered) as session:
        certification = session.certify(text, progress=bar)
        also = session.proofs_beside(text) if default else []
    if as_json:
        document = certification.document()
        if default:
            document["exact"] = [proof.document() for proof in also]
        document["verdict"] = verdict(certification.certificate, [proof.certificate for proof in also])
        echo_json(document, indent=2)
        return
    _print(certification, also, config.show_samples, unread=show_unparsed, verbose=verbose)


def _print(
    certification: Certification | None,
    exact: Sequence[ExactCertification],
    show: int = 0,
    *,
    unread: int,
    verbose: bool,
) -> None:
    """A certificate by samples, exact ones, or both, and ``show`` samples of either kind: on one screen, or in full."""
    from clucert.render import print_certified, print_exact, safe, sample_lines
    from clucert.summary import print_summary, verdict
    from clucert.types import Cost

    console = terminal.console()
    samples = sample_lines(certification.samples, show) if certification else ()
    certificate = certification.certificate if certification else None
    if verbose:
        console.print(safe(verdict(certificate, [proof.certificate for proof in exact]), 600), style="bold")
        if certification:
            print_certified(console, certification.certificate, certification.cost, samples, unread=unread)
        beside = certification.prediction if certification else None
        for proof in exact:
            print_exact(console, proof.certificate, proof.cost, text=certification is None, beside=beside)
        return
    cost = Cost()
    for each in (*((certification,) if certification else ()), *exact):
        cost.add(each.cost)
    proofs = [proof.certificate for proof in exact]
    print_summary(console, certificate, proofs, cost, unread=unread, more="  (-v for all)")
    for line in samples:
        console.print(line)


def _prove(text: str, config: ExactConfig, *, as_json: bool, unread: int, verbose: bool) -> None:
    """Print the certificate of a method that asks a fixed family of sub-texts."""
    from clucert.api import ExactSession
    from clucert.cli.progress import vote_bar
    from clucert.summary import verdict

    if text == "-":
        text = _standard_input()
    with vote_bar() as bar, ExactSession(config, watch=bar.answered) as session:
        proof = session.prove(text, progress=bar)
    if as_json:
        document = proof.document() | {"verdict": verdict(None, [proof.certificate])}
        echo_json(document, indent=2)
        return
    _print(None, [proof], unread=unread, verbose=verbose)


def _standard_input() -> str:
    """What is piped in, without the marks of a file: a byte order mark, carriage returns, the end of the last line."""
    data = sys.stdin.buffer.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 (byte {error.start}): convert it first (iconv)") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
