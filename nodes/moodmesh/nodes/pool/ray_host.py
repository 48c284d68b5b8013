"""The child process that owns Ray, and the only module that imports it. Frames on the socket it has for stdin.

Ray runs here and not in the daemon because it costs 40 MiB, stalls an event loop for half a second, and can only be swept
up whole when it has a session of its own (platform document). Warm attempts are actors, one a slot, killed with `ray.kill`.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import importlib.metadata
import os
import queue
import select
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from moodmesh.nodes.pool.confine import confine, own_group
from moodmesh.nodes.pool.frames import decode, read_frame, receive
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
from moodmesh.nodes.pool.seam import Reason, Work
from moodmesh.nodes.pool.session import Models, Session
from moodmesh.nodes.pool.sweep import sweep
from moodmesh.nodes.pool.worker import NO_ROOM, answer
from moodmesh.tasks import registry
from moodmesh.tasks.errors import ModelError
from moodmesh.tasks.models import Card, ModelStore

OBJECT_STORE_BYTES = 256 * 2**20
KILL_PATIENCE_S = 0.5
WATCH_S = 0.2
_GROUP = "moodmesh.tasks"


class RayWorker:
    """The actor in a slot: a `Session` like a subprocess has, and confined like one, beside what Ray takes of its process."""

    def __init__(self, setup: Setup, models: Models | None = None) -> None:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)  # Ray's handler wants memory: without any it aborts again, for ever
        own_group()
        self._scratch = Path(setup.scratch)
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.parent.mkdir(mode=0o700, exist_ok=True)  # on a device of a cluster it is not there yet
        self._scratch.mkdir(mode=0o700)
        own = ModelStore(Path(setup.models), packaged=setup.packaged)
        self._session = Session(registry.load()[0], models or own.path)
        self._in: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        # Tasks run beside the actor's own thread, which passes their events on; one thread, since to start one costs 1-2 ms.
        threading.Thread(target=self._perform, daemon=True).start()
        confine(setup.memory_mb, setup.nice)

    def pid(self) -> int:
        """The process of this actor, leader of its group."""
        return os.getpid()

    def run(self, frame: bytes) -> Iterator[bytes]:
        """Answer one packed `Work` with packed events and, last, a `Done` or `Failed`, each as soon as it is there."""
        work = unpack(decode(frame))
        assert isinstance(work, Work)
        self._in.put(work)
        while (item := self._out.get()) is not None:
            yield item

    def _perform(self) -> None:
        while True:
            work = self._in.get()
            reply = NO_ROOM
            with contextlib.suppress(MemoryError):
                reply = b"".join(answer(self._session, work, self._scratch, lambda event: self._out.put(b"".join(pack(event)))))
            self._out.put(reply)
            self._out.put(None)


class Shelf:
    """An actor on the submitting node that hands out its model files, so that a cluster needs no shared disk."""

    def __init__(self, models: str, packaged: bool) -> None:
        self._models = ModelStore(Path(models), packaged=packaged)

    def read(self, card: Card) -> bytes:
        """The bytes of a model; ModelMissing or ModelDamaged when it cannot be had here either."""
        return self._models.path(card).read_bytes()


class ShelfModels:
    """`Models` of a cluster's worker: by hash from its own folder, else from the shelf through the object store."""

    def __init__(self, shelf: Any, folder: str, packaged: bool) -> None:
        self._shelf, self._store = shelf, ModelStore(Path(folder), packaged=packaged)

    def __call__(self, card: Card) -> Path:
        """The verified local file of a model; ModelMissing or ModelDamaged when it cannot be had."""
        try:
            return self._store.path(card)
        except ModelError:
            return self._store.add(card, ray.get(self._shelf.read.remote(card)))


class Place:
    """One slot: its actor and, once it is up, that actor's pid. An actor that is not up in `start_s` is killed."""

    def __init__(self, actor: Any, start_s: float) -> None:
        self.actor = actor
        self.pid: asyncio.Future[int] = asyncio.ensure_future(self._come_up(start_s))
        self.pid.add_done_callback(lambda future: future.cancelled() or future.exception())  # read, so never warned about

        self.killed = False

    async def _come_up(self, start_s: float) -> int:
        try:
            async with asyncio.timeout(start_s):
                pid: int = await self.actor.pid.remote()
                return pid
        except TimeoutError:
            ray.kill(self.actor, no_restart=True)
            raise OSError(f"it was killed, since it was not up in {start_s:g} s") from None

    @property
    def up(self) -> bool:
        """Whether its process has come up."""
        return self.pid.done() and not self.failed

    @property
    def failed(self) -> bool:
        """Whether its process did not come up."""
        return self.pid.done() and (self.pid.cancelled() or self.pid.exception() is not None)


