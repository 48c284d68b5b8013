"""The composition root: `async with Node.open(...) as node: await node.run()` (design §2)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from moodmesh.mesh.artefacts.messages import CAPS
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.endpoint import open_endpoint
from moodmesh.mesh.errors import MeshError
from moodmesh.mesh.frames import Caps
from moodmesh.mesh.identity import Identity
from moodmesh.mesh.link import PeerLink
from moodmesh.mesh.pairs import Pairs
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes import probe
from moodmesh.nodes.access import Access
from moodmesh.nodes.activity import Activity
from moodmesh.nodes.api.server import serve
from moodmesh.nodes.benchmark import measure, warm
from moodmesh.nodes.blobs import Models, NodeBlobs
from moodmesh.nodes.capabilities import Capabilities, local_hour
from moodmesh.nodes.config import Config, home, load
from moodmesh.nodes.discovery import Discovery
from moodmesh.nodes.errors import NodeError, StoreError, explained
from moodmesh.nodes.jobs.escalation import Escalations
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.executor import Executor
from moodmesh.nodes.jobs.inspection import Inspection
from moodmesh.nodes.jobs.journal import Executions, Jobs
from moodmesh.nodes.jobs.replicas import Replicas
from moodmesh.nodes.jobs.submitter import Submitter
from moodmesh.nodes.kinds import FEATURES, KINDS
from moodmesh.nodes.lock import locked
from moodmesh.nodes.logs import configure
from moodmesh.nodes.moods.journal import MoodJournal
from moodmesh.nodes.moods.sharing import Sharing
from moodmesh.nodes.moods.state import mood
from moodmesh.nodes.pairbook import PairBook
from moodmesh.nodes.pairing import Pairing
from moodmesh.nodes.peers import Peers
from moodmesh.nodes.permissions import Conditions
from moodmesh.nodes.pool.open import open_pool
from moodmesh.nodes.pool.process import ProcessPool
from moodmesh.nodes.pool.rundir import run_dir
from moodmesh.nodes.pool.seam import TaskPool
from moodmesh.nodes.reset import LEDGER_FILE, STORE_FILE
from moodmesh.nodes.rooms.barred import Barred
from moodmesh.nodes.rooms.book import RoomBook
from moodmesh.nodes.rooms.live import Rooms
from moodmesh.nodes.services import Part, Services
from moodmesh.nodes.store import Store, times
from moodmesh.privacy.release.budget import Caps as Budget
from moodmesh.privacy.release.budget import Spent
from moodmesh.privacy.release.ledger import Closed, Ledger
from moodmesh.tasks import registry
from moodmesh.tasks.models import ModelStore

DAY = 86400.0
SEEN_S = 60.0
log = logging.getLogger(__name__)


class Node(Services):
    """One running node."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, config: Config, origins: Mapping[str, str], where: Path) -> AsyncIterator[Node]:
        """Everything in its order: lock, store, identity, pairs, tasks, pool, peers, listener; closed the other way round."""
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(locked(where))
            stack.callback(_remove_if_empty, run_dir(where))
            clock = SystemClock()
            store = Store(where / STORE_FILE, _crash_after(config.debug.crash_after))
            store.open()
            stack.callback(store.close)
            identity = Identity.load_or_create(where / "identity")
            pairs = Pairs()
            book = PairBook(store, pairs, clock.wall)
            await book.load()
            access = Access(store, clock.wall, lambda: _conditions(clock.wall()))
            await access.load()
            tasks, broken = registry.load()
            models = ModelStore(where / "models", packaged=config.jobs.packaged_models)
            pool, instead = _pool(config, where)
            stack.push_async_callback(pool.stop)
            capabilities = Capabilities(config, tasks, models, store, access, pool, clock, where, identity.id)
            await capabilities.load()
            name = config.node.name or socket.gethostname()[:32]
            peers = Peers(identity, name, pairs, access, capabilities, clock)
            capabilities.elsewhere = peers.rates
            capabilities.activity = activity = Activity(config.power.while_active, clock)
            for peer, correction in book.corrections.items():
                peers.peers[peer].correction = correction
            for peer, (document, away_s) in book.away().items():
                peers.remember(peer, document, away_s)
            events, jobs = Hub(), Jobs(store)
            blobs = NodeBlobs(where / "artefacts", peers, jobs, clock)
            pulled = Models(models, tasks, blobs, peers, access)
            peers.models, capabilities.fetch = pulled.hear, pulled.pull
            submitter = Submitter(peers, blobs, jobs, events, clock, config.jobs.wait_for_device_h * 3600)
            escalations = Escalations(submitter, jobs, blobs, events, clock, tasks, identity.id)
            executor = Executor(peers, blobs, Executions(store), pool, capabilities, clock, peers.changed)
            peers.submitter, peers.executor, capabilities.executor = submitter, executor, executor
            inspection = Inspection(peers, access, jobs, escalations, events, Replicas(store, clock), executor, clock)
            peers.inspection, peers.on_change = inspection.hear, inspection.look
            moods = MoodJournal(store, config.privacy.keep_moods_days)
            await moods.load()
            sharing = Sharing(lambda: mood(moods.told, clock.wall()), lambda peer: access.may(peer, "mood.share"), peers.send)
            peers.moods = sharing.hear
            peers.on_down.append(sharing.down)
            access.changed = _each(peers.tell_rights, inspection.permissions_changed, lambda peer: sharing.look([peer]))
            ledger = await _ledger(store, where, config, clock.wall())
            caps = Caps(CAPS | {kind: model.cap for kind, model in KINDS.items()})
            endpoint = await stack.enter_async_context(  # last: a link may come at once, and `run` must be there for it
                open_endpoint(identity, pairs, peers, clock=clock, port=config.mesh.port, caps=caps, features=FEATURES)
            )
            peers.trouble = endpoint.links.trouble
            node = cls(
                config=config, origins=origins, home=where, name=name, clock=clock, identity=identity, store=store, pairs=pairs,
                book=book, access=access, tasks=tasks, broken=broken, models=models, pulled=pulled, pool=pool,
                capabilities=capabilities, activity=activity, jobs=jobs, blobs=blobs, events=events, peers=peers,
                submitter=submitter, escalations=escalations, executor=executor, inspection=inspection, endpoint=endpoint,
                moods=moods, sharing=sharing, ledger=ledger, started=clock.now(),
            )  # fmt: skip
            node.health["pool"] = Part("ok", instead or pool.engine)
            yield node

    async def run(self) -> None:
        """Serve until cancelled; then give back what runs for others."""
        self._report()
        self.peers.on_linked = self._linked
        self.peers.on_confirmed = lambda peer: self._spawn(self.book.confirm(peer))
        self.peers.on_corrected = lambda peer, value: self._spawn(self.book.corrected(peer, value))
        self.peers.on_seen = lambda documents: self._spawn(self.book.seen(documents))
        async with asyncio.TaskGroup() as self._group:
            serving = self._group.create_task(self.peers.run())
            try:
                await asyncio.sleep(0)
                await self.executor.resume()
                await self.submitter.resume()
                await self.escalations.resume()
                self.executor.repeat(self.identity.id)
                self.submitter.reconcile(self.identity.id, self.executor.live(self.identity.id))
                self._group.create_task(self.inspection.run())
                self._group.create_task(self.activity.run())
                self._group.create_task(self.executor.watch())
                discovery = Discovery(self)
                self._group.create_task(discovery.run())
                rooms = self._rooms(discovery)
                self._group.create_task(rooms.run())
                self._group.create_task(self._benchmark())
                self._group.create_task(self._housekeeping())
                self._group.create_task(self._remember_peers())
                async with serve(self, discovery, Pairing(self, discovery), rooms, run_dir(self.home) / "api.sock"):
                    log.info("ready", extra={"port": self.endpoint.port})
                    await asyncio.Event().wait()
            finally:
                await self.escalations.close()
                await self.submitter.close()
                await self.executor.close()
                await _unless_full(self.book.seen(self.peers.seen()))
                serving.cancel()

    def _rooms(self, discovery: Discovery) -> Rooms:
        rooms = Rooms(
            self.identity.id, RoomBook(self.store), Barred(self.store, self.clock), self.ledger,
            lambda: mood(self.moods.told, self.clock.wall()), self.peers, self.endpoint, discovery, self.clock,
            circles=self.config.privacy.circle,
        )  # fmt: skip
        self.peers.rooms = rooms.hear
        self.peers.on_down.append(rooms.down)

        def linked(link: PeerLink) -> None:
            self._linked(link)
            rooms.up(link.peer)
            self.sharing.look([link.peer])

        self.peers.on_linked = linked
        self.endpoint.rids.watch(lambda: self.sharing.look(peer.id for peer in self.peers.linked()))
        return rooms

    def _report(self) -> None:
        """Health of what is known from the start."""
        self.health["store"] = Part("ok", str(self.store.path))
        if self.store.set_aside:
            kept = f"the store was damaged, and kept as {self.store.set_aside}: pairs, rules and the journal of jobs were in it"
            remedy = "pair again (`moodmesh pair`, `moodmesh peers allow`); the device key is whole, and nothing was deleted"
            self.health["store"] = Part("failed", kept, remedy)
            log.error("%s: %s", kept, remedy)
        try:
            self.ledger.lines()
        except Closed as error:
            self.health["privacy ledger"] = Part("failed", str(error), "rooms send nothing until then")
            log.error("rooms send nothing: %s", error)
        for name, why in self.broken.items():
            self.health[f"task {name}"] = Part("unavailable", why, "reinstall or remove that plug-in")
        self.health["gpu"] = Part("ok" if probe.gpus() else "unavailable", ", ".join(probe.gpus()) or "no NVIDIA GPU or driver")

    def _linked(self, link: PeerLink) -> None:
        self.capabilities.seek_again()
        self._spawn(self.book.reached(link.peer, link.address))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._group.create_task(_unless_full(work))

    async def _benchmark(self) -> None:
        """Learn how fast this device is; an eager pool is warm after it."""
        if self.config.jobs.benchmark:
            packaged, duty = self.config.jobs.packaged_models, self.config.pool.duty
            pool = ProcessPool(1, run_dir(self.home) / "benchmark", self.home / "models", packaged=packaged, duty=duty)
            await measure(self.capabilities, pool)
        if self.config.pool.eager:
            try:
                with self.executor.borrowed_slot():
                    await warm(self.capabilities, self.pool)
            except OSError as error:
                self.health["pool"] = Part("failed", str(error), "see the daemon's log; `moodmesh up` tries again")
        self.ready = True
        self.peers.retell()
        self.submitter.look_again()

    async def _remember_peers(self) -> None:
        """Who is here is on disk once a minute: after a crash, none of them counts as long absent."""
        while True:
            await asyncio.sleep(SEEN_S)
            if here := self.peers.seen():
                await _unless_full(self.book.seen(here))

    async def _check_clock(self) -> None:
        wall = self.clock.wall()
        behind = await self.store.read(lambda db: times.set_back(db, wall))
        if behind and "clock" not in self.health:
            log.warning("the clock was set back: %s; %s", behind, times.REMEDY)
        self.health.pop("clock", None)
        if behind:
            self.health["clock"] = Part("failed", behind, times.REMEDY)

    async def _housekeeping(self) -> None:
        aged = self.clock.now()
        while True:
            try:
                await self._check_clock()
                passed, aged = self.clock.now() - aged, self.clock.now()
                for blob in await self.jobs.age(passed, self.config.jobs.keep_days * DAY):
                    await self.blobs.drop(blob)
                await self.book.expire()
                await self.executor.results.expire(passed)
                await self.inspection.replicas.expire()
            except StoreError as error:
                log.warning("%s", error)
            await asyncio.sleep(600)


