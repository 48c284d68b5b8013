"""Which devices are told of a job, how often, and how long they keep it (routing §8)."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from moodmesh.nodes.jobs.replicas import KEPT_S
from moodmesh.nodes.jobs.replication import ONE_ROUND
from moodmesh.nodes.messages import Inspected, Replica
from moodmesh.nodes.outbox import Outbox

from .replicas import example, kept, simulate, there
from .sim import SEE, World, spy


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


@pytest.mark.parametrize("one", range(1, 5))
def test_who_may_not_see_takes_no_place_of_one_who_may(one: int) -> None:
    async def story(world: World) -> None:
        job = await world.nodes[0].submit(units=30)
        await asyncio.sleep(2)
        assert [node for node in world.nodes if (world.nodes[0].id, job) in kept(node)] == [world.nodes[one]]

    simulate(story, 5, ((0, one),))


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
            assert len(await b.inspection.newest(10)) == (late < KEPT_S)
        await b.inspection.replicas.expire()
        assert kept(b) == {}

    simulate(story)
