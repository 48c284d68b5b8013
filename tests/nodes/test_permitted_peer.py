"""What a peer that may run a task here, hostile or faulty, can take from this device: little, and for a short time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.executor import Executor
from moodmesh.nodes.messages import (
    Attempted,
    Blob,
    Cancel,
    Granted,
    HeapDoc,
    Live,
    Pool,
    RefusedReservation,
    Reserve,
    Result,
    Start,
    Take,
)
from moodmesh.nodes.permissions import FRIEND

from .sim import EFFECTS, PURE, Node, World, simulate, status

BAIT = HeapDoc(task=PURE, variant="tiny", count=1, units=1.0, size=10, oldest=(1.0, 100.0), newest=(1.0, 100.0))


class Eve:
    """A friend of a device's owner who speaks the protocol as she likes; what she `claims` she lists in her heartbeats."""

    def __init__(self, node: Node, victim: Node) -> None:
        self.node, self.victim = node, victim
        self.claims: list[Live] = []
        self.heard: list[Attempted] = []
        node.submitter.hear = self._hear  # type: ignore[method-assign]
        node.submitter.reconcile = lambda peer, held: None  # type: ignore[method-assign]
        node.submitter.live = lambda peer: self.claims  # type: ignore[method-assign]

    async def _hear(self, peer: DeviceId, message: Attempted) -> None:
        self.heard.append(message)

    def reserve(self, number: int, task: str = PURE, **more: Any) -> dict[str, Any]:
        """Ask for a place; the key of the attempt."""
        key = {"job": f"{number:032x}", "attempt": 1}
        ask = {"units": 1.0, "input_bytes": 1, "result_bytes": 1, "personal": False, "waited": 0.0, **more}
        self.claims.append(Live(**key, phase="OFFERED"))
        self.node.peers.send(self.victim.id, Reserve(**key, task=task, version=1, variant="tiny", **ask))
        return key

    def say(self, message: Attempted) -> None:
        """Anything else."""
        self.node.peers.send(self.victim.id, message)

    def refusals(self) -> list[str]:
        """The gates that closed before her."""
        return [message.gate for message in self.heard if isinstance(message, RefusedReservation)]


async def friend(world: World) -> tuple[Eve, Node]:
    a, b = world.nodes
    await b.access.allow(a.id, {"test.*": FRIEND}, instead=True)
    return Eve(a, b), b


def taken_for_ever(world: World, *, starts: bool) -> Any:
    """She offers a job, reserves when she is asked for it, and never starts it, or starts it with an input that never
    arrives; ten minutes of that: for what part of them the slot was kept, and what became of a job of its owner."""

    async def story() -> tuple[float, str]:
        eve, b = await friend(world)
        eve.node.peers._tell_pool_if_any = lambda p: None  # type: ignore[method-assign]

        def take(peer: DeviceId, message: Take) -> None:
            eve.reserve(len(eve.claims), waited=100.0, taken=True)

        async def granted(peer: DeviceId, message: Attempted) -> None:
            if starts and isinstance(message, Granted):
                key = {"job": message.job, "attempt": 1}
                eve.say(Start(**key, params={"units": 1.0}, input=Blob(size=1, id="a" * 64), seed=1))

        async def never(blob: Blob, source: DeviceId) -> bytes:
            await asyncio.sleep(3600)
            return b""

        if starts:
            b.executor._blobs.get = never  # type: ignore[method-assign]
        eve.node.submitter.hear = granted  # type: ignore[method-assign]
        eve.node.submitter.take = take  # type: ignore[method-assign]
        eve.node.peers._put(eve.node.peers.peers[b.id], Pool(held=[BAIT]))
        await asyncio.sleep(5)
        assert b.executor._free() == 0
        job = await b.submit(units=1, on=b)
        kept = 0
        for _ in range(600):
            await asyncio.sleep(1)
            kept += b.executor._free() == 0
        return kept / 600, status(b, job)[0]

    return story()


@pytest.mark.parametrize("starts", [False, True])
def test_a_slot_that_was_taken_and_is_not_used_is_given_back(starts: bool) -> None:
    async def story(world: World) -> None:
        kept, own = await taken_for_ever(world, starts=starts)
        assert kept < 0.25
        assert own == "SUCCEEDED"

    simulate(story)


def test_without_the_end_of_its_time_one_peer_has_the_slot_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def for_ever(self: Executor, e: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Executor, "_kept", for_ever)

    async def story(world: World) -> None:
        assert await taken_for_ever(world, starts=False) == (1.0, "PENDING")

    simulate(story)


def test_a_place_that_was_called_for_and_is_not_filled_is_given_back() -> None:
    async def story(world: World) -> None:
        eve, b = await friend(world)
        eve.reserve(1)
        await asyncio.sleep(10)
        assert b.executor._expected() == 1
        await asyncio.sleep(10)
        assert b.executor._expected() == 0
        assert [m.reason for m in eve.heard if m.kind == "cancelled"] == ["not started"]  # type: ignore[attr-defined]

    simulate(story)


