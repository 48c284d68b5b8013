"""Jobs looked at from other devices: what is found, live or as it was last told, and who may stop it (routing §8)."""

from __future__ import annotations

import asyncio

import pytest

from moodmesh.nodes.errors import NotFound, Refused, UsageError
from moodmesh.nodes.jobs.model import Job
from moodmesh.nodes.jobs.replicas import KEPT_S
from moodmesh.nodes.messages import Replica

from .replicas import example, kept, simulate, there
from .sim import World


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


def test_the_work_of_inspection_ends_with_the_node() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        b.inspection.hear(a.id, Replica(job=example("e" * 32)))
        await asyncio.sleep(1)
        b.inspection.hear(a.id, Replica(job=example("f" * 32)))
        b.inspecting.cancel()
        await asyncio.sleep(1)
        assert b.inspecting.cancelled()
        assert set(kept(b)) == {(a.id, "e" * 32)}

    simulate(story)
