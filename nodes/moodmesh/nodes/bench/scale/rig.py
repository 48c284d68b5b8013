"""One node with everything that decides and talks, among as many peers as asked; its disk and its links are in memory."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.identity import Identity
from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.access import Access
from moodmesh.nodes.capabilities import Capabilities
from moodmesh.nodes.config import Config
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.executor import Executor
from moodmesh.nodes.jobs.journal import Executions, Jobs
from moodmesh.nodes.jobs.submitter import Submitter
from moodmesh.nodes.messages import Blob, Capability, Dynamic, TaskDoc, VariantDoc
from moodmesh.nodes.peers import Peers
from moodmesh.nodes.permissions import Conditions, Limits
from moodmesh.nodes.pool.memory import MemoryPool
from moodmesh.nodes.pool.seam import Done, Event, Work
from moodmesh.nodes.store.store import migrate
from moodmesh.tasks import registry
from moodmesh.tasks.models import ModelStore

TASKS = ("emotion.text", "bench.second", "bench.third")
SERVICE_S = 2.0
PRESET = {"emotion.*": Limits(concurrent=99), "bench.*": Limits(concurrent=99), "own.device": Limits()}


class MemoryStore:
    """A store without a file and without a thread."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.row_factory = sqlite3.Row
        migrate(self.db)

    async def write(self, step: str, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """What `Store.write` does, at once."""
        return work(self.db)

    async def read(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """What `Store.read` does, at once."""
        return work(self.db)


class InlineBlobs:
    """Every artefact inline."""

    async def put(self, data: bytes) -> Blob:
        """Wrap the bytes."""
        return Blob.of(data)

    async def get(self, blob: Blob, source: DeviceId) -> bytes:
        """Unwrap them."""
        return blob.data()

    async def drop(self, blob: Blob) -> None:
        """Nothing is kept."""

    def keep(self, blob: Blob) -> None:
        """Nothing is kept."""

    def release(self, blob: Blob) -> None:
        """Nothing is kept."""


class Rig:
    """The node: own capabilities, access, peers, submitter, executor. It knows `count` other devices, none linked yet."""

    def __init__(self, count: int, clock: Clock, folder: Path) -> None:
        keys = [Identity.of(Ed25519PrivateKey.from_private_bytes(n.to_bytes(32, "big"))) for n in range(1, count + 2)]
        self.me, self.others, store, pairs = keys[0], keys[1:], MemoryStore(), Pairs()
        for n, other in enumerate(self.others):
            pairs.add(Pair(other.id, f"peer-{n}", other.credential.certificate, bytes(32)))
            store.db.execute(
                "INSERT INTO peer (device, name, certificate, k_pair, half, paired) VALUES (?, ?, ?, ?, 0, 0)",
                (other.id, f"peer-{n}", b"", b""),
            )
        found, _ = registry.load()
        self.tasks = dict.fromkeys(TASKS, found["emotion.text"])
        self.access = Access(store, clock.wall, lambda: Conditions(clock.wall()))  # type: ignore[arg-type]
        self.pool = MemoryPool(1, clock, _perform, lambda work: SERVICE_S)
        self.capabilities = Capabilities(
            Config(), self.tasks, ModelStore(folder), store, self.access, self.pool, clock, folder, self.me.id  # type: ignore[arg-type]
        )  # fmt: skip
        self.peers = Peers(self.me, "here", pairs, self.access, self.capabilities, clock)
        self.submitter = Submitter(self.peers, InlineBlobs(), Jobs(store), Hub(), clock, 3600)  # type: ignore[arg-type]
        self.executor = Executor(
            self.peers, InlineBlobs(), Executions(store), self.pool, self.capabilities, clock, self.peers.changed  # type: ignore[arg-type]
        )  # fmt: skip
        self.peers.submitter, self.peers.executor = self.submitter, self.executor
        self.capabilities.executor = self.executor

    async def permit(self) -> None:
        """Give every device the rules of an own one, and know a rate for every variant."""
        for other in self.others:
            await self.access.allow(other.id, PRESET)
        for name, task in self.tasks.items():
            for variant in task.spec.variants:
                await self.capabilities.observe(name, variant.name, 1.0, 0.02 * variant.quality, 0.5)


def documents(rig: Rig, draw: random.Random) -> tuple[Capability, Dynamic]:
    """What another device would say: the same tasks at its own pace; six of ten are busy, half of those have a queue."""
    pace = draw.lognormvariate(0, 0.8)
    tasks = {name: TaskDoc(version=t.spec.version, variants={
        v.name: VariantDoc(
            quality=v.quality, memory_mb=v.memory_mb, mean=0.02 * v.quality * pace, log_mean=-4.0, log_var=0.1,
            count=9, guess=False, load_s=0.5 * pace,
        ) for v in t.spec.variants}) for name, t in rig.tasks.items()}  # fmt: skip
    busy, kinds = draw.random() < 0.6, [f"{t}/{v.name}" for t, task in rig.tasks.items() for v in task.spec.variants]
    queued = draw.sample(kinds, 3) if busy and draw.random() < 0.5 else []
    static = Capability(revision=1, engine="process", slots=draw.choice((1, 2, 4)), own=True, cores=8, gpus=[], tasks=tasks)
    return static, Dynamic(
        revision=2, valid_s=10.0, free_slots=0 if busy else 1, running=[draw.uniform(0, 9) for _ in range(3 * busy)],
        queue={kind: (draw.randint(1, 9), draw.uniform(1, 60)) for kind in queued}, power="ok", quiet=False,
        memory_free_mb=8000, disk_free_mb=90_000, loaded=draw.sample(kinds, 2),
    )  # fmt: skip


def _perform(work: Work, emit: Callable[[Event], None]) -> Done:
    return Done({"ok": True}, seconds=SERVICE_S)
