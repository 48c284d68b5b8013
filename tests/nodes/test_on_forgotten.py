"""A job with `--on` whose device is forgotten meanwhile says so, and what helps."""

from __future__ import annotations

import asyncio

from .sim import World, simulate


def test_a_job_for_a_device_that_is_no_longer_paired_says_so_and_what_to_do() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        b.crash()
        await asyncio.sleep(1)
        key = await a.submit(on=b)
        await asyncio.sleep(1)
        assert "the job asks for another device" in a.submitter._open[key].message, "it is absent, and paired"
        a.peers._remove(b.id)
        await asyncio.sleep(1)
        job = a.submitter._open[key]
        assert job.status == "PENDING"
        assert f"the device it asks for with --on ({b.id[:8]}) is no longer paired" in job.message
        assert "`moodmesh pair`" in job.message
        assert f"`moodmesh job cancel {key[:8]}`" in job.message
        assert "another device" not in job.message
        assert len(job.message) <= 200, "other devices are told it whole"
        a.peers._add(b.id, "b")
        await b.start()
        await asyncio.sleep(5)
        assert (await a.jobs.find(key))[0].status == "SUCCEEDED"

    simulate(story, 3)
