"""`clucert certify`: one text in, one certificate out."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from clucert.cli.options import config_of, config_options
from clucert.errors import InputError


@click.command(short_help="Certify one text.")
@click.argument("text")
@config_options
@click.option("--show-samples", type=int, default=0, help="Print K noised texts that were kept and K dropped.")
@click.option("--show-unparsed", type=int, default=0, help="Print K answers that were no votes.  [1]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON document (docs/json.md).")
def certify(text: str, as_json: bool, show_samples: int, show_unparsed: int, **flags: Any) -> None:
    """Certify TEXT ("-" reads standard input): how many words may change and the answer stays.

    \b
    clucert certify "a thoughtful and quick response" --task sst2
    echo "Stocks fell" | clucert certify - --task agnews --json
    """  # noqa: D301  (\b is click's mark for a block that is not rewrapped)
    config = config_of(flags, show_samples=show_samples)
    if text == "-":
        text = _standard_input()
    from clucert.api import Session
    from clucert.cli.progress import vote_bar

    with vote_bar() as bar, Session(config, watch=bar.answered) as session:
        certification = session.certify(text, progress=bar)
    if as_json:
        click.echo(json.dumps(certification.document(), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    from clucert.render import print_certified, sample_lines

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    samples = sample_lines(certification.samples, show_samples)
    print_certified(console, certification.certificate, certification.cost, samples, unread=show_unparsed)


def _standard_input() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 (byte {error.start}): convert it first (iconv)") from None
