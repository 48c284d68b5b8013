"""Paired daemons of this machine whose processes, clocks, disks and wires a benchmark has in its hands."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from moodmesh.nodes.bench import homes, patched, plugin, work_task
from moodmesh.nodes.bench.relay import Relays
from moodmesh.nodes.cli.client import Client
from moodmesh.nodes.demo.keeper import Keeper, inhabitants
from moodmesh.nodes.demo.scene import Device
from moodmesh.nodes.errors import NodeError

PATIENCE_S = 60.0
CALL_S = 12.0
STARTING_S = 5.0
DETACHED_S = 1.0
"""How long work may run on without its submitter, at most; short, so that runs see the end of it."""
SETTINGS = {
    "mesh.hello": "false", "mesh.mdns": "false", "pool.kind": "process", "pool.slots": "1", "power.battery_floor": "0",
    "jobs.benchmark": "false", "jobs.packaged_models": "false", "jobs.detached_s": str(DETACHED_S),
}  # fmt: skip


class FleetFailed(NodeError):
    """The daemons did not come as far as the benchmark needs them; the message has the end of a log."""


@dataclass
class Member(Device):
    """One daemon. `kills` and `stops` are the monotonic seconds of what was done to it, `stops` as (from, to)."""

    home_made: homes.Home
    settings: Mapping[str, str] = field(default_factory=dict)
    patch: str = ""
    knobs: patched.Knobs = field(init=False)
    kills: list[float] = field(default_factory=list)
    stops: list[tuple[float, float]] = field(default_factory=list)
    stopped_at: float | None = None
    frozen: list[psutil.Process] = field(default_factory=list)
    born: float = 0.0
    crashing: bool = False
    """Whether it was started to die after a step of its journal."""
    doomed: bool = False
    """Whether its end is no surprise: it was told to end, or may not be able to start."""

    def __post_init__(self) -> None:
        self.knobs = patched.Knobs(self.home / "knobs")

    @property
    def client(self) -> Client:
        """Its local API, with a patience that a stopped daemon cannot stretch."""
        return Client(self.home, CALL_S)

    @property
    def id(self) -> str:
        """Its device id."""
        return str(self.home_made.identity.id)

    @property
    def alive(self) -> bool:
        """Whether its process runs, or stands still."""
        return hasattr(self, "process") and self.process.poll() is None

    def start(self, **settings: str) -> None:
        """Start its daemon unless it runs, with further settings; does not wait."""
        if self.alive:
            return
        chosen = {**SETTINGS, "mesh.port": str(self.home_made.port), "node.name": self.name, **self.settings, **settings}
        options = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
        program = f"{self.patch}\nfrom moodmesh.nodes.bench.patched import main\nmain()"
        with (self.home / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, "up", *options],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.born = time.monotonic()  # of the new process: until now, whoever looks sees the end of the old one
        self.crashing = self.doomed = "debug.crash_after" in settings

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM, and wait for its end; SIGKILL after ten seconds."""
        self._end(signal.SIGTERM)

    def _end(self, sig: signal.Signals) -> None:
        if not self.alive:
            return
        self.doomed = True
        self.cont()
        self.process.send_signal(sig)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.kills.append(time.monotonic())

    def stop(self) -> None:
        """SIGSTOP: it stands still, its workers do not."""
        if self.alive and self.stopped_at is None:
            self.stopped_at = time.monotonic()
            self.process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT."""
        if self.stopped_at is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.stops.append((self.stopped_at, time.monotonic()))
            self.stopped_at = None

    def fill_disk(self, full: bool) -> None:
        """Forbid it to write any file, or allow it again (Linux)."""
        if not self.alive:
            return
        self.doomed |= full and time.monotonic() - self.born < STARTING_S  # on a full disk it says so and ends
        with contextlib.suppress(ProcessLookupError):
            hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0 if full else hard, hard))

    def shoot(self, chance: float) -> bool:
        """SIGKILL to one of its workers, picked by a number in [0, 1); False when it has none."""
        with contextlib.suppress(psutil.Error, IndexError):
            self._worker(chance).kill()
            return True
        return False

    def freeze(self, chance: float) -> None:
        """SIGSTOP to one of its workers, picked by a number in [0, 1): it stands still, its daemon does not."""
        with contextlib.suppress(psutil.Error, IndexError):
            self.frozen.append(worker := self._worker(chance))
            worker.suspend()

    def thaw(self) -> None:
        """SIGCONT to those."""
        while self.frozen:
            with contextlib.suppress(psutil.Error):
                self.frozen.pop().resume()

    def _worker(self, chance: float) -> psutil.Process:
        workers = psutil.Process(self.process.pid).children()
        return workers[int(chance * len(workers))]

    def log(self, size: int = 1500) -> str:
        """The end of its log."""
        return (self.home / "daemon.log").read_text(errors="replace")[-size:]


class Fleet:
    """Daemons that know each other, behind relays or (`relayed` false) not; `close` leaves nothing of them behind."""

    def __init__(
        self,
        names: Iterable[str],
        settings: Mapping[str, str] | None = None,
        *,
        paces: Mapping[str, float] | None = None,
        relayed: bool = True,
        patch: str = "",
        tasks: Mapping[str, str] = work_task.TASKS,
        environ: Callable[[str], Mapping[str, str]] = lambda name: {},
        paired: Collection[str] | None = None,
    ) -> None:
        """`tasks`: what is installed; `environ`: what one of the devices has in its environment beside that; `paired`: those
        that know each other, by default all."""
        self._keeper = Keeper()
        self.root = self._keeper.root
        made = [homes.make(self.root / name, name) for name in names]
        homes.introduce([home for home in made if paired is None or home.name in paired], tasks=tasks)
        self.relays = Relays({home.name: home.port for home in made}) if relayed else None
        before = filter(None, [os.environ.get("PYTHONPATH")])  # daemons run the code that the benchmark does
        path = os.pathsep.join([str(plugin.install(self.root / made[0].name, tasks)), *before])
        self.members: dict[str, Member] = {}
        for home in made:
            routes = json.dumps(self.relays.routes[home.name]) if self.relays else "{}"
            extra = {
                "PYTHONPATH": path, work_task.DEVICE: home.name, work_task.PACE: str((paces or {}).get(home.name, 1.0)),
                patched.KNOBS: str(home.path / "knobs"), patched.ROUTES: routes, **environ(home.name),
            }  # fmt: skip
            self.members[home.name] = Member(home.name, home.path, extra, home, settings or {}, patch)

    def start(self) -> None:
        """Start every daemon that does not run, and wait until each is linked with all others."""
        for member in self.members.values():
            member.start()
        self.wait("linked", self.linked)

    def linked(self, member: Member) -> bool:
        """Whether a daemon is linked with all others."""
        return bool(member.client.get("status")["linked"] == len(self.members) - 1)

    def wait(self, what: str, done: Callable[[Member], Any], seconds: float = PATIENCE_S) -> None:
        """Until `done` holds of every daemon."""
        end = time.monotonic() + seconds
        for member in self.members.values():
            while not _quietly(done, member):
                if not member.alive or time.monotonic() > end:
                    raise FleetFailed(f"{member.name} is not {what}; its log ends:\n{member.log()}")
                time.sleep(0.05)

    def strays(self) -> list[psutil.Process]:
        """Processes of these homes that no living daemon of theirs started."""
        own = {p.pid for m in self.members.values() if m.alive for p in _family(m.process.pid)}
        return [p for p in inhabitants(self.root) if p.pid not in own]

    def down(self) -> list[psutil.Process]:
        """End every daemon; what is left of them two seconds later."""
        for member in self.members.values():
            member.terminate()
        end = time.monotonic() + 2
        while (left := self.strays()) and time.monotonic() < end:
            time.sleep(0.05)
        return left

    def close(self) -> None:
        """End everything and delete every file of it."""
        for member in self.members.values():
            member.kill()
        if self.relays is not None:
            self.relays.close()
        self._keeper.finish()


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _quietly(done: Callable[[Member], Any], member: Member) -> bool:
    try:
        return bool(done(member))
    except NodeError:
        return False
