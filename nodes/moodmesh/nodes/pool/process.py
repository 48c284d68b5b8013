"""`TaskPool` on subprocesses: one spawned Python a slot, killed alone, replaced when it dies."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from moodmesh.nodes.pool import frames
from moodmesh.nodes.pool.cold import ColdStart
from moodmesh.nodes.pool.frames import FrameError
from moodmesh.nodes.pool.messages import Failed, Message, Setup, pack, unpack
from moodmesh.nodes.pool.seam import AttemptFailed, Done, Event, Log, Part, Progress, Started, Work
from moodmesh.nodes.pool.slots import Model, Slot, Slots
from moodmesh.nodes.pool.sweep import sweep
from moodmesh.nodes.pool.throttle import throttled
from moodmesh.nodes.pool.waiting import to_the_end

SPAWN_S = 0.5
_LOST = (asyncio.IncompleteReadError, ConnectionError, FrameError)


class Worker:
    """One live subprocess, in a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process, scratch: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._scratch = process, scratch
        self._to, self._from = process.stdin, process.stdout

    @classmethod
    async def spawn(cls, setup: Setup) -> Worker:
        """Start a worker and wait until its plug-ins are loaded; OSError when it does not come up."""
        await asyncio.to_thread(Path(setup.scratch).mkdir, 0o700, exist_ok=True)  # below a pool that was not stopped meanwhile
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "moodmesh.nodes.pool.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=setup.scratch,
            env=os.environ | {"OMP_NUM_THREADS": str(setup.threads)},
            start_new_session=True,
            limit=2**20,
        )
        worker = cls(process, Path(setup.scratch))
        try:
            async with asyncio.timeout(setup.start_s):
                await worker._send(setup)
                await worker._receive()
        except BaseException as error:
            await to_the_end(worker.kill())
            if isinstance(error, (*_LOST, TimeoutError)):
                raise OSError(
                    f"a worker did not start ({worker.fate()}). Try `{sys.executable} -m moodmesh.nodes.pool.worker`."
                ) from error
            raise
        return worker

    @property
    def pid(self) -> int:
        """The process, which is the leader of its group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once its end was noticed."""
        return self._process.returncode is None

    async def run(self, work: Work, emit: Callable[[Event], None]) -> Done:
        """One attempt. After any other error than its own `AttemptFailed` the worker is of no more use."""
        await self._send(work)
        while True:
            match await self._receive():
                case Done() as done:
                    return done
                case Failed() as failed:
                    raise AttemptFailed(failed.reason, failed.message)
                case Started(pid=pid) if pid != self.pid:
                    raise FrameError("a worker that reports the pid of another process")
                case Started() | Progress() | Log() | Part() as event:
                    emit(event)
                case other:
                    raise FrameError(f"an unexpected {type(other).__name__} from a worker")

    async def _send(self, message: Message) -> None:
        await frames.send(self._to, pack(message))

    async def _receive(self) -> Message:
        return unpack(await frames.receive(self._from))

    async def kill(self) -> None:
        """SIGKILL to its group; returns when the process is gone and reaped, and its scratch deleted."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()
        self._to.close()
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)

    def fate(self) -> str:
        """How it ended, for people."""
        code = self._process.returncode
        if code is None:
            return "no sound from it"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class ProcessPool:
    """Subprocesses started by the first run (or at once: `eager`) and ended after `idle_s` without one.

    `scratch`: a private directory of this pool alone; `models`: the model folder
    (`packaged`: the package's models count too); `duty`: share of time that attempts may run.
    """

    engine = "process"

    def __init__(
        self,
        slots: int,
        scratch: Path,
        models: Path,
        *,
        eager: bool = False,
        idle_s: float = 300,
        packaged: bool = True,
        memory_mb: int | None = None,
        nice: int = 10,
        duty: float = 1,
    ) -> None:
        self.slots = slots
        self._slots, self._scratch = Slots(slots), scratch
        self._setup = Setup(str(scratch), str(models), packaged, memory_mb, max(1, (os.cpu_count() or 1) // slots), nice)
        self._eager, self._idle_s, self._duty = eager, idle_s, duty
        self._workers: dict[int, asyncio.Task[Worker]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[str]] = set()
        self._spawned, self._cold = 0, ColdStart(SPAWN_S)
        self._open, self._starting = False, asyncio.Lock()

    async def start(self) -> None:
        """Sweep what a killed daemon left; start the workers if `eager`."""
        async with self._starting:
            if self._open:
                return
            await asyncio.to_thread(sweep, self._scratch)
            await asyncio.to_thread(self._scratch.mkdir, 0o700, exist_ok=True)
            self._open = True
            if self._eager:
                await asyncio.gather(*(self._worker(slot) for slot in self._slots.all))

    def start_s(self) -> float:
        """While no worker is up (seam)."""
        return 0.0 if self._workers else self._cold.seconds

    def loaded(self) -> frozenset[Model]:
        """The (task, variant) pairs whose model is in the memory of an idle worker."""
        return self._slots.loaded()

    async def run(self, work: Work, emit: Callable[[Event], None]) -> Done:
        """Run one attempt in the best free worker (seam)."""
        await self.start()
        emit = self._cold.timed(emit) if self.start_s() else emit
        with self._slots.taken(work) as slot:
            if (timer := self._timers.pop(slot.number, None)) is not None:
                timer.cancel()
            try:
                return await self._attempt(slot, work, emit)
            finally:
                self._rest(slot)

    async def _attempt(self, slot: Slot, work: Work, emit: Callable[[Event], None]) -> Done:
        try:
            async with throttled(self._duty, emit) as watched:
                worker = await self._worker(slot)
                slot.loaded = None
                done = await worker.run(work, watched)
                slot.loaded = work.task, work.variant
                return done
        except AttemptFailed:
            raise
        except BaseException as error:
            fate = await to_the_end(self._replace(slot))
            match error:
                case asyncio.IncompleteReadError() | ConnectionError() | FrameError():
                    raise AttemptFailed("worker_lost", f"the worker was lost: {fate}") from error
                case OSError():
                    raise AttemptFailed("transient", str(error)) from error
            raise

    async def _worker(self, slot: Slot) -> Worker:
        task = self._workers.get(slot.number)
        if task is not None and task.done() and (task.exception() is not None or not task.result().alive):
            await _end(self._detach(slot))
            task = None
        return await asyncio.shield(task or self._spawn(slot))

    def _spawn(self, slot: Slot) -> asyncio.Task[Worker]:
        self._spawned += 1
        setup = replace(self._setup, scratch=str(self._scratch / f"w{self._spawned}"))
        self._workers[slot.number] = task = asyncio.create_task(Worker.spawn(setup))
        return task

    def _detach(self, slot: Slot) -> asyncio.Task[Worker] | None:
        slot.loaded = None
        return self._workers.pop(slot.number, None)

    async def _replace(self, slot: Slot) -> str:
        """Kill the worker of a slot and start another; how the old one ended."""
        fate = await _end(self._detach(slot))
        if self._open:
            self._spawn(slot)
        return fate

    def _rest(self, slot: Slot) -> None:
        if self._open:
            self._timers[slot.number] = asyncio.get_running_loop().call_later(self._idle_s, self._drop, slot)

    def _drop(self, slot: Slot) -> None:
        """Free the memory of a worker that was idle for `idle_s`."""
        del self._timers[slot.number]
        closing = asyncio.create_task(_end(self._detach(slot)))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        if self._eager:
            self._spawn(slot)

    async def stop(self) -> None:
        """Kill every worker, also running ones, and delete the scratch directory."""
        self._open = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await asyncio.gather(*self._closing, *(_end(self._detach(slot)) for slot in self._slots.all))
        await asyncio.to_thread(sweep, self._scratch)


async def _end(starting: asyncio.Task[Worker] | None) -> str:
    """Kill a worker, also one that is still starting; how it ended."""
    if starting is None:
        return "it was stopped"
    if not starting.done():
        starting.cancel()
    (worker,) = await asyncio.gather(starting, return_exceptions=True)
    if isinstance(worker, BaseException):
        return "it did not start"
    await worker.kill()
    return worker.fate()
