"""Find and kill what a dead engine left: processes that hold a file of its private directory open for writing."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil

_READING = {"r", "rt", "rb"}


def holders(directory: Path) -> list[psutil.Process]:
    """This user's processes, the caller apart, with a file under `directory` open for writing. Blocking, 10-100 ms."""
    uid, own = psutil.Process().uids().real, psutil.Process().pid
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != own and process.uids().real == uid and _writes_in(process, directory):
                found.append(process)
        except psutil.Error:  # gone, or not ours to look into
            continue
    return found


def _writes_in(process: psutil.Process, directory: Path) -> bool:
    opened = process.open_files()
    return any(Path(file.path).is_relative_to(directory) for file in opened if getattr(file, "mode", "w") not in _READING)


def sweep(directory: Path, also: list[psutil.Process] | None = None, patience_s: float = 2.0) -> int:
    """Kill the holders of `directory` (and `also`) until none is left, delete it; how many were killed. Blocking."""
    directory = directory.resolve()
    killed, end = 0, time.monotonic() + patience_s
    doomed = [*(also or []), *holders(directory)]
    while doomed:
        for process in doomed:
            _kill(process)
        killed += len(doomed)
        psutil.wait_procs(doomed, timeout=0.5)
        doomed = holders(directory) if time.monotonic() < end else []
    shutil.rmtree(directory, ignore_errors=True)
    return killed


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
