"""Logs of the daemon: one line on a terminal, JSON otherwise; never moods, codes, tokens or file names.

The standard library alone: structlog brings rich with it, 8 MB that an idle daemon need not hold.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Lines(logging.Formatter):
    """Time, level, words, then what else was said as key=value; or all of it as one JSON object."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._json = as_json

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        said: dict[str, Any] = {"time": f"{at}.{record.msecs:03.0f}", "level": record.levelname.lower()}
        said["event"] = record.getMessage()
        said |= {key: value for key, value in vars(record).items() if key not in _USUAL}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        if self._json:
            return json.dumps(said, default=str)
        extra = "".join(f" {key}={value}" for key, value in list(said.items())[3:])
        return f"{said['time'][11:]} {said['level']:<7} {said['event']}{extra}"


def configure(level: str) -> None:
    """Send every logger of the process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(as_json=not sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("bleak").setLevel(logging.WARNING)
    logging.getLogger("zeroconf").setLevel(logging.ERROR)
