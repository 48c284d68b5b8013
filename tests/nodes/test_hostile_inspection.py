"""Attacks on what devices tell each other of jobs: each defence is also taken out, and then they succeed (routing §8)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from moodmesh.nodes.access import Access
from moodmesh.nodes.errors import NotFound, Refused
from moodmesh.nodes.jobs import inspection, replicas
from moodmesh.nodes.jobs.model import Job
from moodmesh.nodes.jobs.replicas import BURST_BYTES, MOST_BYTES, MOST_JOBS, Elsewhere, Replicas
from moodmesh.nodes.messages import Inspect, Inspected, Replica
from moodmesh.nodes.permissions import Limits

from .replicas import example, kept, simulate, there
from .sim import SEE, World, spy


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
        assert count["n"] == (900 if mutation == "surplus" else MOST_JOBS)
        lines = [{"attempt": 1, "seq": n, "at": 0.0, "line": "x" * 200} for n in range(20)]
        large = example("f" * 32, lines=lines, given=["y" * 64] * 64)
        before = len(large.model_dump_json())
        for n in range(1 + MOST_BYTES // before // 20):
            for m in range(30):
                b.inspection.hear(c.id, Replica(job=large.model_copy(update={"id": f"{n:016x}{m:016x}"})))
            await asyncio.sleep(1)
        (row,) = b.rows("SELECT sum(size) AS bytes FROM replica WHERE owner=?", c.id)
        assert (MOST_BYTES / 2 < row["bytes"] <= MOST_BYTES) == (mutation != "surplus")
        await asyncio.sleep(1)
        b.rows("DELETE FROM replica WHERE owner=?", c.id)
        for m in range(200):
            b.inspection.hear(c.id, Replica(job=large.model_copy(update={"id": f"{m:032x}"})))
        waiting = sum(map(len, b.inspection.replicas._waiting[c.id].values()))
        assert (BURST_BYTES / 2 < waiting <= BURST_BYTES) == (mutation != "burst")
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
        assert len(sent) == (inspection.AT_ONCE if defended else 500)
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
