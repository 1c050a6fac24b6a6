"""Evaluate certified robustness over data sets. The package is called, too: ``clucert.evaluate(data=…)``."""

from __future__ import annotations

from clucert.callable_package import make_callable

make_callable(__name__)