def test_a_peer_cannot_fill_this_device_with_reservations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodmesh.nodes.jobs.bounds.MAX_LIVE", 20)

    async def story(world: World) -> None:
        a, b = world.nodes
        for n in range(60):
            ask = Reserve(
                job=f"{n:032x}", attempt=1, task=PURE, version=1, variant="tiny", units=1.0, input_bytes=0, result_bytes=0,
                personal=False, waited=0.0,
            )  # fmt: skip
            await b.executor.hear(a.id, ask)
        assert len(b.executor._held) == 20
        await asyncio.sleep(3)
        assert not b.executor._held  # and what its submitter does not know of is gone with the next heartbeat

    simulate(story)


def test_results_that_are_never_acknowledged_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodmesh.nodes.jobs.bounds.MAX_LIVE", 20)

    async def story(world: World) -> None:
        eve, b = await friend(world)
        for n in range(60):
            key = eve.reserve(n)
            await asyncio.sleep(0.1)
            eve.say(Start(**key, params={}, input=Blob(size=1, inline="!"), seed=1))
        await asyncio.sleep(3)
        assert len(b.executor.results.waiting) == 20
        assert len(b.executor.live(eve.node.id)) == 20
        assert eve.refusals() == ["full"] * 40

    simulate(story)


def test_what_was_not_called_for_is_not_kept() -> None:
    async def story(world: World) -> None:
        eve, b = await friend(world)
        own = await b.submit(units=60, on=b)
        await asyncio.sleep(1)
        key = eve.reserve(1)
        await asyncio.sleep(0.5)
        eve.say(start := Start(**key, params={"units": 1.0}, input=Blob.of(b"y"), seed=1))
        await asyncio.sleep(1)
        (held,) = [e for e in b.executor._held.values() if e.held.requester == eve.node.id]
        assert held.start is None
        while status(b, own)[0] != "SUCCEEDED":
            await asyncio.sleep(0.1)
        eve.say(start)
        await asyncio.sleep(3)
        assert [r[2] for r in world.ran] == [b.id, b.id], "it ran once it was called for"

    simulate(story)


def test_no_more_is_called_for_than_there_is_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodmesh.nodes.jobs.bounds.AHEAD_BYTES", 10 * Start.cap)

    async def story(world: World) -> None:
        eve, b = await friend(world)
        with b.executor.borrowed_slot():
            for n in range(40):
                key = eve.reserve(n, units=1e-6, input_bytes=65536)
                await asyncio.sleep(0.05)
                eve.say(Start(**key, params={"units": 1e-6}, input=Blob.of(b"y" * 65536), seed=1))
            await asyncio.sleep(2)
            assert sum(e.start is not None for e in b.executor._held.values()) == 8

    simulate(story)


def fences(node: Node) -> list[str]:
    return [row["job"] for row in node.rows("SELECT job FROM fence ORDER BY rowid")]


def test_fences_of_pure_tasks_are_bounded_and_the_newest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodmesh.nodes.jobs.journal.MOST_FENCES", 50)

    async def story(world: World) -> None:
        eve, b = await friend(world)
        for n in range(200):
            eve.say(Cancel(**eve.reserve(n)))
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        assert fences(b) == [f"{n:032x}" for n in range(150, 200)]

    simulate(story)


def test_a_fence_of_what_may_run_once_is_never_forgotten_for_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodmesh.nodes.jobs.journal.MOST_FENCES", 5)
    monkeypatch.setattr("moodmesh.nodes.jobs.journal.MOST_EFFECTS", 20)

    async def story(world: World) -> None:
        eve, b = await friend(world)
        for n in range(30):
            eve.say(Cancel(**eve.reserve(n, EFFECTS)))
            await asyncio.sleep(0.05)
        assert fences(b) == [f"{n:032x}" for n in range(20)]
        eve.reserve(0, EFFECTS)
        await asyncio.sleep(0.5)
        assert eve.refusals() == ["fence"] * 11
        assert not b.executor._held

    simulate(story)


def test_an_input_larger_than_reserved_is_not_fetched() -> None:
    async def story(world: World) -> None:
        eve, b = await friend(world)
        fetched: list[Blob] = []

        async def get(blob: Blob, source: DeviceId) -> bytes:
            fetched.append(blob)
            return b"y" * blob.size

        b.executor._blobs.get = get  # type: ignore[method-assign]
        for n, size in enumerate((2**40, 11, 10)):
            key = eve.reserve(n, input_bytes=10)
            await asyncio.sleep(0.5)
            eve.say(Start(**key, params={"units": 1.0}, input=Blob(size=size, id="a" * 64), seed=1))
            await asyncio.sleep(1)
        assert [blob.size for blob in fetched] == [10]
        failed = [m.message for m in eve.heard if isinstance(m, Result) and m.reason == "transient"]
        assert "its input has 11 bytes, 10 were reserved" in failed

    simulate(story)


