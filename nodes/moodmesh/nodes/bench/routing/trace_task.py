"""The work of a simulated world, on real devices: tasks that sleep as long as the world says that the attempt takes there."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from moodmesh.nodes.bench.routing.world import KINDS, NAMES, Machine, Work, World
from moodmesh.nodes.bench.work_task import DEVICE
from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.task import Context, Output, Request, TaskSpec, Variant

UNABLE = "BENCH_UNABLE"
"""Environment: the kinds of work that a device cannot do, by name."""
OUT_OF_REACH_MB = 1_000_000
PREFIX = "trace."
WORLD = "world.json"
TICK_S = 0.25
VARIANT = "base"


class Asked(BaseModel):
    """The number of a job, and the folder of its world."""

    job: int
    folder: str


class Answered(BaseModel):
    """The number of the job, and of the attempt that answers."""

    job: int
    number: int


@dataclass(frozen=True)
class Ran:
    """One attempt as its worker saw it: job, number, device and wall seconds; an attempt that was stopped has no end."""

    job: int
    number: int
    device: str
    began: float
    ended: float | None


def names(machines: Sequence[Machine]) -> list[str]:
    """What the devices of a world are called on a real mesh."""
    return [f"{machine.kind}{index}" for index, machine in enumerate(machines)]


def unable(machine: Machine) -> str:
    """What to put into the environment of a device."""
    return ",".join(name.split("/")[0] for name, s in zip(NAMES, machine.seconds, strict=True) if s == math.inf)


def write(world: World, folder: Path) -> None:
    """Leave a world where the workers find it."""
    jobs = [[job.kind, job.draws] for job in world.jobs]
    (folder / WORLD).write_text(json.dumps({"seconds": [m.seconds for m in world.machines], "jobs": jobs}))


def read(folder: Path) -> list[Ran]:
    """All attempts that began, in that order."""
    found = []
    for file in folder.glob("*.ran"):
        job, number = file.stem.split("-")
        device, began, *ended = file.read_text().split()
        found.append(Ran(int(job), int(number), device, float(began), float(ended[0]) if ended else None))
    return sorted(found, key=lambda ran: ran.began)


class Trace:
    """One kind of work: its own runner."""

    kind: int

    def __init__(self) -> None:
        name = NAMES[self.kind].split("/")[0]
        memory = OUT_OF_REACH_MB if name in os.environ.get(UNABLE, "").split(",") else 40
        self.spec = TaskSpec(
            PREFIX + name, 1, "sleeps for as long as a trace says", Asked, Answered, (Variant(VARIANT, 0, memory),), "job"
        )

    def units(self, request: Request) -> float:
        """All jobs of a kind are of one size."""
        return 1.0

    def result_bytes(self, request: Request) -> int:
        """What the world says."""
        return KINDS[NAMES[self.kind]].bytes_out

    def benchmark_request(self) -> Request:
        """None that works: the store has the rate that the world drew for this device."""
        return Request({"job": -1, "folder": ""})

    def open(self, variant: str, context: Context) -> Trace:
        """Nothing to load."""
        return self

    def run(self, request: Request, context: Context) -> Output:
        """Sleep for this attempt's seconds here, and write down that it did."""
        asked = Asked.model_validate(request.params)
        if asked.job < 0:
            raise InvalidInput("not measured: the world says how fast this device is")
        end, here = time.monotonic(), os.environ[DEVICE]
        file, number = _claim(Path(asked.folder), asked.job)
        end += seconds(Path(asked.folder), asked.job, here, number)
        file.write_text(f"{here} {time.time()}")
        while (left := end - time.monotonic()) > 0:
            context.check()
            time.sleep(min(TICK_S, left))
        file.write_text(f"{file.read_text()} {time.time()}")
        return Output({"job": asked.job, "number": number}, {"out": os.urandom(self.result_bytes(request))})


def seconds(folder: Path, job: int, device: str, number: int) -> float:
    """How long an attempt of a job takes on a device of the world in a folder."""
    machines, jobs = _world(folder)
    index = int(device.lstrip("abcdefghijklmnopqrstuvwxyz"))
    kind, draws = jobs[job]
    return float(machines[index][kind] * Work(0.0, kind, 0, draws).luck(index, number))


@cache
def _world(folder: Path) -> tuple[list[list[float]], list[tuple[int, tuple[float, ...]]]]:
    found = json.loads((folder / WORLD).read_text())
    return found["seconds"], [(kind, tuple(draws)) for kind, draws in found["jobs"]]


def _claim(folder: Path, job: int) -> tuple[Path, int]:
    """The next number of an attempt of a job, no matter where it runs."""
    for number in itertools.count():
        file = folder / f"{job}-{number}.ran"
        try:
            file.touch(exist_ok=False)
        except FileExistsError:
            continue
        return file, number
    raise AssertionError


class Analyse(Trace):
    """Short, with much to read."""

    kind = 0


class Midi(Trace):
    """Middling."""

    kind = 1


class Image(Trace):
    """Long, with much to send back."""

    kind = 2


TASKS = {PREFIX + c.__name__.lower(): f"{__name__}:{c.__name__}" for c in (Analyse, Midi, Image)}
