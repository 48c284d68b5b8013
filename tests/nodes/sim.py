"""Nodes in one loop: real peers, submitter, executor, access and journal over a faulty network, disks that survive crashes.

Faked at the lowest seam only: the link (delay, drop, duplicate, reorder, partition), the store's thread, the worker.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import random
import sqlite3
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from moodmesh.mesh.identity import Identity
from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.mesh.seams import DeviceId, Envelope, LinkClosed
from moodmesh.nodes.access import Access
from moodmesh.nodes.bench.faults.verdict import WATCH, exhausted
from moodmesh.nodes.bench.scale.rig import InlineBlobs
from moodmesh.nodes.bench.virtual import LoopClock, VirtualLoop, run
from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.jobs import submitter
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.executor import Executor
from moodmesh.nodes.jobs.inspection import Inspection
from moodmesh.nodes.jobs.journal import Executions, Jobs
from moodmesh.nodes.jobs.model import Spec
from moodmesh.nodes.jobs.network import OwnJobs
from moodmesh.nodes.jobs.replicas import Replicas
from moodmesh.nodes.jobs.replication import INSPECT
from moodmesh.nodes.jobs.submitter import Submitter
from moodmesh.nodes.kinds import FEATURES
from moodmesh.nodes.messages import Capability, Dynamic, Message, Reserve, Start, TaskDoc, VariantDoc
from moodmesh.nodes.peers import Peers
from moodmesh.nodes.permissions import Conditions, Limits
from moodmesh.nodes.placement.gates import Gate
from moodmesh.nodes.pool.memory import MemoryPool
from moodmesh.nodes.pool.seam import AttemptFailed, Done, Event, Part, Started, Work
from moodmesh.nodes.store.store import migrate

PURE, EFFECTS, STREAM = "test.pure", "test.effects", "test.stream"
PARTS = 8
SEE = {INSPECT: Limits()}
IDENTITIES = [Identity.of(Ed25519PrivateKey.from_private_bytes((n + 1).to_bytes(32, "big"))) for n in range(20)]
owner: contextvars.ContextVar[Node | None] = contextvars.ContextVar("owner", default=None)


class Died(BaseException):
    """The process is gone: nothing it does from here on has an effect."""


@dataclass
class Disk:
    """A store without a thread, whose file outlives the node. `crash_in` counts the writes until the node is killed."""

    db: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect(":memory:", isolation_level=None))
    crash_in: int | None = None
    full: bool = False
    steps: Counter[str] = field(default_factory=Counter)
    killed: Callable[[], None] = lambda: None
    dead: bool = False

    def __post_init__(self) -> None:
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA foreign_keys=ON")
        migrate(self.db)
        self.db.executescript(WATCH)

    async def write(self, step: str, work: Callable[[sqlite3.Connection], Any]) -> Any:
        if self.dead:
            raise Died
        if self.full and step:
            raise StoreError("the disk is full")
        self.db.execute("BEGIN")
        try:
            value = work(self.db)
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")
        self.steps[step] += 1
        if step and self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in <= 0:
                self.crash_in = None
                self.killed()
                raise Died
        await asyncio.sleep(0.001)
        if self.dead:
            raise Died
        return value

    async def read(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        return await self.write("", work)

    async def scrub(self) -> None:
        await self.write("scrub", lambda db: None)


@dataclass
class Faults:
    """How bad the network is."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.02


