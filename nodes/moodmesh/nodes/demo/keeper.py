"""Leaves nothing behind, also when the demo itself is killed: a process of its own that cleans up once its pipe closes.

Each line it reads is the home of a daemon, or the pid of a process to end. At the end of input it ends them all, sweeps what
their pools left, deletes the directory it was given, and exits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from moodmesh.nodes.pool.rundir import run_dir
from moodmesh.nodes.pool.sweep import sweep

PATIENCE_S = 8.0


class Keeper:
    """The demo's end of the pipe."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, "-m", "moodmesh.nodes.demo.keeper", str(root)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def add(self, what: int | Path) -> None:
        """A process, or a daemon's home."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def finish(self) -> None:
        """Clean up now; returns when nothing is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Wait for the end of the demo, then clean up."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    root = Path(sys.argv[1])
    lines = [line.strip() for line in sys.stdin]
    end([int(line) for line in lines if line.isdigit()])
    for home in (Path(line) for line in lines if not line.isdigit()):
        short = run_dir(home)
        sweep(short)
        shutil.rmtree(short, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)


def end(pids: list[int]) -> None:
    """SIGTERM, patience, SIGKILL; to each and to what it started."""
    found: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    _, alive = psutil.wait_procs(found, timeout=max(0.0, deadline - time.monotonic()))
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=2)


if __name__ == "__main__":
    main()
