"""Jobs looked at from other devices: who is told what, what is kept, and what a hostile peer makes of it (routing §8)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.access import Access
from moodmesh.nodes.bench.virtual import VirtualLoop, run
from moodmesh.nodes.errors import NotFound, Refused, UsageError
from moodmesh.nodes.jobs import inspection, replicas
from moodmesh.nodes.jobs.inspection import Inspection
from moodmesh.nodes.jobs.model import Job
from moodmesh.nodes.jobs.replicas import BURST_BYTES, KEPT_S, MOST_BYTES, MOST_JOBS, Elsewhere, Replicas
from moodmesh.nodes.jobs.replication import INSPECT, ONE_ROUND
from moodmesh.nodes.messages import Inspect, Inspected, Message, Replica, Rights, Seen
from moodmesh.nodes.outbox import Outbox
from moodmesh.nodes.pairbook import PairBook
from moodmesh.nodes.permissions import Limits

from .sim import Node, World

SEE = {INSPECT: Limits()}
Story = Callable[[World], Awaitable[None]]


def simulate(story: Story, count: int = 3, seeing: tuple[tuple[int, int], ...] = ((0, 1),)) -> None:
    """Nodes that own each other; `seeing`: (owner of jobs, who may see them)."""
    loop = VirtualLoop()

    async def whole() -> None:
        world = World(loop, 1, count)
        await world.start()
        for owner, peer in seeing:
            await world.nodes[owner].access.allow(world.nodes[peer].id, SEE)
        await asyncio.sleep(2)
        await story(world)

    run(whole(), loop)


def spy(node: Node, *kinds: type[Message]) -> list[tuple[float, DeviceId, Any]]:
    """What a node sends of some kinds, and when."""
    sent: list[tuple[float, DeviceId, Any]] = []
    send = node.peers.send

    def sending(peer: DeviceId, message: Message) -> bool:
        if isinstance(message, kinds):
            sent.append((node.clock.now(), peer, message))
        return send(peer, message)

    node.peers.send = sending  # type: ignore[method-assign]
    return sent


def kept(node: Node) -> dict[tuple[str, str], Seen]:
    return {(r["owner"], r["job"]): Seen.model_validate_json(r["body"]) for r in node.rows("SELECT * FROM replica")}


async def there(node: Node, job: str) -> Elsewhere:
    found = await node.inspection.find(job)
    assert isinstance(found, Elsewhere)
    return found


def example(job: str, **change: Any) -> Seen:
    body = {
        "id": job, "task": "test.pure", "version": 1, "personal": False, "quality": "best", "seed": 1, "given": [],
        "units": 1.0, "input_bytes": 5, "result_bytes": 1, "created": 1.8e9, "status": "PENDING", "substate": "", "message": "",
        "share": 0.0, "attempts": [], "lines": [],
    }  # fmt: skip
    return Seen(**(body | change))


def test_a_peer_that_may_see_jobs_sees_them_live_and_after_their_owner_is_gone() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await a.submit(units=20, on=c)
        await asyncio.sleep(6)
        live = await there(b, job[:6])
        assert (live.owner, live.live, live.job.id, live.job.status) == (a.id, True, job, "RUNNING")
        assert live.job.attempts[0].table is not None
        assert [row.device for row in live.job.attempts[0].table.rows if row.chosen] == [c.id]
        await a.jobs.log(job, 1, 1, 5.0, "half of it is done")
        a.events.tell("log", job=job, attempt=1, line="half of it is done", at=5.0)
        await asyncio.sleep(6)
        a.crash()
        await asyncio.sleep(60)
        late = await there(b, job[:6])
        assert (late.owner, late.live, b.inspection.linked(a.id)) == (a.id, False, False)
        assert 50 < b.clock.wall() - late.at < 70
        assert (late.job.status, [line.line for line in late.job.lines]) == ("RUNNING", ["half of it is done"])
        assert [e.job.id for e in await b.inspection.newest(10)] == [job]
        b.clock.offset += KEPT_S
        assert await b.inspection.newest(10) == []
        await b.inspection.replicas.expire()
        assert kept(b) == {}

    simulate(story)


@pytest.mark.parametrize(
    ("typed", "error", "words"),
    [
        ("zzz", UsageError, "'zzz' is not a job id"),
        ("7F", UsageError, "is not a job id"),
        ("", UsageError, "`moodmesh job list`"),
        ("a" * 33, NotFound, "no job begins with"),
        ("0123abc", NotFound, "no job begins with"),
    ],
)
def test_what_is_no_job_id_is_said_whether_a_peer_is_linked_or_not(typed: str, error: type[Exception], words: str) -> None:
    async def story(world: World) -> None:
        for node in world.nodes:  # the second may look into jobs of the first, the third into nobody's
            with pytest.raises(error, match=words):
                await node.inspection.find(typed)

    simulate(story)


def test_the_end_of_a_job_reaches_its_replicas_and_a_device_that_comes_back_is_told_what_it_missed() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        first = await a.submit(units=2, on=a)
        await asyncio.sleep(4)
        assert kept(b)[a.id, first].status == "SUCCEEDED"
        b.crash()
        second = await a.submit(units=1, on=a)
        await asyncio.sleep(4)
        await b.start()
        await asyncio.sleep(3)
        assert kept(b)[a.id, second].status == "SUCCEEDED"

    simulate(story)


def test_three_devices_hold_replicas_and_a_fourth_asks_and_takes_the_place_of_one_that_leaves() -> None:
    async def story(world: World) -> None:
        a, *others = world.nodes
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(2)
        holding = [n for n in others if kept(n)]
        (last,) = [n for n in others if n not in holding]
        assert len(holding) == 3
        assert (await there(last, job[:8])).live
        assert [e.job.id for e in await last.inspection.newest(9)] == [job]
        holding[0].crash()
        await asyncio.sleep(2)
        assert (a.id, job) in kept(last)

    simulate(story, 5, tuple((0, n) for n in range(1, 5)))


def test_a_job_is_told_at_most_once_in_a_fifth_of_a_second_and_progress_more_seldom() -> None:
    async def story(world: World) -> None:
        a, _, _ = world.nodes
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(2)
        sent = spy(a, Replica)
        for n in range(100):
            a.events.tell("job", job=job, status="RUNNING", substate=f"step {n}", message="", attempts=1)
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        times = [at for at, _, _ in sent]
        assert 4 <= len(times) <= 7
        assert min(b - a for a, b in itertools.pairwise(times)) >= 0.2
        sent.clear()
        for _ in range(100):
            a.events.tell("job", job=job, status="RUNNING", substate="step 99", message="", attempts=1)
            await asyncio.sleep(0.1)
        assert 1 <= len(sent) <= 3

    simulate(story)


@pytest.mark.parametrize("defended", [True, False])
def test_without_the_permission_there_is_no_replica_and_no_answer(monkeypatch: pytest.MonkeyPatch, defended: bool) -> None:
    if not defended:
        monkeypatch.setattr(Access, "may", lambda self, peer, action: True)

    async def story(world: World) -> None:
        a, b, _ = world.nodes
        sent = spy(a, Replica, Inspected)
        job = await a.submit(units=5, on=a)
        for what in ("show", "list", "cancel"):
            b.peers.send(a.id, Inspect(ask=7, what=what, job=job))
        await asyncio.sleep(3)
        assert bool([m for _, peer, m in sent if peer == b.id]) != defended
        assert bool(kept(b)) != defended
        (row,) = a.rows("SELECT status FROM job")
        assert (row["status"] == "STOPPED") != defended

    simulate(story, seeing=((0, 2),))


@pytest.mark.parametrize("defended", [True, False])
def test_seeing_a_job_is_not_stopping_it(monkeypatch: pytest.MonkeyPatch, defended: bool) -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        await a.access.allow(b.id, SEE, instead=True)
        if not defended:
            monkeypatch.setattr(Access, "owns", lambda self, peer: True)
        job = await a.submit(units=5, on=a)
        await asyncio.sleep(1)
        found = await there(b, job)
        if defended:
            with pytest.raises(Refused, match="own devices alone"):
                await b.inspection.cancel(found)
        else:
            await b.inspection.cancel(found)
        assert a.rows("SELECT status FROM job")[0]["status"] == ("RUNNING" if defended else "STOPPED")

    simulate(story)


def test_an_own_device_stops_a_job_and_one_that_has_ended_is_said_to_have() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=5, on=a)
        await asyncio.sleep(1)
        assert (await b.inspection.cancel(await there(b, job[:8]))).job.status == "STOPPED"
        assert a.rows("SELECT status FROM job")[0]["status"] == "STOPPED"
        with pytest.raises(Refused, match="already ended"):
            await b.inspection.cancel(await there(b, job[:8]))

    simulate(story)


def test_an_owner_that_does_not_answer_delays_nobody_for_long() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(1)
        a.peers.inspection = lambda peer, message: None
        began = world.now()
        found = await there(b, job[:8])
        assert not found.live
        assert world.now() - began < 2.5
        held = await b.inspection.cancel(found)
        assert (held.stop is not None, held.job.status) == (True, "RUNNING")
        assert world.now() - began < 5

    simulate(story)


@pytest.mark.parametrize("defended", [True, False])
def test_a_replica_is_filed_under_the_peer_that_sent_it(monkeypatch: pytest.MonkeyPatch, defended: bool) -> None:
    """Job ids can be known to others: the executor of a job knows its id. The undefended store asks whose job that is."""

    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await a.submit(units=30, on=c)
        await asyncio.sleep(1)
        if not defended:
            put = Replicas.put
            monkeypatch.setattr(Replicas, "put", lambda self, owner, seen: put(self, a.id if seen.id == job else owner, seen))
        a.crash()
        await asyncio.sleep(1)
        c.peers.send(b.id, Replica(job=example(job, status="FAILED", message="give it up")))
        await asyncio.sleep(1)
        assert kept(b)[a.id, job].status == ("RUNNING" if defended else "FAILED")
        if defended:
            with pytest.raises(NotFound, match="several jobs"):
                await b.inspection.find(job)

    simulate(story)


@pytest.mark.parametrize("defended", [True, False])
def test_a_replica_changes_no_job_of_this_device(defended: bool) -> None:
    async def story(world: World) -> None:
        _, b, c = world.nodes
        job = await b.submit(units=30, on=c)
        await asyncio.sleep(1)
        before = [tuple(row) for row in b.rows("SELECT * FROM job")]
        c.peers.send(b.id, Replica(job=example(job, status="FAILED", finished=1.8e9)))
        await asyncio.sleep(1)
        if not defended:  # own jobs are not looked for first

            async def nothing(prefix: str) -> list[Job]:
                return []

            b.inspection._jobs.find = nothing  # type: ignore[method-assign]
        assert isinstance(await b.inspection.find(job), Job) == defended
        assert [tuple(row) for row in b.rows("SELECT * FROM job")] == before

    simulate(story)


@pytest.mark.parametrize("defended", [True, False])
def test_a_peer_that_is_no_own_device_writes_nothing_here(monkeypatch: pytest.MonkeyPatch, defended: bool) -> None:
    async def story(world: World) -> None:
        _, b, c = world.nodes
        await b.access.allow(c.id, {"test.*": Limits()}, instead=True)
        if not defended:
            monkeypatch.setattr(Access, "owns", lambda self, peer: True)
        c.peers.send(b.id, Replica(job=example("f" * 32)))
        await asyncio.sleep(1)
        assert bool(kept(b)) != defended

    simulate(story)


def numbers() -> Iterator[str]:
    return (f"{n:032x}" for n in range(10**6))


@pytest.mark.parametrize("mutation", ["", "surplus", "burst"])
def test_a_flood_of_replicas_takes_its_share_of_the_disk_and_no_more(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    if mutation == "surplus":
        monkeypatch.setattr(replicas, "_SURPLUS", "DELETE FROM replica WHERE owner=? AND owner<>? AND ?=?")
    if mutation == "burst":
        monkeypatch.setattr(replicas, "BURST_BYTES", 2**40)

    async def story(world: World) -> None:
        a, b, c = world.nodes
        own = await a.submit(units=100, on=a)
        await asyncio.sleep(1)
        ids = numbers()
        for _ in range(3):
            for _ in range(300):
                b.inspection.hear(c.id, Replica(job=example(next(ids))))
            await asyncio.sleep(1)
        (count,) = b.rows("SELECT count(*) AS n FROM replica WHERE owner=?", c.id)
        assert (count["n"] <= MOST_JOBS) == (mutation != "surplus")
        lines = [{"attempt": 1, "seq": n, "at": 0.0, "line": "x" * 200} for n in range(20)]
        large = example("f" * 32, lines=lines, given=["y" * 64] * 64)
        before = len(large.model_dump_json())
        for n in range(1 + MOST_BYTES // before // 20):
            for m in range(30):
                b.inspection.hear(c.id, Replica(job=large.model_copy(update={"id": f"{n:016x}{m:016x}"})))
            await asyncio.sleep(1)
        (row,) = b.rows("SELECT sum(size) AS bytes FROM replica WHERE owner=?", c.id)
        assert (row["bytes"] <= MOST_BYTES) == (mutation != "surplus")
        await asyncio.sleep(1)
        b.rows("DELETE FROM replica WHERE owner=?", c.id)
        for m in range(200):
            b.inspection.hear(c.id, Replica(job=large.model_copy(update={"id": f"{m:032x}"})))
        small = sum(map(len, b.inspection.replicas._waiting[c.id].values()))
        assert (small <= BURST_BYTES) == (mutation != "burst")
        assert (a.id, own) in kept(b)

    simulate(story)


@pytest.mark.parametrize("defended", [True, False])
def test_a_flood_of_requests_is_answered_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch, defended: bool) -> None:
    if not defended:
        monkeypatch.setattr(inspection, "AT_ONCE", 10**6)

    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(1)
        sent = spy(a, Inspected)
        for n in range(500):
            a.inspection.hear(b.id, Inspect(ask=n, what="list", job=""))
        await asyncio.sleep(1)
        assert (len(sent) <= inspection.AT_ONCE) if defended else (len(sent) == 500)
        assert (await there(b, job)).live

    simulate(story)


@pytest.mark.parametrize("defended", [True, False])
def test_an_answer_counts_from_the_peer_that_was_asked_alone(defended: bool) -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(1)
        a.peers.inspection = lambda peer, message: None
        asking = asyncio.create_task(b.inspection.find(job))
        await asyncio.sleep(0.1)
        if not defended:
            waiting = b.inspection.asking.waiting
            waiting |= {(c.id, n): w for (_, n), w in waiting.items()}
        for n in range(20):
            c.peers.send(b.id, Inspected(ask=n, jobs=[example(job, status="STOPPED")]))
        found = await asking
        assert isinstance(found, Elsewhere)
        assert found.job.status == ("RUNNING" if defended else "STOPPED")

    simulate(story)


def untold(story_end: Callable[[Node, Node], Awaitable[None]], keeps: bool = False) -> None:
    """After `story_end` the other device holds nothing of this one's jobs within a second, and is told nothing more."""

    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(1)
        assert kept(b)
        await story_end(a, b)
        await asyncio.sleep(1)
        sent = spy(a, Replica, Inspected)
        assert bool(kept(b)) == keeps
        b.peers.send(a.id, Inspect(ask=1, what="show", job=job))
        await a.submit(units=1, on=a)
        a.events.tell("job", job=job, status="RUNNING", substate="more", message="", attempts=1)
        await asyncio.sleep(3)
        assert [peer for _, peer, _ in sent if peer == b.id] == []

    simulate(story)


