"""`TaskPool` on Ray: the daemon's end of a child process that owns Ray, started by the first run and swept up whole."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from moodmesh.nodes.pool import frames
from moodmesh.nodes.pool.cold import ColdStart
from moodmesh.nodes.pool.frames import FrameError, decode
from moodmesh.nodes.pool.messages import (
    Failed,
    Message,
    RayReady,
    RaySetup,
    Setup,
    SlotFrame,
    SlotKill,
    SlotKilled,
    pack,
    unpack,
)
from moodmesh.nodes.pool.seam import AttemptFailed, Done, Event, Log, Part, Progress, Started, Work
from moodmesh.nodes.pool.slots import Model, Slot, Slots
from moodmesh.nodes.pool.sweep import sweep
from moodmesh.nodes.pool.throttle import throttled
from moodmesh.nodes.pool.waiting import to_the_end

START_TIMEOUT_S = 90
KILL_TIMEOUT_S = 1.5
LEAVE_TIMEOUT_S = 5
LAUNCH_S = 6.0
_SCRUBBED = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_NAMESPACE", "RAY_RUNTIME_ENV_HOOK")
# Ray listens on every interface unless it believes in a platform without clusters (platform document).
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def installed() -> bool:
    """Whether Ray can be imported; does not import it."""
    return importlib.util.find_spec("ray") is not None


class HostLost(ConnectionError):
    """The child process or its Ray is gone."""


class Host:
    """The live child process: one connection, one inbox a slot."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.process, self._reader, self._writer = process, reader, writer
        self.slots, self._local = 0, True
        self._inboxes: dict[int, asyncio.Queue[Message | None]] = {}
        self._killed: dict[int, asyncio.Event] = {}
        self.listening: asyncio.Task[None] | None = None

    @classmethod
    async def spawn(cls, setup: RaySetup, environment: dict[str, str]) -> Host:
        """Start the child and its Ray; OSError with the reason when that fails."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-c", "from moodmesh.nodes.pool.ray_host import main; main()"),
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=setup.temp_dir,
                env=environment,
                start_new_session=True,
            )
        host = cls(process, *await asyncio.open_unix_connection(sock=ours, limit=2**20))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await host.begin(setup)
        except BaseException as error:
            await to_the_end(host.kill())
            if isinstance(error, (EOFError, TimeoutError, FrameError)):
                raise OSError('Ray did not start. Set pool.kind = "process" to go on without it.') from error
            raise
        return host

    async def begin(self, setup: RaySetup) -> None:
        """Wait for Ray to be up, then pass messages on in the background."""
        self._local = not setup.address
        await frames.send(self._writer, pack(setup))
        match unpack(await frames.receive(self._reader)):
            case RayReady(slots):
                self.slots = slots
            case Failed(_, message):
                raise OSError(message)
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        with suppress(EOFError, ConnectionError, FrameError, KeyError):
            while True:
                match unpack(await frames.receive(self._reader)):
                    case SlotFrame(slot, frame):
                        self._inboxes[slot].put_nowait(unpack(decode(frame)))
                    case SlotKilled(slot):
                        self._killed[slot].set()
        for inbox in self._inboxes.values():
            inbox.put_nowait(None)
        for event in self._killed.values():
            event.set()

    async def run(self, slot: int, work: Work, emit: Callable[[Event], None]) -> Done:
        """One attempt in a slot; `HostLost` when the child dies meanwhile."""
        inbox = self._inboxes[slot] = asyncio.Queue()
        self._check()
        await frames.send(self._writer, pack(SlotFrame(slot, b"".join(pack(work)))))
        while True:
            match await inbox.get():
                case Done() as done:
                    return done
                case Failed() as failed:
                    raise AttemptFailed(failed.reason, failed.message)
                case Started(pid=pid) if self._local and not self._owns(pid):
                    raise FrameError("a worker that reports the pid of another process")
                case Started() | Progress() | Log() | Part() as event:
                    emit(event)
                case None:
                    raise HostLost
                case other:
                    raise FrameError(f"an unexpected {type(other).__name__} from a worker")

    async def kill_slot(self, slot: int) -> None:
        """Kill the worker of a slot; `HostLost` when the child does not say within 1.5 s that it is gone."""
        self._check()
        gone = self._killed[slot] = asyncio.Event()
        try:
            async with asyncio.timeout(KILL_TIMEOUT_S):
                await frames.send(self._writer, pack(SlotKill(slot)))
                await gone.wait()
        except (TimeoutError, ConnectionError):
            raise HostLost from None

    def _owns(self, pid: int) -> bool:
        """Whether a process belongs to the child's session, as all of its Ray does."""
        try:
            return os.getsid(pid) == self.process.pid
        except ProcessLookupError:
            return False

    @property
    def lost(self) -> bool:
        """Whether its end was noticed."""
        return self.listening is None or self.listening.done()

    def _check(self) -> None:
        if self.lost:
            raise HostLost

    async def kill(self, patience_s: float = 0) -> None:
        """End the child with all that its Ray has started; it may leave a cluster in order for `patience_s`."""
        self._writer.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.process.wait()
        await asyncio.to_thread(_kill_tree, self.process.pid)
        await self.process.wait()
        if self.listening is not None:
            self.listening.cancel()
            await asyncio.wait({self.listening})


