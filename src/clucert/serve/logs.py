"""The log: lines for people, or one JSON object a line; without a word of a prompt, an answer or a key."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

Format = Literal["text", "json"]


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time`` (UTC), ``level``, ``message``, and the ``fields`` of the record, if it has any.

    Line breaks and control characters are escaped, so that nothing that is logged makes another line.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "message": record.getMessage(), **fields}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr(form: Format) -> None:
    """Send the logs of the endpoint and of its HTTP server to standard error, and nowhere else."""
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else text)
    for name, level in (("clucert.serve", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