@pytest.mark.parametrize(("more", "is_fetched"), [(0, True), (1, False)])
def test_a_result_far_larger_than_expected_is_not_fetched(more: int, is_fetched: bool) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        fetched: list[Blob] = []

        async def get(blob: Blob, source: DeviceId) -> bytes:
            fetched.append(blob)
            raise OSError("far away")

        a.submitter.desk.acceptance._blobs.get = get  # type: ignore[method-assign]
        result = b.executor._outputs.result

        async def huge(*args: Any) -> Result:
            made = await result(*args)
            outputs = {"value": Blob(size=64 * 2**20 + 16 * 10 + more, id="a" * 64)}  # 10 bytes are expected
            return made.model_copy(update={"outputs": outputs})

        b.executor._outputs.result = huge  # type: ignore[method-assign]
        job = await a.submit(units=1, on=b)
        await asyncio.sleep(3)
        assert bool(fetched) == is_fetched
        (row,) = a.rows("SELECT message FROM attempt WHERE job=? AND number=1", job)
        assert ("at most 67109024 are fetched" in row["message"]) != is_fetched

    simulate(story)


async def dwarf(world: World, units: float) -> tuple[Eve, Node, list[Any]]:
    """A job of hers that says it is tiny and has waited for thirty years."""
    eve, b = await friend(world)
    learned: list[Any] = []

    async def observe(*args: Any) -> None:
        learned.append(args)

    b.offers.observe = observe  # type: ignore[method-assign]
    key = eve.reserve(1, units=units, waited=1e9)
    await asyncio.sleep(0.5)
    eve.say(Start(**key, params={"units": 1000.0}, input=Blob.of(b""), seed=1))
    await asyncio.sleep(1)
    return eve, b, learned


def test_a_request_that_is_larger_than_its_reservation_does_not_run() -> None:
    async def story(world: World) -> None:
        eve, _, learned = await dwarf(world, 1e-9)
        (failed,) = [m.message for m in eve.heard if isinstance(m, Result)]
        assert failed == "its request comes to 1000 units, 1e-09 were reserved"
        assert not world.ran
        assert not learned

    simulate(story)


def test_without_that_check_it_runs_past_every_limit_and_spoils_what_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodmesh.nodes.jobs.executor.check_units", lambda ask, units: None)
    monkeypatch.setattr("moodmesh.nodes.jobs.executor.LATE", 100.0)

    async def story(world: World) -> None:
        _, b, learned = await dwarf(world, 1e-9)
        own = await b.submit(units=1, on=b)
        await asyncio.sleep(10 * FRIEND.largest_s)  # type: ignore[operator]
        assert status(b, own)[0] == "SUCCEEDED"
        assert world.ran[0][1:] == (PURE, b.id)
        assert learned[0][2] == 1e-9

    simulate(story)


def test_what_takes_far_longer_than_its_submitter_may_have_is_ended_and_learned() -> None:
    async def story(world: World) -> None:
        eve, b = await friend(world)
        learned: list[float] = []

        async def observe(task: str, variant: str, units: float, seconds: float, load_s: float | None) -> None:
            learned.append(seconds)

        b.offers.observe, b.slow = observe, 100.0  # type: ignore[method-assign]
        key = eve.reserve(1, units=50.0)
        await asyncio.sleep(0.5)
        eve.say(Start(**key, params={"units": 50.0}, input=Blob.of(b""), seed=1))
        began = world.now()
        await asyncio.sleep(1)
        while b.workers:
            await asyncio.sleep(0.1)
        assert world.now() - began == pytest.approx(2 * 60.0, abs=1)
        await asyncio.sleep(1)
        (failed,) = [m for m in eve.heard if isinstance(m, Result)]
        assert failed.reason == "transient"
        assert "this device's rule for its submitter" in failed.message
        assert learned == [pytest.approx(120.0, abs=1)]

    simulate(story)


def test_who_says_it_has_waited_for_ever_is_overtaken_by_what_waits_here() -> None:
    async def story(world: World) -> None:
        eve, b = await friend(world)
        own = await b.submit(units=600, on=b)
        first = await b.submit(units=1, on=b)
        for n in range(9):
            eve.reserve(n, units=90.0, waited=1e9)
        await asyncio.sleep(1)
        order = [e.held.requester for e, _ in b.executor._queue()]
        assert order == [eve.node.id] * 9 + [b.id]
        late = [e for e, _ in b.executor._queue() if e.held.job == first]
        late[0].since -= 4000  # it has waited here for an hour
        assert b.executor._queue()[0][0] is late[0]
        await b.submitter.cancel(own)

    simulate(story)
