"""What keeps a worker small and mortal: limits, niceness, its own temp dir, and death with its parent."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_MOST_FILES = 4096


def confine(memory_mb: int | None, nice: int) -> None:
    """Limit this process: no core dumps, 4096 files, niceness, and `memory_mb` (None: the machine's) of private memory
    beside what it has already: call it once the engine is up and the worker's threads have started."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, _MOST_FILES)
    # Private memory, not address space: model files are mapped, and a mapping is no use of memory.
    _lower(resource.RLIMIT_DATA, _private_bytes() + (memory_mb or _machine_mb()) * 2**20)
    os.nice(max(0, nice - os.nice(0)))


def _private_bytes() -> int:
    """What RLIMIT_DATA counts of this process by now; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


def _machine_mb() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20


def _lower(what: int, to: int) -> None:
    hard = resource.getrlimit(what)[1]
    limit = to if hard == resource.RLIM_INFINITY else min(to, hard)
    resource.setrlimit(what, (limit, limit))


def die_with_parent(sig: signal.Signals = signal.SIGKILL) -> None:
    """Ask Linux for `sig` when the thread that started this process ends; elsewhere the end of stdin has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0)


def own_group() -> None:
    """Make this process the leader of a process group, so that it and its children can be killed together."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)


@contextmanager
def private_tmp(scratch: Path) -> Iterator[Path]:
    """`scratch`/tmp, fresh, as temp dir and working directory of the whole process; gone afterwards."""
    path = scratch / "tmp"
    path.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(path)
    os.chdir(path)
    try:
        yield path
    finally:
        os.chdir(scratch)
        shutil.rmtree(path, ignore_errors=True)
