"""What holds something open, and can be used as a context."""

from __future__ import annotations

from typing import Self


class ContextManager:
    """``with thing:`` closes it at the end, whatever happens. Subclasses write ``close``, which may be called twice."""

    def close(self) -> None:
        """Give back what is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