async def deny(a: Node, b: Node) -> None:
    await a.access.deny(b.id)


async def forget(a: Node, b: Node) -> None:
    await PairBook(b.disk, b.peers._pairs, b.clock.wall).forget(a.id)  # type: ignore[arg-type]
    a.world.connecting = False
    a.world.links[a.id, b.id].broken("forgotten")


async def forget_there(a: Node, b: Node) -> None:
    await PairBook(a.disk, a.peers._pairs, a.clock.wall).forget(b.id)  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [deny, forget])
def test_a_permission_that_is_taken_away_takes_the_replicas_with_it(end: Callable[[Node, Node], Awaitable[None]]) -> None:
    untold(end)


def test_a_forgotten_peer_is_told_nothing_more() -> None:
    untold(forget_there, keeps=True)


def test_replicas_outlive_a_revocation_where_nothing_listens_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(self: Replicas, owner: DeviceId) -> None:
        pass

    monkeypatch.setattr(Replicas, "forget", keep)
    untold(deny, keeps=True)


def test_a_device_that_is_no_longer_ones_own_leaves_nothing_here_and_tells_nothing_more() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(1)
        assert kept(b)
        await b.access.allow(a.id, {"test.*": Limits()}, instead=True)
        await asyncio.sleep(1)
        assert kept(b) == {}
        sent = spy(a, Replica)
        a.events.tell("job", job=job, status="RUNNING", substate="more", message="", attempts=1)
        await asyncio.sleep(1)
        assert not sent
        assert (await there(b, job)).live, "its owner still lets us ask"

    simulate(story)