def _kill_tree(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()


class RayPool:
    """Ray in a child process, started by the first run (or at once: `eager`) and ended after `idle_s` without one.

    `short_dir`: the private directory of `rundir`; `models`: the model folder (`packaged`: the package's
    models count too). With `address` the pool is an existing cluster (`token_file`: its token), whose slots are known
    after `start`.
    """

    def __init__(
        self,
        slots: int,
        short_dir: Path,
        models: Path,
        *,
        eager: bool = False,
        idle_s: float = 300,
        packaged: bool = True,
        memory_mb: int | None = None,
        nice: int = 10,
        duty: float = 1,
        address: str = "",
        token_file: Path | None = None,
    ) -> None:
        self.engine = "ray-cluster" if address else "ray"
        self.slots = slots
        self._slots, self._temp, self._own_token = Slots(slots), short_dir / "ray", short_dir / "ray.token"
        threads = max(1, (os.cpu_count() or 1) // slots)
        worker = Setup(str(self._temp), str(models), packaged, memory_mb, threads, nice)
        self._setup = RaySetup(str(self._temp), f"mm-{secrets.token_hex(4)}", slots, worker, address)
        self._token_file = token_file
        self._eager, self._idle_s, self._duty = eager or bool(address), idle_s, duty
        self._host: asyncio.Task[Host] | None = None
        self._cold = ColdStart(LAUNCH_S)
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._open, self._starting = False, asyncio.Lock()

    async def start(self) -> None:
        """Sweep what a killed daemon left; start Ray if `eager`, join the cluster if there is one."""
        async with self._starting:
            await self._start()

    async def _start(self) -> None:
        if self._open:
            return
        if not installed():
            raise OSError("Ray is not installed. `pip install 'moodmesh[ray]'`, or set pool.kind = \"process\".")
        await asyncio.to_thread(sweep, self._temp)
        self._open = True
        if self._eager:
            await self._ready()

    def start_s(self) -> float:
        """While Ray is down or on its way up (seam)."""
        up = self._host is not None and self._host.done() and self._host.exception() is None
        return 0.0 if up else self._cold.seconds

    def loaded(self) -> frozenset[Model]:
        """The (task, variant) pairs whose model is in the memory of an idle worker."""
        return self._slots.loaded()

    async def run(self, work: Work, emit: Callable[[Event], None]) -> Done:
        """Run one attempt in the best free slot (seam)."""
        await self.start()
        emit = self._cold.timed(emit) if self.start_s() else emit
        with self._slots.taken(work) as slot:
            self._wake()
            try:
                return await self._attempt(slot, work, emit)
            finally:
                slot.busy = False
                self._rest()

    async def _attempt(self, slot: Slot, work: Work, emit: Callable[[Event], None]) -> Done:
        duty = 1 if self._setup.address else self._duty
        try:
            async with throttled(duty, emit) as watched:
                host = await self._ready()
                slot.loaded = None
                done = await host.run(slot.number, work, watched)
                slot.loaded = work.task, work.variant
                return done
        except AttemptFailed:
            raise
        except BaseException as error:
            await to_the_end(self._clear(slot, error))
            match error:
                case ConnectionError():
                    raise AttemptFailed("worker_lost", "Ray was lost; it starts again with the next attempt") from error
                case FrameError():
                    raise AttemptFailed("worker_lost", f"the worker was killed: {error}") from error
                case OSError():
                    raise AttemptFailed("transient", str(error)) from error
            raise

    async def _clear(self, slot: Slot, error: BaseException) -> None:
        """After a bad end: kill the slot's worker, or all of Ray when it does not answer."""
        slot.loaded = None
        if self._host is None or not self._host.done() or self._host.exception() is not None:
            return
        try:
            if isinstance(error, ConnectionError):
                raise HostLost
            await self._host.result().kill_slot(slot.number)
        except HostLost:
            await self._end()

    async def _ready(self) -> Host:
        lost = self._host is not None and self._host.done() and (self._host.exception() is not None or self._host.result().lost)
        if lost:
            await self._end()
        if self._ending:
            await asyncio.wait(self._ending)
        if self._host is None:
            self._host = asyncio.create_task(self._launch())
        return await asyncio.shield(self._host)

    async def _launch(self) -> Host:
        await asyncio.to_thread(sweep, self._temp)
        await asyncio.to_thread(self._temp.mkdir, 0o700, True, True)
        host = await Host.spawn(self._setup, await self._environment())
        if host.slots != self.slots:
            self.slots, self._slots = host.slots, Slots(host.slots)
        return host

    async def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in _SCRUBBED}
        worker, token = self._setup.worker, self._token_file
        if not self._setup.address:
            token = await asyncio.to_thread(_write_token, self._own_token)
        # A cluster without a token file is joined with whatever Ray finds in the environment.
        secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)} if token else {}
        own = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": str(worker.nice),
            "OMP_NUM_THREADS": str(worker.threads),
        }
        return kept | secret | own | ({} if self._setup.address else LOOPBACK_ONLY)

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rest(self) -> None:
        if self._open and not self._eager and not any(slot.busy for slot in self._slots.all):
            self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._drop)

    def _drop(self) -> None:
        self._timer = None
        ending = asyncio.create_task(self._end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _end(self) -> None:
        """End Ray whole and delete its directory; safe to call twice."""
        starting, self._host = self._host, None
        for slot in self._slots.all:
            slot.loaded = None
        if starting is not None:
            if not starting.done():
                starting.cancel()
            (host,) = await asyncio.gather(starting, return_exceptions=True)
            if isinstance(host, Host):
                await host.kill(LEAVE_TIMEOUT_S if self._setup.address else 0)
        await asyncio.to_thread(sweep, self._temp)

    async def stop(self) -> None:
        """End Ray, also under running attempts, and delete its files."""
        self._open = False
        self._wake()
        await asyncio.gather(*self._ending, self._end())
        await asyncio.to_thread(self._own_token.unlink, True)


def _write_token(path: Path) -> Path:
    """A new token in a file only this user can read, never `~/.ray`."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path