def run(flags: Mapping[str, Any]) -> int:
    """`moodmesh up`: run the node of this home until SIGINT or SIGTERM; a second signal ends at once. Returns the exit code."""
    where = home()
    config, origins = load(where, flags)
    configure(config.log.level)
    try:
        asyncio.run(_main(config, origins, where))
    except (NodeError, MeshError, OSError, BaseExceptionGroup) as error:
        cause = _first(error)
        if isinstance(cause, NodeError):
            raise cause from None
        if isinstance(cause, OSError):
            raise explained(cause, where) from None
        if isinstance(cause, MeshError):
            raise NodeError(str(cause)) from None
        raise
    return 0


async def _main(config: Config, origins: Mapping[str, str], where: Path) -> None:
    async with Node.open(config, origins, where) as node:
        serving = asyncio.create_task(node.run())
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, _stop, serving)
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def _stop(serving: asyncio.Task[None]) -> None:
    """The first signal asks, the second does not wait."""
    if serving.cancelling():
        os._exit(130)
    serving.cancel()


def _pool(config: Config, where: Path) -> tuple[TaskPool, str]:
    p = config.pool
    return open_pool(
        p.kind, run_dir(where), where / "models", slots=p.slots, eager=p.eager, idle_s=p.idle_s, memory_mb=p.memory_mb,
        packaged=config.jobs.packaged_models, duty=p.duty, address=p.address, token_file=p.token_file,
        allow_public=p.allow_public,
    )  # fmt: skip