def test_a_permission_taken_back_in_the_middle_of_a_round_holds_at_once() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        sent = spy(a, Replica)

        async def tail(job: str, count: int) -> list[dict[str, Any]]:
            await a.access.deny(b.id)
            return []

        a.jobs.tail = tail  # type: ignore[method-assign]
        await a.submit(units=30, on=a)
        await asyncio.sleep(2)
        assert not sent

    simulate(story)


@pytest.mark.parametrize("one", range(1, 5))
def test_who_may_not_see_takes_no_place_of_one_who_may(one: int) -> None:
    async def story(world: World) -> None:
        job = await world.nodes[0].submit(units=30)
        await asyncio.sleep(2)
        assert [node for node in world.nodes if (world.nodes[0].id, job) in kept(node)] == [world.nodes[one]]

    simulate(story, 5, ((0, one),))


def test_what_waits_to_be_written_of_a_forgotten_peer_is_not_written_and_the_rest_is() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        for owner in (a, c):
            b.inspection.hear(owner.id, Replica(job=example("e" * 32)))
        await PairBook(b.disk, b.peers._pairs, b.clock.wall).forget(a.id)  # type: ignore[arg-type]
        await asyncio.sleep(1)
        assert set(kept(b)) == {(c.id, "e" * 32)}
        b.inspection.hear(c.id, Replica(job=example("d" * 32)))
        b.inspection.hear(c.id, Rights(actions=[], name="c"))
        await asyncio.sleep(1)
        assert kept(b) == {}

    simulate(story)


