"""`--wait-for-device T`: how long no device may be able to run a job, from when none can (routing §8)."""

from __future__ import annotations

import asyncio

from moodmesh.nodes.jobs.seen import seen

from .sim import World, held, simulate, status


def test_a_job_that_no_device_can_run_for_so_long_fails_and_others_wait_as_configured() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.crash()
        await asyncio.sleep(1)
        job, patient = await a.submit(on=b, wait_s=10.0), await a.submit(on=b)
        await asyncio.sleep(9)
        assert status(a, job)[0] == "PENDING"
        await asyncio.sleep(2)
        assert status(a, job) == ("FAILED", "no_capable_device")
        await asyncio.sleep(3600)
        assert status(a, patient)[0] == "PENDING"

    simulate(story)


def test_the_time_begins_when_no_device_can_run_it_and_not_with_the_submission() -> None:
    """A long job whose only device is gone for a moment goes on when that is back."""

    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=60, on=b, wait_s=10.0)
        await asyncio.sleep(20)
        b.crash()
        await asyncio.sleep(8)
        assert status(a, job)[0] == "PENDING"
        await b.start()
        await asyncio.sleep(5)
        assert status(a, job)[0] == "RUNNING"
        b.crash()
        await asyncio.sleep(9)
        assert status(a, job)[0] == "PENDING", "it had a device meanwhile: the time begins anew"
        await asyncio.sleep(3)
        assert status(a, job) == ("FAILED", "no_capable_device")

    simulate(story)


def test_a_place_in_a_queue_is_a_device_too() -> None:
    """It waited for a device, then in one's queue: when that is lost, the time begins anew."""

    async def story(world: World) -> None:
        a, b = world.nodes
        b.crash()
        await asyncio.sleep(1)
        job = await a.submit(on=b, wait_s=10.0)
        await asyncio.sleep(5)
        await b.start()
        await b.submit(units=60)
        await asyncio.sleep(6)
        assert held(a, job) == [(b.id, "RESERVED")]
        b.crash()
        await asyncio.sleep(5)
        assert status(a, job)[0] == "PENDING"
        await asyncio.sleep(10)
        assert status(a, job) == ("FAILED", "no_capable_device")

    simulate(story)


def test_who_adopts_the_job_waits_as_long() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        (job,) = [a.submitter._open[await a.submit(units=9, on=b, wait_s=10.0)]]
        assert seen(job, {}, own=True).wait_s == 10.0

    simulate(story)
