"""A study divided among processes or machines: every n-th row is a shard, with a run directory of its own.

The run's own directory takes the records of its shards, so that no answer is asked for again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from clucert.cache.server_identity import ACCEPT_FLAG
from clucert.errors import UsageError
from clucert.evaluate.data import Dataset
from clucert.evaluate.plan import Plan
from clucert.evaluate.record import Record
from clucert.evaluate.run_directory import MANIFEST, Data, Manifest, RunWriter, read_part

_DIRECTORY = re.compile(r"[1-9][0-9]{0,8}-of-[1-9][0-9]{0,8}")


def shard_of(plan: Plan) -> Plan:
    """The part of ``plan`` that its configuration names: row ``i - 1`` of the data, and every n-th after it.

    More rows at the end of the data leave the rows of a shard where they are. Raises :class:`UsageError` when there
    are fewer rows than shards.
    """
    number, shards = map(int, (plan.config.shard or "1/1").split("/"))
    rows = len(plan.dataset.examples)
    if shards > rows:
        raise UsageError(f"--shard {plan.config.shard}: the data have {rows} rows only; take at most {rows} shards")
    dataset = replace(plan.dataset, examples=plan.dataset.examples[number - 1 :: shards])
    return replace(
        plan,
        dataset=dataset,
        run_dir=plan.run_dir / "shards" / f"{number}-of-{shards}",
        manifest=plan.manifest.model_copy(update={"data": _data(plan, dataset)}),
    )


Shards = Mapping[Path, tuple[Manifest, Mapping[str, Record]]]
"""What the shards of a run hold, by their directory."""


def read_shards(plan: Plan) -> Shards:
    """The shards of ``plan`` that were begun; none for a plan that is a shard itself.

    Raises :class:`UsageError` when one is still being written, or is a part of another run: the message names the first
    thing that differs.
    """
    if plan.config.shard:
        return {}
    found = sorted(path for path in (plan.run_dir / "shards").glob("*-of-*") if _DIRECTORY.fullmatch(path.name))
    inputs = plan.inputs
    return {path: read_part(path, plan.manifest, inputs) for path in found}


def take_shards(shards: Shards, plan: Plan, run: RunWriter) -> list[str]:
    """Copy the certificates of ``shards`` into ``run``; returns remarks for the user.

    Inputs that failed or were not finished in their shard stay to be done.

    Raises :class:`UsageError`, and takes nothing, when a shard was answered by another model than the rest, unless the
    configuration accepts that.
    """
    taken: dict[str, Record] = {}
    notes: list[str] = []
    authors = dict(run.manifest.answered_by)
    done = {identity for identity, record in run.records.items() if record.status == "done"}
    for path, (manifest, records) in shards.items():
        for name, author in manifest.answered_by.items():
            if authors.setdefault(name, author) != author and not plan.config.accept_model_change:
                raise UsageError(_other_model(path, name, author, authors[name]))
        taken |= {i: record for i, record in records.items() if record.status == "done" and i not in done}
        if manifest.versions != plan.manifest.versions:
            notes.append(f"{path} was computed with other versions: see its {MANIFEST}")
    if taken:
        run.identify(authors)
        run.append(taken.values())
        # These inputs were finished by the shards, not by this process.
        run.appended = 0
        notes.append(f"{len(taken)} records were taken from {len(shards)} shards")
    return notes


def _data(plan: Plan, dataset: Dataset) -> Data:
    return plan.manifest.data.model_copy(update={"sha256": dataset.digest, "rows": len(dataset.examples)})


def _other_model(path: Path, name: str, author: str, other: str) -> str:
    return (
        f"{path} was answered by {author!r} and the rest by {other!r} ({name}): remove it to ask its inputs again, "
        f"or take both for one with {ACCEPT_FLAG}"
    )
