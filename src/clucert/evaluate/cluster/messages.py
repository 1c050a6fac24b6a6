"""The messages between the driver and its workers: plain values that any transport can carry."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from clucert import errors
from clucert.cache.keys import ModelIdentity
from clucert.errors import CluCertError, ClusterError
from clucert.evaluate.cluster.shared_budget import BudgetService
from clucert.evaluate.runconfig import StudyConfig
from clucert.redact import redact
from clucert.runtime.executor import JobOutcome


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to load and to run; sent with every call, for the process may be a new one."""

    run: str
    """Tells the runs of an engine apart."""

    config: StudyConfig
    folder: str
    """The driver's working folder: relative paths of the configuration start there."""
    version: str
    """The driver's clucert."""
    files: Mapping[str, str]
    """SHA-256 of the files that the configuration names, by role."""
    parameters: Mapping[str, Any]
    """The method's own, as the manifest has them."""
    budget: BudgetService = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that models and cache read, keys among them; never shown."""
    models: tuple[ModelIdentity, ...] = ()
    """The models that it has to find, where they are known already."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error that travels: its class by name and its one line, without secrets, causes and frames."""

    kind: str
    message: str

    @classmethod
    def of(cls, error: Exception, where: str = "") -> Trouble:
        """``error`` of a worker; ``where`` comes first in its message. What is no CluCertError is a bug: says where."""
        message = redact(str(error)) or type(error).__name__
        if not isinstance(error, CluCertError):
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "clucert" in frame.filename]
            place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
            return cls("ClusterError", f"{where}{type(error).__name__}: {message}{place}")
        known = next(base.__name__ for base in inspect.getmro(type(error)) if base is getattr(errors, base.__name__, 0))
        return cls(known, f"{where}{message}")

    def error(self) -> CluCertError:
        """The error again."""
        kind = getattr(errors, self.kind, ClusterError)
        made: CluCertError = kind.__new__(kind)
        # Some classes build their message from parts; it is whole already.
        Exception.__init__(made, self.message)
        return made


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has loaded its models and made its queues."""

    in_flight: int
    """Inputs that keep its models busy."""
    machine: str
    file_cache: bool
    """Whether it keeps answers in a file of its own machine."""
    models: tuple[ModelIdentity, ...] = ()
    """What tells its models from others of the same name, weights included."""
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class InputReply:
    """What became of an input: its outcome, tagged with its id; neither when the budget was spent."""

    outcome: JobOutcome[str] | None = None
    failure: Trouble | None = None
    """The error of this input alone, which ``outcome`` leaves out."""
    trouble: Trouble | None = None
    """An error that stops the run."""


class WorkerLostError(Exception):
    """The process of a worker died over one call, and so did those that repeated it."""


class Remote(Protocol):
    """A worker as the driver sees it.

    When its process dies it is started again, and the calls that it had in progress are repeated there, each twice at
    most. Then :class:`WorkerLostError` is raised.
    """

    name: str

    async def prepare(self, order: Order) -> Ready:
        """Load what is not loaded yet and begin the run. Waits for as long as the cluster has no room."""
        ...

    async def certify(self, order: Order, identity: str, text: str) -> InputReply:
        """Certify one input; a new process prepares itself first."""
        ...

    async def end(self, *, now: bool) -> None:
        """End the run: answers of calls in flight are stored; ``now`` gives these calls up. Not repeated."""
        ...
