"""A disk that takes nothing for a while: what is not written is not said, and nothing of it stays (routing §8)."""

from __future__ import annotations

import asyncio

import pytest

from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.messages import Result

from .sim import World, simulate, status


def test_an_attempt_whose_end_is_not_on_disk_is_not_listed_as_live() -> None:
    """The peer would wait for it: an attempt without a result is none, even while a full disk keeps its row."""

    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=30, on=b)
        await asyncio.sleep(3)
        b.disk.full = True
        with pytest.raises(StoreError):
            await b.executor.drop_peer(a.id)
        assert b.executor.live(a.id) == []
        await asyncio.sleep(3)
        (first,) = a.rows("SELECT state FROM attempt WHERE job=? AND number=1", job)
        assert first["state"] == "LOST"
        b.disk.full = False
        await asyncio.sleep(20)
        assert not [row for row in b.rows("SELECT number FROM execution") if row["number"] == 1], "forgotten with a heartbeat"
        await asyncio.sleep(40)
        assert status(a, job)[0] == "SUCCEEDED"
        assert not b.executor.results.waiting
        assert not b.rows("SELECT * FROM execution")

    simulate(story)


def test_a_result_that_cannot_be_journalled_is_not_said_and_the_job_runs_again() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        real, dropped, said = b.executor._result, [], []
        send, drop = b.peers.send, b.executor._blobs.drop

        async def then_the_disk_is_full(e, done):
            b.disk.full = True
            world.loop.call_later(20, lambda: setattr(b.disk, "full", False))
            return await real(e, done)

        async def dropping(blob):
            dropped.append(blob)
            await drop(blob)

        b.executor._result = then_the_disk_is_full  # type: ignore[method-assign]
        b.executor._blobs.drop = dropping  # type: ignore[method-assign]
        b.peers.send = lambda peer, m: (said.append(m), send(peer, m))[1]  # type: ignore[method-assign]
        job = await a.submit(units=1, on=b)
        await asyncio.sleep(8)
        b.executor._result = real  # type: ignore[method-assign]
        assert not [m for m in said if isinstance(m, Result)]
        assert b.executor.live(a.id) == []
        assert dropped, "its outputs do not stay"
        await asyncio.sleep(120)
        assert status(a, job)[0] == "SUCCEEDED"
        (first,) = a.rows("SELECT state, message FROM attempt WHERE job=? AND number=1", job)
        assert (first["state"], first["message"]) == ("LOST", "given back: disk")

    simulate(story)


def test_a_stopped_job_is_withdrawn_also_when_the_disk_is_full_by_then() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=300, on=b)
        await asyncio.sleep(3)
        assert b.workers
        world.break_links = lambda: None  # type: ignore[method-assign]
        step = a.jobs.step

        async def full(*args, **more):
            raise StoreError("the disk is full")

        a.jobs.step = full  # type: ignore[method-assign]
        await a.submitter.cancel(job)
        await asyncio.sleep(0.5)  # before any heartbeat tells the other side
        a.jobs.step = step  # type: ignore[method-assign]
        assert not b.workers
        assert status(a, job)[0] == "STOPPED"

    simulate(story)


def test_a_job_that_was_not_accepted_leaves_no_input() -> None:
    async def story(world: World) -> None:
        a, _ = world.nodes
        dropped = []

        async def dropping(blob):
            dropped.append(blob)

        a.submitter._blobs.drop = dropping  # type: ignore[method-assign]
        a.disk.full = True
        with pytest.raises(StoreError):
            await a.submit(units=1)
        assert len(dropped) == 1
        assert not a.submitter.desk.live

    simulate(story)


def test_what_waits_begins_and_nothing_stays_when_a_straggler_is_ended_on_a_full_disk() -> None:
    """What it took cannot be learned then: its end goes on all the same (bench faults, seed 61082)."""

    async def story(world: World) -> None:
        a, b = world.nodes
        first = await a.submit(units=60, on=b)
        await asyncio.sleep(1)
        behind = await a.submit(units=1, on=b)
        (running,) = [e for e in b.executor._held.values() if e.started is not None]
        running.expected_s = 0.01  # it runs longer than predicted
        await asyncio.sleep(1)
        b.disk.full = True
        world.loop.call_later(3, lambda: setattr(b.disk, "full", False))
        await a.submitter.cancel(first)
        await asyncio.sleep(60)
        assert status(a, first)[0] == "STOPPED"
        assert status(a, behind)[0] == "SUCCEEDED"
        assert not b.rows("SELECT * FROM execution")

    simulate(story)
