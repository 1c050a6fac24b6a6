"""From the outcomes of an executor to the records of a run, in small groups that are on the disk when they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from clucert import certificate_json, exact_json
from clucert.cache.server_identity import ServerIdentity
from clucert.errors import CluCertError
from clucert.evaluate.data import Example
from clucert.evaluate.record import Json, Record
from clucert.evaluate.run_directory import RunWriter, input_digest
from clucert.methods import Method
from clucert.methods.exact import ExactMethod
from clucert.redact import redact
from clucert.runtime.executor import JobOutcome

HOPELESS = 20
"""Failures, and no success, after which a run stops."""


class Recorder:
    """Writes each outcome into ``run`` in a thread of its own; all that come during one write share the next.

    With ``fail_fast``, the error of a failed input is raised once the record of it is written; without it, that of the
    :data:`HOPELESS`-th where all inputs of the run have failed so far: what is wrong is not with them.
    """

    def __init__(
        self,
        run: RunWriter,
        method: Method | ExactMethod,
        *,
        fail_fast: bool = False,
        identities: Mapping[str, ServerIdentity] | None = None,
    ) -> None:
        """``identities`` says who answers, by the model's name: kept in the manifest before any record of theirs."""
        self._run, self._method, self._fail_fast = run, method, fail_fast
        self._identities = identities or {}
        self.failed_fast: CluCertError | None = None
        """The error that was raised because of ``fail_fast``, or because all inputs failed."""
        self._failures, self._one_done = 0, any(record.status == "done" for record in run.records.values())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clucert-record")
        self._waiting: list[JobOutcome[Example]] = []
        self._writing = asyncio.Lock()

    async def __call__(self, outcome: JobOutcome[Example]) -> None:
        """Return when the record of ``outcome`` is on the disk. Raises :class:`RunError` when it cannot get there."""
        self._waiting.append(outcome)
        async with self._writing:
            # Whoever had the lock before may have written this one, too.
            group, self._waiting = self._waiting, []
            if group:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._write, group)
        self._one_done |= outcome.error is None
        self._failures += outcome.error is not None
        if outcome.error is not None and (self._fail_fast or self.hopeless):
            self.failed_fast = self.failed_fast or outcome.error
            raise outcome.error

    @property
    def hopeless(self) -> bool:
        """Whether the first :data:`HOPELESS` inputs of the run failed, every one."""
        return not self._one_done and self._failures >= HOPELESS

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _write(self, group: list[JobOutcome[Example]]) -> None:
        # Before its first reply only the model list is known: half an identity, which the whole one would not equal.
        known = {name: one.answered_by for name, one in self._identities.items() if one.identified and one.answered_by}
        self._run.identify(known)
        self._run.append([record_of(outcome, self._method) for outcome in group])


def record_of(outcome: JobOutcome[Example], method: Method | ExactMethod) -> Record:
    """What is kept of an outcome of ``method``. The error's message holds no secret."""
    example, error = outcome.tag, outcome.error
    return Record(
        id=example.id,
        gold=example.label,
        status="done" if error is None else "failed",
        error=None if error is None else reason_of(error),
        document=None if error is not None else _document(outcome, method),
        reused=outcome.reused.document(),
        input=input_digest(example.id, example.text, example.label),
    )


def _document(outcome: JobOutcome[Example], method: Method | ExactMethod) -> Json:
    if isinstance(method, ExactMethod):
        return exact_json.write(outcome.result, method, outcome.cost)
    return certificate_json.write(outcome.result, outcome.cost)


def reason_of(error: CluCertError) -> str:
    """Why an input failed, in one line without secrets."""
    return redact(str(error)) or type(error).__name__
