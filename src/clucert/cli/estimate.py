"""What a dry run prints: calls, tokens and money of a study or a run of attacks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from clucert.cli.screen import headline, show, warn
from clucert.cli.terminal import echo_json

if TYPE_CHECKING:
    from clucert.evaluate.dry_run import DryRun
    from clucert.evaluate.runconfig import StudyConfig


def show_estimate(
    estimate: DryRun, config: StudyConfig, *, as_json: bool, of: str = "inputs", most: str = "at most"
) -> None:
    """A headline and a line for each model, or JSON. ``of`` is what was counted, ``most`` what the counts are."""
    rows = [{"model": name, **dataclasses.asdict(model)} for name, model in estimate.models.items()]
    if as_json:
        totals = {"calls": estimate.calls, "tokens": estimate.tokens, "cost": estimate.cost}
        counted = {of: estimate.inputs, "looked_at": estimate.looked_at}
        echo_json({"schema_version": 1, **counted, **totals, "models": rows}, indent=2)
        return
    if not estimate.inputs:
        done = "every row has its certificate" if of == "inputs" else "every attack was made"
        headline(f"{done}: the run asks nothing more")
        return
    server = config.base_url or any(name.startswith("openai/") for name in estimate.models)
    unknown = ", at an unknown price (--price-input, --price-output)" if server else ""
    money = unknown if estimate.cost is None else f", ${estimate.cost:.2f}"
    how = "; in batches, at the price of a batch" if config.batch else ""
    known = sum(model.cached for model in estimate.models.values())
    more = f"; {known:,} more answers are known" if known else ""
    tokens = f", {estimate.tokens:,} tokens" if estimate.tokens else ""
    headline(f"{estimate.inputs} {of}: {most} {estimate.calls:,} calls{tokens}{money}{how}{more}")
    show([{name: value for name, value in row.items() if name != "tokenizer"} for row in rows])
    whose = "; answers in the cache are taken to be the same model's" if known else ""
    exactly = all(model.tokenizer for model in estimate.models.values())
    rule = "" if exactly else "; a token is taken for four characters"
    warn("note", f"estimated from {estimate.looked_at} {of}; nothing was asked{rule}{whose}")
