"""Reaching a Ray cluster, and how many workers of what size it has room for."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from clucert.errors import ClusterError, MissingExtraError, UsageError
from clucert.evaluate.runconfig import StudyConfig
from clucert.redact import redact

RAY_COMMAND = "pip install 'clucert[ray]'"
TRY = 5.0
"""Seconds to wait for a cluster's port: Ray itself waits for minutes, and cannot be interrupted meanwhile."""
LOCKED = " (if it wants a token: RAY_AUTH_MODE=token, and its ~/.ray/auth_token on every machine)"
SERVED = ("openai/", "vllm/", "ollama/")
"""Models that run in a server of their own; a worker needs no GPU for them."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many workers there are to be, and what each takes of a node."""

    workers: int
    cpus: int
    gpus: float


def import_ray() -> Any:
    """The ``ray`` module, told to report nothing to anyone."""
    # Read once, when Ray starts a cluster.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("Ray", RAY_COMMAND) from error
    return ray


def connect(ray: Any, address: str | None, stack: ExitStack) -> None:
    """Join the cluster at ``address``, or the usual one, or start one; ``stack`` leaves it again.

    A connection that this process has already is used and left open. Raises :class:`ClusterError`.
    """
    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", here):
            raise UsageError(f"this process is connected to the Ray cluster at {here}: leave --ray-address out")
        return
    address = address or os.environ.get("RAY_ADDRESS") or _beside(ray)
    _knock(address)
    try:
        # Workers' own output would tear the progress bar; it is in Ray's log folder.
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, ImportError, OSError) as error:
        raise ClusterError(f"no Ray cluster at {address}: {last_line(error)}{LOCKED}") from None
    # Ray reports dead nodes on standard output, page by page, where our own result goes; the driver reports them, too.
    # The switch is the one of Ray's own debugger. It stays off until the connection is closed.
    module = ray._private.worker
    stack.callback(setattr, module, "_worker_logs_enabled", getattr(module, "_worker_logs_enabled", True))
    stack.callback(ray.shutdown)
    module._worker_logs_enabled = False


def _beside(ray: Any) -> str:
    """``auto`` where a cluster of this machine still runs, else ``local``: one of this process's own.

    Ray would wait for ever for one that has ended without saying so.
    """
    written = ray._private.utils.read_ray_address()
    if written:
        with suppress(ClusterError, UsageError):
            _knock(written)
            # Not the address itself: Ray looks for the cluster's token by itself only where it finds the cluster.
            return "auto"
    return "local"


def _knock(address: str) -> None:
    """Raise :class:`ClusterError` when nobody listens at ``host:port``."""
    place = address.removeprefix("ray://")
    host, colon, port = place.rpartition(":")
    if not colon:
        if place in ("", "auto", "local"):
            return
        raise UsageError(
            f"--ray-address {address!r}: write it like  10.0.0.1:6379, or auto for the one on this machine"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=TRY).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClusterError(
            f"no Ray cluster at {address} ({reason}): check --ray-address, and `ray status` there"
        ) from None


def sizes_of(ray: Any, config: StudyConfig) -> Sizes:
    """What ``config`` asks for, the rest by what the nodes have."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return fit(nodes, config)


def fit(nodes: Sequence[Mapping[str, float]], config: StudyConfig) -> Sizes:
    """Workers for ``nodes``, whose resources are given by Ray's names.

    One worker for each GPU, or for each node with a CPU where none is used; each with as many CPUs as let all of
    them be placed. Raises :class:`UsageError` when there is no room for a single one.
    """
    all_gpus = sum(node.get("GPU", 0) for node in nodes)
    names = [*config.model, *filter(None, (config.helper_model, config.judge))]
    local = any(not name.startswith(SERVED) for name in names)
    gpus = config.worker_gpus if config.worker_gpus is not None else float(bool(all_gpus and local))
    usable = [node for node in nodes if node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= gpus]
    rooms = sum(int(node["GPU"] / gpus) for node in usable) if gpus else len(usable)
    workers = config.workers or rooms
    most = max((int(node["CPU"]) for node in usable), default=0)
    if not most or (config.worker_cpus or 1) > most:
        have = ", ".join(f"{int(n.get('CPU', 0))} CPUs and {n.get('GPU', 0):g} GPUs" for n in nodes)
        raise UsageError(
            f"no node has room for a worker of {config.worker_cpus or 1} CPUs and {gpus:g} GPUs (nodes: {have}): "
            "see --worker-cpus and --worker-gpus"
        )
    return Sizes(workers, config.worker_cpus or _cpus(usable, workers, gpus, most), gpus)


def _cpus(nodes: Sequence[Mapping[str, float]], workers: int, gpus: float, most: int) -> int:
    """The most CPUs that leave room for all ``workers``; 1 when there is none."""

    def places(cpus: int) -> int:
        return sum(min(int(n["CPU"] / cpus), int(n["GPU"] / gpus) if gpus else workers) for n in nodes)

    return next((cpus for cpus in range(most, 1, -1) if places(cpus) >= workers), 1)


def last_line(error: BaseException) -> str:
    """The most telling line of Ray's long messages, without secrets."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "died because" in line or "Error:" in line]
    return redact((telling or lines or [type(error).__name__])[-1])[:300]
