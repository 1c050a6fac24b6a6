"""What is kept of the last texts, so that neither many of them nor long ones fill the memory."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """The last ``most`` things that were put here, or fewer: they weigh at most ``weight`` together.

    Safe to use from several threads.
    """

    def __init__(self, most: int, weight: int) -> None:
        self._most, self._weight = most, weight
        self._found: OrderedDict[bytes, tuple[T, int]] = OrderedDict()
        self._lock, self._weighs = Lock(), 0

    def __contains__(self, key: bytes) -> bool:
        return key in self._found

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: bytes) -> T | None:
        """What was put there; None where nothing is, any more."""
        found = self._found.get(key)
        return found[0] if found else None

    def put(self, key: bytes, value: T, weight: int) -> None:
        """Keep it as the newest, and forget the oldest."""
        with self._lock:
            self._forget(key)
            self._found[key] = value, weight
            self._weighs += weight
            while len(self._found) > self._most or self._weighs > self._weight:
                self._forget(next(iter(self._found)))

    def clear(self) -> None:
        """Forget all: what is asked again is read anew."""
        with self._lock:
            self._found.clear()
            self._weighs = 0

    def _forget(self, key: bytes) -> None:
        _, weight = self._found.pop(key, (None, 0))
        self._weighs -= weight
