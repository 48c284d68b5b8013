"""Tasks that last as long as they are asked to, and write down when they ran where nobody but they can write."""

from __future__ import annotations

import os
import resource
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from moodmesh.tasks.task import Context, Output, Request, TaskSpec, Variant

WORK, EFFECT = "bench.work", "bench.effect"
TASKS = {WORK: f"{__name__}:WorkTask", EFFECT: f"{__name__}:EffectTask"}
DEVICE, PACE = "BENCH_DEVICE", "BENCH_PACE"
TICK_S = 0.025


class Asked(BaseModel):
    """Seconds of work, a name for the job, and the directory of its ledger (none: nothing is written down)."""

    seconds: float
    tag: str = ""
    ledger: str = ""


class Answered(BaseModel):
    """The name it was asked under."""

    tag: str


class WorkTask:
    """`bench.work`: its own runner. On a device with a pace, everything takes so many times longer."""

    spec = TaskSpec(WORK, 1, "sleeps, and writes down when", Asked, Answered, (Variant("only", 0, 40),), "second")

    def units(self, request: Request) -> float:
        """Seconds."""
        return max(0.001, float(request.params["seconds"]))

    def result_bytes(self, request: Request) -> int:
        """A name."""
        return 40

    def benchmark_request(self) -> Request:
        """A blink."""
        return Request({"seconds": 0.02})

    def open(self, variant: str, context: Context) -> WorkTask:
        """Nothing to load."""
        return self

    def run(self, request: Request, context: Context) -> Output:
        """Tick until the time is over."""
        asked = Asked.model_validate(request.params)
        whole = asked.seconds * float(os.environ.get(PACE, "1"))
        with _ledger(asked) as write:
            begun = now = time.monotonic()
            while now - begun < whole:
                write(f"{now}\n")
                context.progress((now - begun) / whole)
                time.sleep(min(TICK_S, max(0.0, whole - (now - begun))))
                now = time.monotonic()
            write(f"{now}\nend\n")
        return Output({"tag": asked.tag})


class EffectTask(WorkTask):
    """`bench.effect`: the same, but to be run at most once."""

    spec = replace(WorkTask.spec, name=EFFECT, summary="sleeps, at most once", effects=True)


@contextmanager
def _ledger(asked: Asked) -> Iterator[Callable[[str], object]]:
    if not asked.ledger:
        yield lambda line: None
        return
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]  # a disk that is full for the daemon is not full for its witness
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    file = Path(asked.ledger) / f"{asked.tag}.{os.environ[DEVICE]}.{os.getpid()}.{uuid.uuid4().hex}"
    with file.open("w", buffering=1) as ledger:
        yield ledger.write


@dataclass(frozen=True)
class Ran:
    """One attempt as its worker saw it: monotonic seconds of every tick, the first and the last among them."""

    tag: str
    device: str
    pid: int
    ticks: tuple[float, ...]
    ended: bool

    @property
    def first(self) -> float:
        """Its first line."""
        return self.ticks[0]

    @property
    def last(self) -> float:
        """The last moment at which it is known to have run."""
        return self.ticks[-1]


def read(ledger: Path) -> list[Ran]:
    """Everything that ran, in the order of its first line."""
    found = []
    for file in ledger.iterdir():
        tag, device, pid, _ = file.name.split(".")
        lines = file.read_text().splitlines(keepends=True)
        ticks = tuple(float(line) for line in lines if line.endswith("\n") and line != "end\n")
        if ticks:
            found.append(Ran(tag, device, int(pid), ticks, "end\n" in lines))
    return sorted(found, key=lambda ran: ran.first)