class Link:
    """One end of a link."""

    def __init__(self, world: World, us: Node, peer: Node) -> None:
        self.world, self.us, self.them, self.peer = world, us, peer, peer.id
        self.address, self.slow, self.pieces = ("10.0.0.1", 1), False, 0
        self.features = frozenset(FEATURES)
        self.other: Link
        self.inbox: asyncio.Queue[Envelope | None] = asyncio.Queue()
        self.closed, self._last = False, 0.0

    async def send(self, envelope: Envelope) -> None:
        if self.closed:
            raise LinkClosed("closed")
        w, f = self.world, self.world.faults
        if self.us.dead or not w.reachable(self.us, self.them) or w.random.random() < f.drop:
            return
        for _ in range(1 + (w.random.random() < f.duplicate)):
            due = w.now() + w.random.uniform(0.0005, f.delay)
            if w.random.random() < f.reorder:
                due += w.random.uniform(0, 2)
            else:
                due = self._last = max(due, self._last + 1e-9)  # a heap does not keep the order of equals
            w.loop.call_at(due, self.other._arrive, envelope)

    def _arrive(self, envelope: Envelope | None) -> None:
        self.inbox.put_nowait(envelope)

    async def receive(self) -> Envelope:
        envelope = None if self.closed else await self.inbox.get()
        if envelope is None or self.closed:
            raise LinkClosed("gone")
        return envelope

    async def close(self, code: int = 0, reason: str = "closed") -> None:
        self.broken(reason)
        if self.world.reachable(self.us, self.them):
            self.world.loop.call_later(0.005, self.other.broken, reason)

    def broken(self, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self.inbox.put_nowait(None)
            self.world.links.pop((self.us.id, self.them.id), None)
            if not self.us.dead:
                self.us.inside(self.us.peers.link_down, self.them.id, reason)


class Offers:
    """Both tasks, at one rate; admits whom `Access` lets in."""

    def __init__(self, node: Node, mean: float) -> None:
        self._node, self._mean = node, mean

    def admit(self, peer: DeviceId, ask: Reserve) -> Gate | None:
        if gate := self._node.gate(peer, ask):
            return gate
        limit = None if peer == self._node.id else self._node.access.denial(peer, ask.task, self._mean, ask.input_bytes)
        return Gate("quota", limit) if limit else None

    def closed(self, peer: DeviceId, ask: Reserve) -> Gate | None:
        return self._node.gate(peer, ask)

    async def units(self, start: Start, ask: Reserve, data: bytes) -> float:
        return float(start.params["units"])

    def longest_s(self, peer: DeviceId, task: str) -> float | None:
        return self._node.access.longest_s(peer, task)

    def predicted_s(self, task: str, variant: str, units: float) -> float:
        return units * self._mean

    def version(self, task: str) -> int:
        return 1

    def detached_s(self, remaining_s: float) -> float:
        return min(600.0, 2 * remaining_s) if self._node.mains else 0.0

    def effects(self, task: str) -> bool:
        return task == EFFECTS

    def model(self, task: str, variant: str) -> tuple[str, str]:
        return "", ""

    async def prepare(self, task: str, variant: str) -> None:
        pass

    async def charge(self, peer: DeviceId, ask: Reserve, seconds: float, *, running: bool) -> None:
        if peer != self._node.id:
            attempt = f"{ask.job}-{ask.attempt}"
            await self._node.access.charge(peer, ask.task, attempt, seconds, ask.input_bytes, running=running)

    async def observe(self, task: str, variant: str, units: float, seconds: float, load_s: float | None) -> None:
        pass

    def document(self, peer: DeviceId) -> Capability:
        v = VariantDoc(
            quality=1, memory_mb=1, mean=self._mean, log_mean=0.0, log_var=0.25, count=1, guess=False, load_s=0.0
        )  # fmt: skip
        tasks = {name: TaskDoc(version=1, variants={"tiny": v}) for name in (PURE, EFFECTS, STREAM)}
        return Capability(revision=1, engine="memory", slots=1, own=True, cores=1, gpus=[], tasks=tasks)

    def dynamic(self, peer: DeviceId | None = None) -> Dynamic:
        running, queue, free = self._node.executor.load()
        return Dynamic(
            revision=1, valid_s=10.0, free_slots=free, running=running, queue=queue, power="ok", quiet=False,
            memory_free_mb=10_000, disk_free_mb=10_000, loaded=[],
        )  # fmt: skip


class Node:
    """A device: its disk and key outlive its process."""

    def __init__(self, world: World, identity: Identity, mean: float) -> None:
        self.world, self.identity, self.id, self.mean = world, identity, identity.id, mean
        self.disk, self.dead = Disk(killed=self.crash), True
        self.clock = LoopClock(world.loop)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.workers: dict[str, tuple[DeviceId, float]] = {}
        self.fails = self.ready = False
        self.mains = True
        self.gate: Callable[[DeviceId, Reserve], Gate | None] = lambda peer, ask: None
        self.slow = 1.0
        self.predicted: dict[str, float] = {}

    def inside(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call as code of this node, so that its tasks die with it."""
        context = contextvars.copy_context()
        context.run(owner.set, self)
        return context.run(call, *args)

    def _build(self) -> None:
        others = [n for n in self.world.nodes if n is not self]
        pairs = Pairs()
        for other in others:
            pairs.add(Pair(other.id, other.id[:6], other.identity.credential.certificate, b"k" * 32))
        self.access = Access(self.disk, self.clock.wall, lambda: Conditions(self.clock.wall()))  # type: ignore[arg-type]
        self.offers = Offers(self, self.mean)
        self.pool = MemoryPool(1, self.clock, self._perform, self._seconds)
        self.peers = Peers(self.identity, "node", pairs, self.access, self.offers, self.clock)
        self.jobs = Jobs(self.disk)  # type: ignore[arg-type]
        self.events = Hub()
        self.submitter = Submitter(self.peers, InlineBlobs(), self.jobs, self.events, self.clock, 24 * 3600)
        self.executor = Executor(
            self.peers, InlineBlobs(), Executions(self.disk), self, self.offers, self.clock, self.peers.changed  # type: ignore[arg-type]
        )  # fmt: skip
        self.peers.submitter, self.peers.executor = self.submitter, self.executor
        self._inspect(self.submitter)
        self.access.changed = self._permissions_changed

    def _inspect(self, own: OwnJobs) -> None:
        replicas = Replicas(self.disk, self.clock)  # type: ignore[arg-type]
        self.inspection = Inspection(
            self.peers, self.access, self.jobs, own, self.events, replicas, self.executor, self.clock
        )  # fmt: skip
        self.peers.inspection, self.peers.on_change = self.inspection.hear, self.inspection.look

    def _permissions_changed(self, peer: DeviceId) -> None:
        self.peers.tell_rights(peer)
        self.inspection.permissions_changed(peer)

    async def start(self) -> None:
        self.disk.dead, self.dead = False, False
        self._build()
        await self.world.loop.create_task(self._boot(), context=self._context())

    def _context(self) -> contextvars.Context:
        context = contextvars.copy_context()
        context.run(owner.set, self)
        return context

    async def _boot(self) -> None:
        try:
            await self.access.load()
            if not self.access.rules(self.world.nodes[0].id) and not self.access.rules(self.world.nodes[-1].id):
                for other in self.world.nodes:
                    if other is not self:
                        self.disk.db.execute(
                            "INSERT OR IGNORE INTO peer (device, name, certificate, k_pair, half, paired) VALUES (?,?,?,?,0,0)",
                            (other.id, other.id[:6], b"", b""),
                        )
                        await self.access.allow(other.id, {"test.*": Limits(concurrent=99), "own.device": Limits()})
            self.serving = asyncio.create_task(self.peers.run())
            self.inspecting = asyncio.create_task(self.inspection.run())
            await asyncio.sleep(0)
            await self.executor.resume()
            await self.submitter.resume()
            self.executor.repeat(self.id)
            self.submitter.reconcile(self.id, self.executor.live(self.id))
            self.ready = True
        except Died:
            pass
        except StoreError:  # a daemon does not start on a full disk; it says so
            self.crash()

    def crash(self) -> None:
        """SIGKILL: nothing is said, nothing is written any more; sockets break a moment later; workers die."""
        if self.dead:
            return
        self.dead, self.disk.dead, self.ready = True, True, False
        self.world.crashes += 1
        self.workers.clear()
        for task in list(self.tasks):
            if task is not asyncio.current_task(self.world.loop):
                task.cancel()
        self.tasks.clear()
        for (us, them), link in list(self.world.links.items()):
            if us == self.id:
                link.broken("killed")
            elif them == self.id and self.world.reachable(link.us, self):
                self.world.loop.call_later(0.005, link.broken, "connection reset")

    # -- TaskPool: the in-memory twin, watched -------------------------------------------------------------------------

    engine, slots = "memory", 1

    def loaded(self) -> frozenset[tuple[str, str]]:
        return self.pool.loaded()

    async def run(self, work: Work, emit: Callable[[Event], None]) -> Done:
        requester = next(n.id for n in self.world.nodes if n.id.startswith(work.attempt[:8]))
        self.workers[work.attempt] = requester, self.world.now()
        self.predicted[work.attempt] = self.mean * float(work.params["units"])
        self.world.ran.append((work.attempt.split("-")[1], work.task, self.id))
        try:
            return await (self._streamed(work, emit) if work.task == STREAM else self.pool.run(work, emit))
        finally:
            self.workers.pop(work.attempt, None)

    async def _streamed(self, work: Work, emit: Callable[[Event], None]) -> Done:
        """Parts that come evenly over the time of the whole: those that are held take none."""
        job, begun = work.attempt.split("-")[1], self.clock.now()
        emit(Started(1, begun, 0.0))
        for index in range(len(work.parts), PARTS):
            await self.clock.sleep(self._seconds(work) / PARTS)
            emit(Part(index, part_of(job, index)))
        return Done({"ok": work.params["units"]}, seconds=self.clock.now() - begun)

    def _seconds(self, work: Work) -> float:
        return self.mean * float(work.params["units"]) * self.slow

    def _perform(self, work: Work, emit: Callable[[Event], None]) -> Done:
        if self.fails:
            raise AttemptFailed("task_error", "it fails here")
        return Done({"ok": work.params["units"]}, seconds=self.mean)

    # -- what the tests ask --------------------------------------------------------------------------------------------

    async def submit(
        self, task: str = PURE, units: float = 1.0, on: Node | None = None, personal: bool = False, **more: Any
    ) -> str:
        """Hand a job in; `more` is of its `Spec`."""
        spec = Spec(
            task=task, version=1, params={"units": units}, units=units, input_bytes=5, result_bytes=10, personal=personal,
            effects=task == EFFECTS, seed=1, on=on.id if on else None, streams=task == STREAM, **more,
        )  # fmt: skip
        job = await self.world.loop.create_task(self.submitter.submit(spec, b"input"), context=self._context())
        return job.id

    def rows(self, query: str, *args: object) -> list[sqlite3.Row]:
        return self.disk.db.execute(query, args).fetchall()


class World:
    """Nodes, what links them, and what went wrong."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int, count: int = 3, faults: Faults | None = None) -> None:
        self.loop, self.random, self.faults = loop, random.Random(seed), faults or Faults()
        self.islands: list[set[DeviceId]] = []
        self.links: dict[tuple[DeviceId, DeviceId], Link] = {}
        self.ran: list[tuple[str, str, DeviceId]] = []
        self.crashes = 0
        self.overstayed: set[str] = set()
        self.connecting = True
        self.nodes: list[Node] = []
        self.nodes = [Node(self, IDENTITIES[n], mean=(1.0, 0.6, 0.8, 2.0)[n % 4]) for n in range(count)]
        for node in self.nodes[1::2]:
            node.mains = False
        loop.set_task_factory(_task)
        submitter.uuid = SimpleNamespace(uuid4=lambda: uuid.UUID(int=self.random.getrandbits(128)))  # type: ignore[attr-defined]
        self.unhandled: list[str] = []
        """What no code handled, but for the death of a node: callbacks that failed, tasks that nobody waited for."""
        loop.set_exception_handler(self._fault)

    def now(self) -> float:
        return self.loop.time()

    def _fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        left = error.split(Died)[1] if isinstance(error, BaseExceptionGroup) else error
        if left is not None and not isinstance(left, Died):
            self.unhandled.append(f"{context['message']}: {left!r}")

    def reachable(self, one: Node, other: Node) -> bool:
        return not any((one.id in island) != (other.id in island) for island in self.islands)

    async def start(self) -> None:
        for node in self.nodes:
            await node.start()
        self.background = [self.loop.create_task(self._connect()), self.loop.create_task(self._watch())]

    async def _connect(self) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(0.05, 0.3))
            for a, b in itertools.combinations(self.nodes, 2):
                gone = (a.id, b.id) not in self.links and (b.id, a.id) not in self.links
                if gone and a.ready and b.ready and self.reachable(a, b) and self.connecting:
                    self.link(a, b)

    def link(self, a: Node, b: Node) -> None:
        one, other = Link(self, a, b), Link(self, b, a)
        one.other, other.other = other, one
        self.links |= {(a.id, b.id): one, (b.id, a.id): other}
        a.inside(a.peers.link_up, one)
        b.inside(b.peers.link_up, other)

    async def _watch(self) -> None:
        """No worker outlives the lease of its submitter, 5 s after the last word heard from it, by more than 2 s; on mains it
        may run on for twice its predicted time."""
        while True:
            await asyncio.sleep(0.1)
            for node in self.nodes:
                for attempt, (requester, since) in node.workers.items():
                    if requester != node.id and not node.dead:
                        peer = node.peers.peers[requester]
                        detached = min(600.0, 2 * node.predicted.get(attempt, 0.0)) if node.mains else 0.0
                        if self.now() - max(peer.heard, peer.live_since or 0.0, since) > 7.2 + detached:
                            self.overstayed.add(attempt)

    def break_links(self) -> None:
        for link in list(self.links.values()):
            link.broken("reset")

    async def settle(self, seconds: float = 150.0) -> None:
        """Mend everything, and wait until every job has ended."""
        self.faults, self.islands, self.connecting = Faults(), [], True
        self.break_links()
        end = self.now() + seconds
        while True:
            for node in self.nodes:
                node.disk.crash_in, node.disk.full = None, False
                if node.dead:
                    await node.start()
            await asyncio.sleep(1)
            if not self.open_jobs() or self.now() > end:
                break
        await asyncio.sleep(30)
        for node in self.nodes:
            await node.executor.results.expire(0.0)

    def open_jobs(self) -> list[str]:
        query = "SELECT id FROM job WHERE status IN ('PENDING', 'RUNNING')"
        return [row["id"] for node in self.nodes for row in node.rows(query)]

    def verdict(self, accepted: set[str]) -> list[str]:
        """Everything that must never be; empty when all is well."""
        wrong = self.unhandled + [f"never ended: {job}" for job in self.open_jobs()]
        known = {row["id"] for node in self.nodes for row in node.rows("SELECT id FROM job")}
        wrong += [f"forgotten: {job}" for job in accepted - known]
        commits: Counter[str] = Counter()
        for node in self.nodes:
            watched = [row["what"] for row in node.rows("SELECT what FROM watched")]
            commits.update(what for what in watched if what.startswith("commit"))
            wrong += [what for what in watched if not what.startswith("commit")]
            for row in node.rows("SELECT job, count(*) AS n FROM attempt WHERE state='COMMITTED' GROUP BY job HAVING n > 1"):
                wrong.append(f"{row['n']} committed attempts: {row['job']}")
            wrong += wrong_parts(node)
            for row in node.rows("SELECT * FROM job WHERE status='FAILED'"):
                once = row["task"] == EFFECTS and row["substate"] in ("unknown_outcome", "task_error")
                tried = node.rows("SELECT state, message FROM attempt WHERE job=?", row["id"])
                if not once and not exhausted(row["substate"], [dict(a) for a in tried]):
                    wrong.append(f"failed: {row['id']} {row['substate']} {row['message']}")
            if node.workers:
                wrong.append(f"a worker is left: {node.workers}")
            kept = node.executor._held, node.executor.results.waiting, node.submitter.desk.live, node.submitter._open
            if any(kept):
                wrong.append(f"held in memory: {kept}")
            if node.rows("SELECT * FROM execution"):
                wrong.append("an execution is left in a journal")
        wrong += [f"committed {n} times: {what}" for what, n in commits.items() if n > 1]
        runs = Counter(job for job, task, _ in self.ran if task == EFFECTS)
        wrong += [f"effects ran {n} times: {job}" for job, n in runs.items() if n > 1]
        return wrong + [f"outlived its lease: {attempt}" for attempt in self.overstayed]


def simulate(story: Callable[[World], Awaitable[None]], count: int = 2, seeing: Iterable[tuple[int, int]] = ()) -> None:
    """A story of some nodes that own each other, told once they are linked; `seeing`: (owner of jobs, who may see them)."""
    loop = VirtualLoop()

    async def whole() -> None:
        world = World(loop, 1, count)
        await world.start()
        await asyncio.sleep(1)
        for owner, peer in seeing:
            await world.nodes[owner].access.allow(world.nodes[peer].id, SEE)
        await asyncio.sleep(1 if seeing else 0)
        await story(world)
        assert not world.unhandled

    run(whole(), loop)


def part_of(job: str, index: int) -> bytes:
    """What a task that streams makes, on any device."""
    return f"{job} {index}".encode()


def parts(node: Node, job: str) -> list[bytes]:
    """The parts of an answer that its owner has on disk."""
    return [row["data"] for row in node.rows("SELECT data FROM part WHERE job=? ORDER BY number", job)]


def wrong_parts(node: Node) -> list[str]:
    """Answers that lack a part, or have one that is not theirs."""
    wrong = []
    for row in node.rows("SELECT id, status FROM job WHERE task=?", STREAM):
        found = parts(node, row["id"])
        whole = [part_of(row["id"], index) for index in range(PARTS)]
        if found != whole[: len(found)] or (row["status"] == "SUCCEEDED" and found != whole):
            wrong.append(f"parts of {row['id']} ({row['status']}): {found}")
    return wrong


def status(node: Node, job: str) -> tuple[str, str]:
    """Status and substate of a job at its owner."""
    (row,) = node.rows("SELECT status, substate FROM job WHERE id=?", job)
    return row["status"], row["substate"]


def attempts(node: Node, job: str) -> list[tuple[str, str]]:
    """Device and state of each attempt, as its owner wrote them down."""
    query = "SELECT device, state FROM attempt WHERE job=? ORDER BY number"
    return [(row["device"], row["state"]) for row in node.rows(query, job)]


def held(node: Node, job: str) -> list[tuple[str, str]]:
    """Device and state of each attempt of an open job as its owner has them in mind: not every state is worth a write."""
    return [(a.device, a.state) for a in node.submitter._open[job].attempts]


def spy(node: Node, *kinds: type[Message]) -> list[tuple[float, DeviceId, Any]]:
    """What a node sends of some kinds from now on, and when."""
    sent: list[tuple[float, DeviceId, Any]] = []
    send = node.peers.send

    def sending(peer: DeviceId, message: Message) -> bool:
        if isinstance(message, kinds):
            sent.append((node.clock.now(), peer, message))
        return send(peer, message)

    node.peers.send = sending  # type: ignore[method-assign]
    return sent


def _task(loop: asyncio.AbstractEventLoop, work: Any, context: contextvars.Context | None = None) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
    node = (context or contextvars.copy_context()).get(owner)
    if node is not None:
        if node.dead:
            task.cancel()
        node.tasks.add(task)
        task.add_done_callback(node.tasks.discard)
    return task
