"""One daemon per home: an advisory lock that dies with the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from moodmesh.nodes.errors import Refused

LOCK_FILE = "daemon.lock"


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home; `Refused` names the process that holds it already."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise Refused(
                f"a daemon already runs for {home} (pid {holder}); stop it, or give this one its own MOODMESH_HOME", "running"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