def test_a_full_disk_stops_no_inspection() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30, on=a)
        b.disk.full = True
        await asyncio.sleep(2)
        assert (await there(b, job)).live
        b.disk.full = False
        a.events.tell("job", job=job, status="RUNNING", substate="more", message="", attempts=1)
        await asyncio.sleep(1)
        assert kept(b)

    simulate(story)


def test_a_prefix_of_both_kinds_is_ambiguous_and_of_neither_unknown() -> None:
    async def story(world: World) -> None:
        _, b, c = world.nodes
        own = await b.submit(units=30, on=b)
        c.peers.send(b.id, Replica(job=example(own[:10] + "0" * 22)))
        await asyncio.sleep(1)
        with pytest.raises(NotFound, match="several jobs"):
            await b.inspection.find(own[:10])
        assert isinstance(await b.inspection.find(own), Job)
        with pytest.raises(NotFound, match="no job begins"):
            await b.inspection.find("0" * 30)

    simulate(story)


def test_what_is_seen_of_a_personal_job_follows_its_input() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        await a.access.allow(c.id, SEE, instead=True)
        sent = spy(a, Replica, Inspected)
        job = await a.submit(units=30, on=a, personal=True)
        await a.jobs.log(job, 1, 1, 5.0, "Zanzibar")
        await asyncio.sleep(1)
        a.events.tell("job", job=job, status="RUNNING", substate="more", message="", attempts=1)
        for asking in (b, c):
            await asking.inspection.find(job)
        await asyncio.sleep(1)
        to = {node.id: "".join(m.model_dump_json() for _, peer, m in sent if peer == node.id) for node in (b, c)}
        assert "Zanzibar" in to[b.id]
        assert "Zanzibar" not in to[c.id]
        assert job in to[c.id]

    simulate(story, seeing=((0, 1), (0, 2)))