async def _ledger(store: Store, where: Path, config: Config, wall: float) -> Ledger:
    """The book of releases; one that is gone although there was one stays closed."""
    p = config.privacy
    caps = Budget(Spent(p.hour_room, p.hour_alone), Spent(p.day_room, p.day_alone))
    begun = await store.read(lambda db: db.execute("SELECT 1 FROM ledger_begun").fetchone() is not None)
    ledger = Ledger(where / LEDGER_FILE, caps, begun=begun)
    if not begun:
        await store.write("ledger.begun", lambda db: db.execute("INSERT INTO ledger_begun VALUES (?)", (wall,)))
    return ledger


def _each(*calls: Callable[[DeviceId], None]) -> Callable[[DeviceId], None]:
    def call(peer: DeviceId) -> None:
        for one in calls:
            one(peer)

    return call


def _remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


def _conditions(wall: float) -> Conditions:
    battery = probe.battery()
    return Conditions(wall, local_hour(wall), battery.percent, battery.mains or not battery.present)


def _crash_after(step: str) -> Any:
    """For tests: end this process the moment a journal step is on disk."""

    def crash(done: str) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return crash if step else None


async def _unless_full(work: Coroutine[Any, Any, None]) -> None:
    """A full disk is no reason to stop."""
    try:
        await work
    except StoreError as error:
        log.error("%s", error)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