class Host:
    """Passes messages between the daemon and the actors."""

    def __init__(self, setup: RaySetup, writer: asyncio.StreamWriter) -> None:
        self._setup, self._writer = setup, writer
        self._places: dict[int, Place] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._options: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "num_cpus": 1}
        self._models: Callable[[], Models | None] = lambda: None
        self.slots = setup.slots
        self._measure()
        if setup.address:
            self._join()
        else:
            for slot in range(self.slots):
                self._place(slot)

    def _measure(self) -> None:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if self._setup.address:
            self.slots = max(1, int(resources.get("CPU", 1)))
        if share := resources.get("GPU", 0) / self.slots:
            self._options["num_gpus"] = int(share) if share >= 1 else int(share * 1e4) / 1e4

    def _join(self) -> None:
        check_cluster()
        worker = self._setup.worker
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        shelf = ray.remote(Shelf).options(num_cpus=0, scheduling_strategy=here).remote(worker.models, worker.packaged)
        folder = str(cluster_scratch(self._setup.namespace) / "models")
        self._models = lambda: ShelfModels(shelf, folder, worker.packaged)

    def _place(self, slot: int) -> Place:
        base = cluster_scratch(self._setup.namespace) if self._setup.address else Path(self._setup.temp_dir)
        setup = replace(self._setup.worker, scratch=str(base / f"w{slot}"))
        place = Place(ray.remote(RayWorker).options(**self._options).remote(setup, self._models()), setup.start_s)
        self._places[slot] = place
        return place

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Until the daemon hangs up."""
        await self._send(RayReady(self.slots))
        while True:
            match unpack(await receive(reader)):
                case SlotFrame(slot, frame):
                    self._go(self._attempt(slot, frame))
                case SlotKill(slot):
                    self._go(self._kill(slot))

    def leave(self) -> None:
        """Leave a cluster as it was found: no actor of ours, no file of theirs."""
        for place in self._places.values():
            ray.kill(place.actor, no_restart=True)
        scratch = str(cluster_scratch(self._setup.namespace))
        _everywhere(lambda: shutil.rmtree(scratch, ignore_errors=True))
        ray.shutdown()

    def revive(self) -> None:
        """Replace actors whose process died while idle: Ray tells only who calls them."""
        for slot, place in self._places.items():
            if place.up and not _running(place.pid.result()):
                self._place(slot)

    def _go(self, steps: Any) -> None:
        task = asyncio.create_task(steps)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _attempt(self, slot: int, frame: bytes) -> None:
        place = self._places[slot] if slot in self._places and not self._places[slot].failed else self._place(slot)
        try:
            await place.pid
        except (ray.exceptions.RayError, OSError) as error:
            if not place.killed:
                await self._fail(slot, "transient", f"a worker did not start: {_told(error)[-1]}")
            return
        try:
            async for reference in place.actor.run.options(num_returns="streaming").remote(frame):
                await self._send(SlotFrame(slot, await reference))
        except (ray.exceptions.RayError, OSError) as error:
            if not place.killed:
                self._place(slot)
                await self._lost(slot, error)

    async def _lost(self, slot: int, error: Exception) -> None:
        memory = isinstance(error, (ray.exceptions.OutOfMemoryError, MemoryError))
        await self._fail(slot, "out_of_memory" if memory else "worker_lost", f"the worker was lost: {_told(error)[0]}")

    async def _fail(self, slot: int, reason: Reason, message: str) -> None:
        await self._send(SlotFrame(slot, b"".join(pack(Failed(reason, message)))))

    async def _kill(self, slot: int) -> None:
        """Kill an actor and, if that was not enough, its process group; start another in its place."""
        place = self._places.pop(slot, None)
        if place is not None:
            place.killed = True
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(place.actor, no_restart=True)
            if not self._setup.address:
                await _end_group(place)
        self._place(slot)
        await self._send(SlotKilled(slot))

    async def _send(self, message: Message) -> None:
        self._writer.writelines(pack(message))
        await self._writer.drain()


def _told(error: Exception) -> list[str]:
    """The lines of what an error says; the last one of what went wrong in an actor names the cause."""
    return [line.strip()[:300] for line in str(error).strip().splitlines()] or [type(error).__name__]


async def _end_group(place: Place) -> None:
    """Wait for an actor's process to be gone, and help after half a second; its children go with it."""
    if not place.up:  # it never ran an attempt; Ray ends it
        return
    pid = place.pid.result()
    await _until(lambda: not psutil.pid_exists(pid), KILL_PATIENCE_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    await _until(lambda: not psutil.pid_exists(pid), KILL_PATIENCE_S)


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 -- no event tells of another's child
        await asyncio.sleep(0.005)


def cluster_scratch(namespace: str) -> Path:
    """Where workers of this pool keep files on a cluster's node."""
    return Path(tempfile.gettempdir()) / f"moodmesh-{getpass.getuser()}-{namespace}"


def check_cluster() -> None:
    """OSError that names the node and what it lacks, unless every node has this moodmesh and all of its plug-ins."""
    wanted = _inventory()
    for node, found in _everywhere(_inventory_there()):
        missing = sorted(set(wanted) - set(found))
        if missing:
            raise OSError(f"Ray node {node} lacks {', '.join(missing)}. Install the same moodmesh and plug-ins there.")


def _inventory() -> list[str]:
    return _inventory_there()()


def _inventory_there() -> Callable[[], list[str]]:
    group, package = _GROUP, "moodmesh"

    def inventory() -> list[str]:  # nested, so that it travels by value: the other node may not have this module
        found = [f"the task {point.name}" for point in importlib.metadata.entry_points(group=group)]
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
        return found

    return inventory


def _everywhere(function: Callable[[], Any]) -> list[tuple[str, Any]]:
    remote = ray.remote(function)
    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in known if node["Alive"]}
    calls = {
        node: remote.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote()
        for node in nodes
    }
    return [(nodes[node], ray.get(call, timeout=30)) for node, call in calls.items()]


