from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from moodmesh.mesh.clock import SystemClock
from moodmesh.nodes.pool.memory import MemoryPool
from moodmesh.nodes.pool.process import ProcessPool
from moodmesh.nodes.pool.ray import RayPool
from moodmesh.nodes.pool.seam import Done, Event, Log, Part, Progress, Started, TaskPool, Work
from moodmesh.nodes.pool.session import Session
from moodmesh.tasks import registry
from moodmesh.tasks.models import ModelStore


@dataclass
class Bench:
    """A pool and how the tests drive it."""

    kind: str
    pool: TaskPool
    home: Path
    count: int = 0

    def work(self, mode: str = "echo", *, task: str = "test.probe", variant: str = "small", **more: Any) -> Work:
        self.count += 1
        known = {key: more.pop(key) for key in ("input", "seed", "parts") if key in more}
        return Work(f"a{self.count}", task, variant, {"mode": mode, **more}, **known)

    async def run(self, mode: str = "echo", **more: Any) -> tuple[Done, Events]:
        events = Events()
        return await self.pool.run(self.work(mode, **more), events), events

    async def begin(self, mode: str, **more: Any) -> tuple[asyncio.Task[Done], Events]:
        """Start an attempt and return when its first line has run."""
        events = Events()
        task = asyncio.create_task(self.pool.run(self.work(mode, **more), events))
        begun = asyncio.create_task(events.begun.wait())
        await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        return task, events

    @staticmethod
    def gone(pid: int) -> bool:
        return not psutil.pid_exists(pid)

    @staticmethod
    async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not await asyncio.to_thread(condition):
            assert time.monotonic() < end, "it did not happen"
            await asyncio.sleep(0.02)


@dataclass
class Events:
    all: list[Event] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, event: Event) -> None:
        self.all.append(event)
        if isinstance(event, Started):
            self.begun.set()

    @property
    def started(self) -> Started:
        (started,) = (event for event in self.all if isinstance(event, Started))
        return started

    @property
    def shares(self) -> list[float]:
        return [event.share for event in self.all if isinstance(event, Progress)]

    @property
    def parts(self) -> list[tuple[int, bytes]]:
        return [(event.index, event.data) for event in self.all if isinstance(event, Part)]

    @property
    def lines(self) -> list[str]:
        return [event.line for event in self.all if isinstance(event, Log)]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> None:
    """The pool of a module keeps its threads from test to test."""


@pytest.fixture(scope="module")
def plugin_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The test plug-in, installed: a dist-info with an entry point, on this process's path and that of its children."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).parent / "plugin" / "pool_tasks.py", site)
    info = site / "pool_tasks-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pool-tasks\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[moodmesh.tasks]\ntest.probe = pool_tasks:Probe\ntest.stream = pool_tasks:Streaming\n"
        "test.broken = pool_tasks:Missing\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        yield site
    sys.modules.pop("pool_tasks", None)


@pytest.fixture(scope="module")
def short_tmp() -> Iterator[Path]:
    """A directory short enough for sockets and Ray, with a space in it."""
    path = Path(tempfile.mkdtemp(prefix="m ", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def make(kind: str, slots: int, home: Path, **options: Any) -> TaskPool:
    if kind == "memory":
        session = Session(registry.load()[0], ModelStore(home / "models").path)

        def perform(work: Work, emit: Callable[[Event], None]) -> Done:
            params = {key: value for key, value in work.params.items() if key != "seconds"}  # they have passed
            return session.run(replace(work, params=params), emit)

        return MemoryPool(slots, SystemClock(), perform, lambda work: float(work.params.get("seconds", 0)))
    if kind == "ray":
        return RayPool(slots, home, home / "models", nice=0, **options)
    return ProcessPool(slots, home / "pool", home / "models", nice=0, **options)


@pytest.fixture(scope="module")
def new_bench(plugin_path: Path, new_home: Callable[[], Path]) -> Callable[..., Bench]:
    """A bench of a kind of pool; its user stops the pool."""

    def new(kind: str, slots: int = 2, home: Path | None = None, **options: Any) -> Bench:
        home = home or new_home()
        return Bench(kind, make(kind, slots, home, **options), home)

    return new


@pytest.fixture(scope="module")
def new_home(short_tmp: Path) -> Callable[[], Path]:
    numbers = iter(range(1000))

    def new() -> Path:
        path = short_tmp / str(next(numbers))
        path.mkdir()
        return path

    return new