def test_what_is_told_again_is_kept_no_longer() -> None:
    async def story(world: World) -> None:
        _, b, c = world.nodes
        for late in (0.0, KEPT_S - 60, KEPT_S):
            b.clock.offset = 1_800_000_000.0 + late
            if late < KEPT_S:
                b.inspection.hear(c.id, Replica(job=example("e" * 32)))
            await asyncio.sleep(1)
        assert await b.inspection.newest(10) == []
        await b.inspection.replicas.expire()
        assert kept(b) == {}

    simulate(story)


def test_no_owner_hides_the_jobs_of_another() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(1)
        for n in range(100):
            b.inspection.hear(c.id, Replica(job=example(f"{n:032x}", created=9e10)))
        await asyncio.sleep(1)
        a.crash()
        await asyncio.sleep(1)
        found = await b.inspection.newest(10)
        assert [e.job.id for e in found if e.owner == a.id] == [job]
        assert len(found) == 11

    simulate(story)


def test_a_list_is_as_long_as_asked_for_whether_its_owner_answers_or_not() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        jobs = []
        for _ in range(4):
            jobs.append(await a.submit(units=30, on=a))
            await asyncio.sleep(1)
        for n in range(4):
            b.inspection.hear(c.id, Replica(job=example(f"{n:032x}", created=1.8e9 + n)))
        await asyncio.sleep(1)
        for live in (True, False):
            found = await b.inspection.newest(2)
            assert [(e.job.id, e.live) for e in found if e.owner == a.id] == [(job, live) for job in jobs[:1:-1]]
            assert len(found) == 4
            a.crash()
            await asyncio.sleep(7)

    simulate(story)


