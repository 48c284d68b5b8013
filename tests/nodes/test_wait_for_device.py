"""`--wait-for-device T`: how long no device may be able to run a job, from when none can (routing §8)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from moodmesh.nodes.jobs.model import Spec
from moodmesh.nodes.jobs.seen import seen

from .sim import PURE, Node, World, simulate, status

SPEC = Spec(PURE, 1, {"units": 1.0}, 1.0, 5, 10, False, False, 1, wait_s=10.0)


async def ask(node: Node, on: Node, units: float = 1.0) -> str:
    spec = replace(SPEC, params={"units": units}, units=units, on=on.id)
    job = await node.world.loop.create_task(node.submitter.submit(spec, b"input"), context=node._context())
    return job.id


def test_a_job_that_no_device_can_run_for_so_long_fails_and_others_wait_as_configured() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.crash()
        await asyncio.sleep(1)
        job, patient = await ask(a, b), await a.submit(on=b)
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
        job = await ask(a, b, units=60)
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
        job = await ask(a, b)
        await asyncio.sleep(5)
        await b.start()
        await b.submit(units=60)
        await asyncio.sleep(6)
        assert [attempt.state for attempt in a.submitter._open[job].attempts] == ["RESERVED"]
        b.crash()
        await asyncio.sleep(5)
        assert status(a, job)[0] == "PENDING"
        await asyncio.sleep(10)
        assert status(a, job) == ("FAILED", "no_capable_device")

    simulate(story)


def test_who_adopts_the_job_waits_as_long() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        (job,) = [a.submitter._open[await ask(a, b, units=9)]]
        assert seen(job, {}, own=True).wait_s == 10.0

    simulate(story)
