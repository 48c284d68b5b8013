"""Leaves nothing behind, also when the demo itself is killed: a process of its own that cleans up once its pipe closes.

It makes the directory under which every device of the scene has its home, so that there is no moment at which something
exists that nobody would remove. Whatever runs for one of those homes is known by its environment; nothing needs to be reported.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from moodmesh.nodes.pool.rundir import run_dir
from moodmesh.nodes.pool.sweep import sweep

PREFIX = "moodmesh-scene-"
PATIENCE_S = 8.0


class Keeper:
    """The demo's end of the pipe; `root` is the directory to put homes in."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moodmesh.nodes.demo.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        assert self._process.stdout is not None
        self.root = Path(self._process.stdout.readline().strip())

    def finish(self) -> None:
        """Clean up now; returns when nothing is left."""
        self._process.communicate()


def main() -> None:
    """Wait for the end of the demo, then clean up."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    root = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    with contextlib.suppress(BrokenPipeError):  # the demo may be gone already
        print(root, flush=True)
    sys.stdin.read()
    end(root)
    for home in root.iterdir():
        sweep(run_dir(home, create=False))
    shutil.rmtree(root, ignore_errors=True)


def inhabitants(root: Path) -> list[psutil.Process]:
    """Every process that runs for a home below `root`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # gone, or not ours
            if Path(process.environ().get("MOODMESH_HOME", "")).is_relative_to(root):
                found.append(process)
    return found


def end(root: Path) -> None:
    """SIGTERM to each process that no other inhabitant started (a daemon ends its own children), patience, SIGKILL to all."""
    asked: set[int] = set()
    deadline = time.monotonic() + PATIENCE_S
    while found := inhabitants(root):
        pids, late = {process.pid for process in found}, time.monotonic() > deadline
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                if late:
                    process.kill()
                elif process.pid not in asked and process.ppid() not in pids:
                    process.terminate()
                    asked.add(process.pid)
        psutil.wait_procs(found, timeout=0.1)


if __name__ == "__main__":
    main()
