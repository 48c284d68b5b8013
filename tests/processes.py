"""Processes as tests count them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import psutil


def living(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    """Those that are neither gone nor waiting to be reaped: an orphan's zombie is for init."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process)
    return found