def start_ray(setup: RaySetup) -> None:
    """Start the own loopback Ray, or join the cluster at `address`; OSError when it cannot be."""
    options: dict[str, Any] = {"namespace": setup.namespace, "log_to_driver": False, "logging_level": "error"}
    if not setup.address:
        options |= {"num_cpus": setup.slots, "object_store_memory": OBJECT_STORE_BYTES, "_temp_dir": setup.temp_dir}
        options |= {"include_dashboard": False}
    try:
        ray.init(address=setup.address or "local", **options)
    except Exception as error:
        where = f"the Ray cluster at {setup.address}" if setup.address else "Ray"
        hint = "Run `ray start --address` on this machine first, and check pool.token_file. " if setup.address else ""
        raise OSError(f"{where} did not start: {hint}{str(error).strip()[:500]}") from error


async def _watch(setup: RaySetup, host: Host) -> None:
    """End this process when Ray is gone: `ray.get` would wait for ever and `is_initialized` stay true."""
    if setup.address:
        while True:
            async with asyncio.timeout(10):
                await asyncio.to_thread(ray.nodes)
            await asyncio.sleep(2)
    vital = [child.pid for child in psutil.Process().children() if child.name() in ("raylet", "gcs_server")]
    while all(map(_running, vital)):
        await asyncio.sleep(WATCH_S)
        host.revive()


def _running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _hang_up(line: socket.socket, setup: RaySetup) -> None:
    """When the daemon is gone, so is Ray, whatever the main thread is doing."""
    poll = select.poll()
    poll.register(line, 0)  # only the hang-up
    poll.poll()
    if setup.address:
        time.sleep(5)  # `_serve` leaves the cluster meanwhile
    else:
        sweep(Path(setup.temp_dir), psutil.Process().children(recursive=True))
    os._exit(0)


async def _serve(line: socket.socket, setup: RaySetup) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=line, limit=2**20)
    host = Host(setup, writer)
    serving, watching = asyncio.create_task(host.serve(reader)), asyncio.create_task(_watch(setup, host))
    await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done() and not setup.address:
        await asyncio.Event().wait()  # `_hang_up` has the rest
    if serving.done():
        host.leave()
    os._exit(0)


def main() -> None:
    """Read a `RaySetup` from the socket on fd 0, start Ray, serve until the daemon hangs up or Ray is lost."""
    line = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    with line.makefile("rb") as stream:  # nothing follows before we answer
        setup = unpack(read_frame(stream))
    assert isinstance(setup, RaySetup)
    threading.Thread(target=_hang_up, args=(line, setup), daemon=True).start()
    try:
        start_ray(setup)
        asyncio.run(_serve(line, setup))
    except OSError as error:
        line.setblocking(True)
        line.sendall(b"".join(pack(Failed("transient", str(error)))))
        os._exit(1)
