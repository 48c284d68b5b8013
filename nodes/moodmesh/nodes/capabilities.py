"""What this device offers, to whom, and how fast: rates learned and kept, documents filtered per peer (routing §3, §5)."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes import probe, rates
from moodmesh.nodes.access import Access
from moodmesh.nodes.config import Config
from moodmesh.nodes.messages import INLINE_BYTES, Active, Capability, Dynamic, Reserve, Start, TaskDoc, VariantDoc, bounded_s
from moodmesh.nodes.permissions import in_hours
from moodmesh.nodes.placement.gates import Gate, State, owner_gate, variant_gate
from moodmesh.nodes.placement.view import Ask, Device
from moodmesh.nodes.pool.seam import AttemptFailed, TaskPool
from moodmesh.nodes.rates import Rate
from moodmesh.nodes.store import Store
from moodmesh.tasks.errors import InvalidInput, ModelDamaged, ModelError
from moodmesh.tasks.models import Card, ModelStore
from moodmesh.tasks.task import Request, Task, Variant

if TYPE_CHECKING:
    from moodmesh.nodes.jobs.executor import Executor

GUESS_S_PER_UNIT = 1e-3
BUSY_VALID_S, IDLE_VALID_S = 10.0, 30.0
MOST_RUNNING = 64
SEEK_AGAIN_S, FOUND_S = 600.0, 1.0


class Capabilities:
    """The tasks of this device with their learned rates. `fetch` brings a model's file here by hash."""

    def __init__(
        self,
        config: Config,
        tasks: Mapping[str, Task],
        models: ModelStore,
        store: Store,
        access: Access,
        pool: TaskPool,
        clock: Clock,
        where: Path,
        me: DeviceId,
    ) -> None:
        self._config, self.tasks, self._models, self._store, self._access = config, tasks, models, store, access
        self._pool, self._clock, self._where, self._me = pool, clock, where, me
        self._rates: dict[tuple[str, str], Rate] = {}
        self._gpus = probe.gpus()
        self._power = probe.Recent(lambda: probe.power(config.power, probe.battery()))
        self._memory = probe.Recent(lambda: probe.free_memory_mb(config.pool.memory_mb))
        self._disk = probe.Recent(lambda: probe.free_disk_mb(where))
        self._revision = 0
        self._sought: dict[str, float] = {}
        self._found: dict[str, float] = {}
        self.fetch: Callable[[Card], Awaitable[str]] | None = None
        self.elsewhere: Callable[[str, str], Sequence[float]] = lambda task, variant: ()
        self.activity: Callable[[], Active | None] = lambda: None
        self.executor: Executor | None = None

    async def load(self) -> None:
        """Read the learned rates that belong to this engine and these models."""

        def read(db: sqlite3.Connection) -> None:
            for row in db.execute("SELECT * FROM rate WHERE engine=?", (self._pool.engine,)):
                if row["model"] == self.model(row["task"], row["variant"])[1]:
                    names = ("mean", "log_mean", "log_var", "count", "load_s", "measured")
                    self._rates[row["task"], row["variant"]] = Rate(**{n: row[n] for n in names})

        await self._store.read(read)

    # -- rates ---------------------------------------------------------------------------------------------------------

    def runnable(self) -> list[tuple[str, str]]:
        """The (task, variant) pairs that fit this device and whose model is here, the best variant of a task last."""
        return [
            (name, variant.name)
            for name, task in self.tasks.items()
            for variant in sorted(task.spec.variants, key=lambda v: v.quality)
            if self._fits(variant) and self._present(variant)
        ]

    def unmeasured(self) -> list[tuple[str, str]]:
        """What to benchmark: runnable here, and never measured or a month old."""
        old = self._clock.wall() - rates.FRESH_S
        return [pair for pair in self.runnable() if pair not in self._rates or self._rates[pair].measured < old]

    async def observe(self, task: str, variant: str, units: float, seconds: float, load_s: float | None) -> None:
        """Learn from one run; the first one is the prior."""
        known, now = self._rates.get((task, variant)), self._clock.wall()
        per_unit = seconds / max(units, 1e-9)
        rate = rates.observe(known, per_unit, load_s, now) if known else rates.first(per_unit, load_s or 0.0, now)
        self._rates[task, variant] = rate
        self._revision += 1
        key = (task, variant, self._pool.engine, self.model(task, variant)[1])
        values = (rate.mean, rate.log_mean, rate.log_var, rate.count, rate.load_s, rate.measured)

        def write(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO rate VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*key, *values))

        await self._store.write("rate.observe", write)

    def rate(self, task: str, variant: str) -> tuple[Rate, bool]:
        """The rate of a variant, and whether it is a guess (from the nearest variant by size, else what peers measured)."""
        if (task, variant) in self._rates:
            return self._rates[task, variant], False
        size = self._size(task, variant)
        known = [(abs(math.log(self._size(t, v) / size)), t, v) for t, v in self._rates if t == task]
        if not known:
            mean = statistics.median(self.elsewhere(task, variant) or [GUESS_S_PER_UNIT])
            return Rate(mean, math.log(mean), 1.0, 0), True
        _, t, v = min(known)
        scale, near = size / self._size(t, v), self._rates[t, v]
        return Rate(near.mean * scale, near.log_mean + math.log(scale), 1.0, 0, near.load_s * scale), True

    def _size(self, task: str, variant: str) -> float:
        card = self.tasks[task].spec.variant(variant).card
        return float(card.bytes) if card else 1e6

    # -- documents -----------------------------------------------------------------------------------------------------

    def document(self, peer: DeviceId) -> Capability:
        """The static and measured part, holding only the tasks that the peer may use."""
        here = peer == self._me
        tasks = {
            name: TaskDoc(version=task.spec.version, variants={v.name: self._variant(name, v) for v in task.spec.variants})
            for name, task in self.tasks.items()
            if here or self._access.may(peer, name)
        }
        own = here or self._access.owns(peer)
        return Capability(
            revision=self._revision, engine=self._pool.engine, slots=self._pool.slots, own=own,
            cores=probe.cores(), gpus=self._gpus if own else [], tasks=tasks,
        )  # fmt: skip

    def _variant(self, task: str, variant: Variant) -> VariantDoc:
        rate, guess = self.rate(task, variant.name)
        card = None if self._present(variant) else variant.card
        return VariantDoc(
            quality=variant.quality, memory_mb=variant.memory_mb, mean=rate.mean, log_mean=rate.log_mean, log_var=rate.log_var,
            count=rate.count, guess=guess, load_s=rate.load_s,
            fetch_bytes=0 if card is None else card.bytes, within_reach=card is None or not self._in_vain(card),
        )  # fmt: skip

    def dynamic(self, peer: DeviceId | None = None) -> Dynamic:
        """How busy this device is now; for a peer, what waits of tasks that it may not use is one nameless class."""
        assert self.executor is not None
        running, queue, free = self.executor.load()
        loaded = [f"{task}/{variant}" for task, variant in self._pool.loaded()]
        if peer is not None:
            hidden = [name for name in queue if not self._access.may(peer, name.split("/")[0])]
            other = [queue.pop(name) for name in hidden]
            if other:
                queue[""] = (sum(count for count, _ in other), bounded_s(sum(s for _, s in other)))
            loaded = [name for name in loaded if self._access.may(peer, name.split("/")[0])]
        if len(running) > MOST_RUNNING:  # their sum is what counts, and the document is small
            running = [*running[: MOST_RUNNING - 1], bounded_s(sum(running[MOST_RUNNING - 1 :]))]
        self._revision += 1
        return Dynamic(
            revision=self._revision, valid_s=BUSY_VALID_S if running else IDLE_VALID_S, free_slots=free,
            running=[round(s, 4) for s in running],
            queue={name: (count, round(s, 4)) for name, (count, s) in queue.items()}, power=self._power(), quiet=self._quiet(),
            active=self.activity(),
            memory_free_mb=self._memory(), disk_free_mb=self._disk(),
            loaded=sorted(loaded), start_s=self._pool.start_s(),
        )  # fmt: skip

    def _quiet(self) -> bool:
        hours = self._config.power.quiet_hours
        return bool(hours) and in_hours(hours, local_hour(self._clock.wall()))

    def _fits(self, variant: Variant) -> bool:
        return variant.memory_mb * 1.1 <= self._memory()

    def _present(self, variant: Variant) -> bool:
        """Looked up on disk at most once a second while it is there: documents are made many times a second."""
        card, now = variant.card, self._clock.now()
        if card is None or now - self._found.get(card.sha256, -math.inf) < FOUND_S:
            return True
        if self._models.find(card) is None:
            return False
        self._found[card.sha256] = now
        return True

    def _state(self) -> State:
        return State(self._power(), self._quiet(), self.activity())

    # -- what the executor asks ----------------------------------------------------------------------------------------

    def admit(self, peer: DeviceId, ask: Reserve) -> Gate | None:
        """The same gates the submitter checked, and the peer's rule and quotas."""
        task = self.tasks.get(ask.task)
        here = peer == self._me
        if task is None or (not here and not self._access.may(peer, ask.task)):
            return Gate("permission", f"{ask.task} is not offered to this device")
        if task.spec.version != ask.version:
            return Gate("version", f"this device has version {task.spec.version} of {ask.task}")
        if ask.variant not in {v.name for v in task.spec.variants}:
            return Gate("variant", f"{ask.task} has no variant {ask.variant[:32]}")
        seconds = self.predicted_s(ask.task, ask.variant, ask.units)
        if not here and (limit := self._access.denial(peer, ask.task, seconds, ask.input_bytes + ask.result_bytes)):
            return Gate("quota", f"the limit {limit} of this device's rule")
        own = here or self._access.owns(peer)
        known = Capability(revision=0, engine="", slots=0, own=own, cores=0, gpus=[], tasks={})
        view = Device(self._me, "", here=here, capability=known, dynamic=self.dynamic())
        doc = self._variant(ask.task, task.spec.variant(ask.variant))
        question = Ask(ask.job, ask.task, ask.version, ask.units, ask.input_bytes, ask.result_bytes)
        return variant_gate(question, view, ask.variant, doc, seconds)

    def closed(self, peer: DeviceId, ask: Reserve) -> Gate | None:
        """The gate that has closed for an attempt that was let in: power, hours, the user, the peer's rule. Memory, disk and
        quotas are for starting only."""
        here = peer == self._me
        if not here and (limit := self._access.closed(peer, ask.task)):
            return Gate("quota", f"the limit {limit} of this device's rule")
        own, seconds = here or self._access.owns(peer), self.predicted_s(ask.task, ask.variant, ask.units)
        return owner_gate(self._state(), here=here, own=own, service_s=seconds)

    async def units(self, start: Start, ask: Reserve, data: bytes) -> float:
        """What a request comes to by its own task, a large one beside the event loop; `AttemptFailed` when it is none."""
        task = self.tasks[ask.task]
        try:
            params = task.spec.request.model_validate(start.params).model_dump(mode="json", exclude_unset=True)
            request = Request(params, data, start.seed)
            if len(data) <= INLINE_BYTES:
                return task.units(request)
            return await asyncio.to_thread(task.units, request)
        except (ValidationError, InvalidInput) as error:
            raise AttemptFailed("invalid_input", str(error)) from None

    def longest_s(self, peer: DeviceId, task: str) -> float | None:
        """The longest attempt that the peer's rule allows here."""
        return None if peer == self._me else self._access.longest_s(peer, task)

    def predicted_s(self, task: str, variant: str, units: float) -> float:
        """The service seconds expected here."""
        return units * self.rate(task, variant)[0].mean

    def version(self, task: str) -> int:
        """The installed version of a task; 0 when it is not installed."""
        return self.tasks[task].spec.version if task in self.tasks else 0

    def detached_s(self, remaining_s: float) -> float:
        """How long an attempt may run on without its submitter: twice what it needs, within the limit; 0 on battery."""
        return min(self._config.jobs.detached_s, 2 * remaining_s) if self._power() == "ok" else 0.0

    def effects(self, task: str) -> bool:
        """Whether the task changes something outside its output."""
        return self.tasks[task].spec.effects

    def model(self, task: str, variant: str) -> tuple[str, str]:
        """Name and SHA-256 of a variant's weights; empty without weights, or for what is no longer installed."""
        found = [v for v in self.tasks[task].spec.variants if v.name == variant] if task in self.tasks else []
        card = found[0].card if found else None
        return (card.name, card.sha256) if card else ("", "")

    async def prepare(self, task: str, variant: str) -> None:
        """Have the weights here, as their card says they are; OSError when no peer has them either, and then, as where they are
        damaged, the variant counts as absent."""
        card = self.tasks[task].spec.variant(variant).card
        if card is None or self._models.sure(card):
            return
        try:
            await asyncio.to_thread(self._models.path, card)
        except ModelError as wrong:
            self._found.pop(card.sha256, None)
            await self._fetched(card, f"{wrong}; " if isinstance(wrong, ModelDamaged) else "")

    async def _fetched(self, card: Card, why: str) -> None:
        if self.fetch is None:
            raise OSError(f"{why}{card.file} is not here and no peer was asked")
        try:
            await self.fetch(card)
        except OSError as error:
            self._sought[card.sha256] = self._clock.now()
            raise OSError(f"{why}{error}") from None

    def seek_again(self) -> None:
        """Another peer is linked: it may have the models that were sought in vain."""
        self._sought.clear()

    def _in_vain(self, card: Card) -> bool:
        return self._clock.now() - self._sought.get(card.sha256, -SEEK_AGAIN_S) < SEEK_AGAIN_S

    async def charge(self, peer: DeviceId, ask: Reserve, seconds: float, *, running: bool) -> None:
        """Count an attempt of a peer against its quota."""
        if peer != self._me:
            size = ask.input_bytes + ask.result_bytes
            await self._access.charge(peer, ask.task, f"{ask.job}-{ask.attempt}", seconds, size, running=running)


def local_hour(wall: float) -> int:
    """The hour of the day in the device's time zone."""
    return time.localtime(wall).tm_hour
