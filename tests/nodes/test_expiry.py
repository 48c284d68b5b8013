"""`--expire T` stops a job without a result, wherever it is by then; its time goes on over a restart (routing §8)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from moodmesh.nodes.jobs.expiry import left_s
from moodmesh.nodes.jobs.model import Job, Spec
from moodmesh.nodes.messages import Blob

from .sim import PURE, Node, World, simulate

SPEC = Spec(PURE, 1, {"units": 30.0}, 30.0, 5, 10, False, False, 1, expire_s=10.0)


def ended(node: Node, job: str) -> tuple[str, str, str]:
    (row,) = node.rows("SELECT status, substate, message FROM job WHERE id=?", job)
    return tuple(row)  # type: ignore[return-value]


EXPIRED = ("STOPPED", "expired", "it had no result 10 s after its submission (--expire)")


def test_the_time_that_is_left() -> None:
    job = Job("j" * 32, SPEC, Blob.of(b""), 1000.0)
    assert [left_s(job, wall) for wall in (1000.0, 1004.0, 1010.0, 5000.0, 0.0)] == [10.0, 6.0, 0.0, 0.0, 10.0]
    assert left_s(Job("j" * 32, replace(SPEC, expire_s=None, by_s=1.0), Blob.of(b""), 0.0), 5000.0) is None


def test_a_job_that_runs_is_stopped_in_time_and_its_worker_is_gone() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job, done = await a.submit(units=30, on=b, expire_s=10.0), await a.submit(units=2, on=a, expire_s=10.0)
        await asyncio.sleep(9.5)
        assert (ended(a, job)[0], ended(a, done)[0]) == ("RUNNING", "SUCCEEDED")
        assert list(a.submitter._expiring) == [job], "of one that has a result nothing is left"
        await asyncio.sleep(3)
        assert ended(a, job) == EXPIRED
        assert not b.workers
        assert not a.submitter._open
        assert not a.submitter._expiring

    simulate(story)


def test_a_job_that_waits_for_a_device_is_stopped_too_and_one_without_the_option_is_not() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.crash()
        waiting, patient = await a.submit(units=30, on=b, expire_s=10.0), await a.submit(on=b)
        await asyncio.sleep(11)
        assert ended(a, waiting) == EXPIRED
        await asyncio.sleep(3600)
        assert ended(a, patient)[0] == "PENDING"

    simulate(story)


@pytest.mark.parametrize("down_s", [3.0, 60.0])
def test_its_time_goes_on_while_its_device_is_down(down_s: float) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        began, job = world.now(), await a.submit(units=30, on=b, expire_s=10.0)
        await asyncio.sleep(3)
        a.crash()
        await asyncio.sleep(down_s)
        await a.start()
        await asyncio.sleep(max(0.2, began + 10.2 - world.now()))
        assert ended(a, job) == EXPIRED
        await asyncio.sleep(10)
        assert not b.workers

    simulate(story)


def test_a_full_disk_only_delays_it() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=100, on=b, expire_s=10.0)
        await asyncio.sleep(3)
        a.disk.full = True
        await asyncio.sleep(12)
        assert ended(a, job)[0] == "RUNNING"
        a.disk.full = False
        await asyncio.sleep(6)
        assert ended(a, job) == EXPIRED

    simulate(story)


@pytest.mark.parametrize("expires", [True, False])
def test_who_runs_it_ends_it_in_time_while_its_owner_is_away(expires: bool) -> None:
    async def story(world: World) -> None:
        a, _, c = world.nodes
        spec = replace(SPEC, on=c.id, expire_s=20.0 if expires else None)
        began, job = world.now(), await a.world.loop.create_task(a.submitter.submit(spec, b"input"), context=a._context())
        await asyncio.sleep(3)
        a.crash()
        await asyncio.sleep(began + 19.8 - world.now())
        assert c.workers, "it runs on for as long as somebody may want it"
        await asyncio.sleep(0.5)
        assert bool(c.workers) == (not expires)
        await asyncio.sleep(30)
        await a.start()
        await asyncio.sleep(5)
        assert ended(a, job.id)[:2] == (("STOPPED", "expired") if expires else ("SUCCEEDED", ""))

    simulate(story, 3)


def test_what_expires_before_its_lease_ends_does_not_run_on_at_all() -> None:
    async def story(world: World) -> None:
        a, _, c = world.nodes
        await a.submit(units=30, on=c, expire_s=10.0)
        await asyncio.sleep(6)
        a.crash()
        await asyncio.sleep(5.5)
        assert not c.workers

    simulate(story, 3)


def test_an_owner_that_is_back_in_time_ends_it_itself() -> None:
    async def story(world: World) -> None:
        a, _, c = world.nodes
        spec = replace(SPEC, on=c.id, expire_s=20.0)
        job = await a.world.loop.create_task(a.submitter.submit(spec, b"input"), context=a._context())
        await asyncio.sleep(3)
        a.crash()
        await asyncio.sleep(10)
        await a.start()
        await asyncio.sleep(6)
        assert c.workers
        await asyncio.sleep(3)
        assert not c.workers
        assert ended(a, job.id)[:2] == ("STOPPED", "expired")

    simulate(story, 3)
