"""A world replayed on real daemons of this machine: their protocol, journals, queues and wires; only the work is slept."""

from __future__ import annotations

import base64
import contextlib
import math
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from moodmesh.nodes import rates
from moodmesh.nodes.bench.fleet import Fleet, Member
from moodmesh.nodes.bench.routing import trace_task
from moodmesh.nodes.bench.routing.engine import SIZES
from moodmesh.nodes.bench.routing.trace_task import Ran
from moodmesh.nodes.bench.routing.world import NAMES, Machine, World
from moodmesh.nodes.reset import STORE_FILE

AT_ONCE = 32
DRAIN_S = 240.0
PROBES = 8


@dataclass(frozen=True)
class Replayed:
    """What a replay gave: by job its seconds from acceptance to the result (NaN: none), every attempt, and what it cost."""

    completion: list[float]
    ran: list[Ran]
    cpu_share: float = 0.0
    late_s: float = 0.0
    """The 95th percentile of how late a job was handed in."""
    absences: Sequence[Sequence[tuple[float, float]]] = ()
    """By device: the seconds at which it was killed, and at which it was back, linked and warm."""


@dataclass(frozen=True)
class Wire:
    """Of this machine: seconds of a job beside its work, without and with an input, and the bytes per second between."""

    overhead_s: float
    bandwidth: float


class RealMesh:
    """The devices of a world as daemons that are linked, warm, and hold the rates that the world drew."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = trace_task.names(world.machines)
        machines = dict(zip(self._names, world.machines, strict=True))
        self._fleet = Fleet(
            self._names, {"pool.eager": "true"}, relayed=False, tasks=trace_task.TASKS,
            environ=lambda name: {trace_task.UNABLE: trace_task.unable(machines[name])},
        )  # fmt: skip
        for name, machine in machines.items():
            member = self._fleet.members[name]
            member.settings = {**member.settings, "pool.slots": str(machine.slots)}
            _teach(member, machine)

    def start(self) -> None:
        """Until all are linked and warm."""
        self._fleet.start()
        self._fleet.wait("ready", lambda m: m.client.get("status")["ready"])

    def close(self) -> None:
        """Nothing is left."""
        self._fleet.close()

    def wire(self) -> Wire:
        """What a job costs here that lasts no time, on the next device, and how fast an input travels."""
        first, other = self._fleet.members[self._names[0]], self._names[-1]
        with self._folder(_blink(self._world)) as folder:
            small, large = (
                statistics.median(self._probe(first, other, folder, size) for _ in range(PROBES)) for size in (0, 10**6)
            )
        return Wire(small, 10**6 / max(large - small, 1e-3))

    def _probe(self, first: Member, other: str, folder: Path, size: int) -> float:
        body = _body(0, 0, folder) | {"on": other, "input": base64.b64encode(os.urandom(size)).decode()}
        id_ = first.client.post("jobs", body=body)["id"]
        while (found := first.client.get("jobs", id_))["finished"] is None:
            time.sleep(0.05)
        return _completion(found)

    def replay(self, told: Callable[[float], None] = lambda share: None) -> Replayed:
        """Hand in every job at its time to the daemon of its origin, and wait for all results. Absences are SIGKILLs."""
        members = [self._fleet.members[name] for name in self._names]
        before, began = self._cpu(), time.monotonic()
        with self._folder(self._world) as folder, ThreadPoolExecutor(AT_ONCE) as hands:
            asked, aways = [], [hands.submit(self._leave, n, began) for n, away in enumerate(self._world.absences) if away]
            for number, job in enumerate(self._world.jobs):
                time.sleep(max(0.0, began + job.at - time.monotonic()))
                body, due = _body(number, job.kind, folder), began + job.at
                asked.append(hands.submit(_hand_in, members[job.origin], body, due))
                told(number / len(self._world.jobs))
            ids, away = [future.result() for future in asked], dict(future.result() for future in aways)
            self._drain()
            took = time.monotonic() - began
            done = {job["id"]: job for member in members for job in member.client.get("jobs", limit=1000)["jobs"]}
            ran = trace_task.read(folder)
        late = sorted(late for _, late in ids)
        seconds = [_completion(done[id_]) for id_, _ in ids]
        absences = tuple(away.get(number, ()) for number in range(len(members)))
        return Replayed(seconds, ran, (self._cpu() - before) / took, late[int(0.95 * len(late))], absences)

    def _leave(self, number: int, began: float) -> tuple[int, tuple[tuple[float, float], ...]]:
        """Kill a device at each of its times and start it again; when that was."""
        member, found = self._fleet.members[self._names[number]], []
        for leaves, returns in self._world.absences[number]:
            time.sleep(max(0.0, began + leaves - time.monotonic()))
            member.kill()
            left = time.monotonic() - began
            time.sleep(max(0.0, began + returns - time.monotonic()))
            member.start()
            self._fleet.wait("back", lambda m: m is not member or (self._fleet.linked(m) and m.client.get("status")["ready"]))
            found.append((left, time.monotonic() - began))
        return number, tuple(found)

    def _drain(self) -> None:
        end = time.monotonic() + DRAIN_S
        while time.monotonic() < end:
            if not any(self._open(member) for member in self._fleet.members.values()):
                return
            time.sleep(0.5)

    def _open(self, member: Member) -> bool:
        return any(job["finished"] is None for job in member.client.get("jobs", limit=1000)["jobs"])

    @contextlib.contextmanager
    def _folder(self, world: World) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self._fleet.root) as folder:
            trace_task.write(world, Path(folder))
            yield Path(folder)

    def _cpu(self) -> float:
        """CPU seconds that the daemons and their workers have used."""
        total = 0.0
        for member in self._fleet.members.values():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(member.process.pid)
                for one in (process, *process.children(recursive=True)):
                    times = one.cpu_times()
                    total += times.user + times.system
        return total


def _blink(world: World) -> World:
    """A world in which everything is done at once."""
    machines = [m._replace(seconds=tuple(0.0 if s < math.inf else s for s in m.seconds)) for m in world.machines]
    return World(world.cell, machines, world.jobs, world.absences)


def _body(number: int, kind: int, folder: Path) -> dict[str, Any]:
    task = trace_task.PREFIX + NAMES[kind].split("/")[0]
    return {"task": task, "params": {"job": number, "folder": str(folder)},
            "input": base64.b64encode(os.urandom(SIZES[kind].bytes_in)).decode()}  # fmt: skip


def _hand_in(member: Member, body: dict[str, Any], due: float) -> tuple[str, float]:
    late = time.monotonic() - due
    return str(member.client.post("jobs", body=body)["id"]), late


def _completion(job: dict[str, Any]) -> float:
    if job["status"] != "SUCCEEDED":
        return math.nan
    return float(job["finished"] - job["created"])


def _teach(member: Member, machine: Machine) -> None:
    """Write into its store what its benchmark would have found: the truth with the error that the world drew."""
    with contextlib.closing(sqlite3.connect(member.home / STORE_FILE)) as db, db:
        for name, seconds, error in zip(NAMES, machine.seconds, machine.prior, strict=True):
            if seconds < math.inf:
                task, variant = name.split("/")
                rate = rates.first(seconds * error, 0.0, time.time())
                row = (rate.mean, rate.log_mean, rate.log_var, rate.count, rate.load_s, rate.measured)
                key = (trace_task.PREFIX + task, variant, "process", "")
                db.execute("INSERT INTO rate VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*key, *row))