def test_many_jobs_are_told_in_turn_and_none_is_left_out() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        sent = spy(a, Replica)
        jobs = [await a.submit(units=30, on=a) for _ in range(100)]
        await asyncio.sleep(0.1)
        began = world.now()
        assert len(sent) <= 2 * ONE_ROUND
        await asyncio.sleep(5)
        assert {job for _, job in kept(b)} == set(jobs)
        for at in {at for at, _, _ in sent if at > began}:
            assert len([1 for other, _, _ in sent if at <= other < at + 0.2]) <= ONE_ROUND
        b.crash()
        await b.start()
        b.rows("DELETE FROM replica")
        await asyncio.sleep(5)
        assert {job for _, job in kept(b)} == set(jobs)

    simulate(story)


def test_a_job_that_cannot_be_shown_keeps_no_other_from_being_told() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        broken = await a.submit(units=30, on=a)
        await a.jobs._store.write("x", lambda db: db.execute("UPDATE attempt SET variant='NO NAME'"))
        a.submitter._open[broken].attempts[0].variant = "NO NAME"
        other = await a.submit(units=30, on=a)
        await asyncio.sleep(3)
        assert {job for _, job in kept(b)} == {other}
        assert not a.inspecting.done()

    simulate(story)


def test_a_holder_that_reads_nothing_is_sent_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        monkeypatch.setattr(Outbox, "size", 2**20)
        sent = spy(a, Replica)
        await a.submit(units=30, on=a)
        await asyncio.sleep(3)
        assert not sent
        monkeypatch.undo()
        await asyncio.sleep(3)
        assert kept(b)

    simulate(story)


def test_the_work_of_inspection_ends_with_the_node() -> None:
    async def story(world: World) -> None:
        _, b, _ = world.nodes
        b.inspection.hear(world.nodes[0].id, Replica(job=example("e" * 32)))
        b.inspecting.cancel()
        await asyncio.sleep(1)
        assert kept(b) == {}
        assert isinstance(b.inspection, Inspection)

    simulate(story)
