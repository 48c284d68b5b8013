"""Real daemons as processes, each with its own home; paired by hand where a test is not about pairing."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from integration import nursery
from moodmesh.mesh.identity import Identity
from moodmesh.nodes.bench import homes
from moodmesh.nodes.cli.client import Client
from moodmesh.nodes.cli.main import main
from moodmesh.nodes.errors import NoDaemon, NodeError
from moodmesh.nodes.reset import STORE_FILE

CLI = (sys.executable, "-m", "moodmesh.nodes.cli")
QUICK = {"mesh.hello": "false", "mesh.mdns": "false", "pool.kind": "process", "pool.slots": "1", "jobs.benchmark": "false"}


class Daemon:
    """One node in a process of its own."""

    def __init__(self, home: Path, name: str, **settings: str) -> None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home, self.name, self.port = home, name, homes.free_port()
        self.settings = QUICK | {"mesh.port": str(self.port)} | {k.replace("__", "."): v for k, v in settings.items()}
        self.identity = Identity.load_or_create(home / "identity")
        self.client = Client(home)
        self.process: BaseProcess | None = None
        self.log = home / "daemon.log"
        self.changed = ""
        """Statements that run in the daemon's process before anything of ours: another clock, another version."""

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """The command line of this device, as its user meets it."""
        environment = os.environ | {"MOODMESH_HOME": str(self.home)}
        return nursery.run(words, environment, **more)

    def typed(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same within this process: its entry point, without the start of an interpreter."""
        out, err = io.StringIO(), io.StringIO()
        before, argv = os.environ.get("MOODMESH_HOME"), sys.argv
        os.environ["MOODMESH_HOME"], sys.argv = str(self.home), ["moodmesh", *words]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main()
        except SystemExit as left:
            code = int(left.code or 0)
        finally:
            sys.argv = argv
            os.environ.pop("MOODMESH_HOME")
            os.environ.update({} if before is None else {"MOODMESH_HOME": before})
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def start(self, **settings: str) -> Daemon:
        chosen = self.settings | {k.replace("__", "."): v for k, v in settings.items()}
        options = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
        environment = os.environ | {"MOODMESH_HOME": str(self.home)}
        self.process = nursery.begin(("up", "--name", self.name, *options), environment, self.log, self.changed)
        self.wait_for(lambda: self.client.get("status"), "up")
        return self

    def wait_for(self, check: Any, what: str, seconds: float = 20) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(NoDaemon):
                if found := check():
                    return found
            if self.process is not None and not self.process.is_alive():
                break
            time.sleep(0.02)
        raise AssertionError(f"{self.name} is not {what}:\n{self.log.read_text()[-3000:]}")

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.signal(sig)
            self.left()

    def signal(self, sig: signal.Signals) -> None:
        """Send the process a signal, if it still runs."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, sig)

    def left(self) -> int:
        """Wait until the process has ended; its exit status, or the number of its signal below nought."""
        assert self.process is not None
        self.process.join(20)
        code = self.process.exitcode
        assert code is not None, f"{self.name} has not ended"
        self.process = None
        return code

    def submit(self, task: str, data: bytes = b"", **more: Any) -> str:
        body = {"task": task, "input": base64.b64encode(data).decode(), **more}
        return str(self.client.post("jobs", body=body)["id"])

    def ended(self, job: str, seconds: float = 30) -> dict[str, Any]:
        def check() -> Any:
            found = self.client.get("jobs", job)
            return found if found["status"] in ("SUCCEEDED", "FAILED", "STOPPED") else None

        found: dict[str, Any] = self.wait_for(check, f"done with {job}", seconds)
        return found

    def linked(self, count: int = 1) -> None:
        self.wait_for(lambda: self.client.get("status")["linked"] >= count, "linked")

    def rows(self, query: str) -> list[sqlite3.Row]:
        db = sqlite3.connect(self.home / STORE_FILE)
        db.row_factory = sqlite3.Row
        with contextlib.closing(db):
            return db.execute(query).fetchall()


def traces(home: Path, *words: bytes) -> list[Path]:
    """The files of a home that hold one of these words, as it is or within base64."""
    forms = [form for word in words for form in (word, *(_coded(word, skip) for skip in range(3)))]
    files = [(file, file.read_bytes()) for file in home.rglob("*") if file.is_file()]
    assert files
    return [file for file, content in files if any(form in content for form in forms)]


def _coded(word: bytes, skip: int) -> bytes:
    """What base64 makes of a word, whatever stands around it, when it begins at byte `skip` of three."""
    coded = base64.b64encode(bytes(skip) + word)
    return coded[(0, 2, 3)[skip] : len(coded) - (0, 3, 2)[(skip + len(word)) % 3]]


def free_udp() -> str:
    """A UDP port that nobody has, for the hello of a test's own daemons."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def pair(a: Daemon, b: Daemon, rules: str = "own") -> None:
    """Write a pair into both stores, before the daemons start; each gives the other a preset."""
    homes.introduce([homes.Home(d.home, d.name, d.port, d.identity) for d in (a, b)], rules)


@contextlib.contextmanager
def daemons(root: Path, *names: str, rules: str = "own", changed: str = "", **settings: str) -> Iterator[list[Daemon]]:
    """Daemons that are all paired with each other, started, and killed at the end."""
    found = [Daemon(root / name, name, **settings) for name in names]
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            pair(a, b, rules)
    try:
        for daemon in found:
            daemon.changed = changed
            daemon.start()
        for daemon in found:
            daemon.linked(len(found) - 1)
        yield found
    finally:
        for daemon in found:
            with contextlib.suppress(NodeError):
                daemon.kill(signal.SIGTERM)
