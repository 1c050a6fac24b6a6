"""Packages that are called, too: ``clucert.evaluate`` is one, and a function of :mod:`clucert.studies`."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any


class CallablePackage(types.ModuleType):
    """Calls the function of the same name."""

    @property
    def _function(self) -> Any:
        return getattr(importlib.import_module("clucert.studies"), self.__name__.rpartition(".")[2])

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What the function returns."""
        return self._function(*arguments, **options)

    @property
    def __signature__(self) -> Any:
        return self._function.__signature__


def make_callable(name: str) -> None:
    """Let the package ``name`` be called."""
    sys.modules[name].__class__ = CallablePackage
