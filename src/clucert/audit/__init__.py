"""Tries to break certificates: searches each certified ball for a text that flips the smoothed classifier.

The package is called, too: ``clucert.audit("runs/a")``.
"""

from __future__ import annotations

from clucert.callable_package import make_callable

FILE = "audit.json"
"""What an audit leaves in the run directory."""
SCHEMA_VERSION = 1
"""Of that file."""

make_callable(__name__)
