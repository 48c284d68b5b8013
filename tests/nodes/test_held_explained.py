"""`job explain` of a job that is held back: it does not name as chosen the device that it does not go to."""

from __future__ import annotations

import asyncio

from moodmesh.nodes.jobs.seen import seen, table
from moodmesh.nodes.placement import explain

from .sim import World, simulate


def test_a_job_that_is_held_back_has_a_best_device_and_no_chosen_one() -> None:
    async def story(world: World) -> None:
        slow, fast = world.nodes
        fast.crash()
        await asyncio.sleep(6)
        slow.offers._mean = 20.0
        key = await slow.submit(units=60)
        await asyncio.sleep(1)
        job = slow.submitter._open[key]
        assert job.substate == "pooled"
        now = explain.summary(slow.submitter.placement(job))
        told = seen(job, {}, own=True).now
        for found in (job.explain, now, table(told, slow.id)):
            assert found["chosen"] is None
            assert found["why"].startswith("held back, though node is the only device that may run tiny")
            said = [line for line in explain.table(found) if "best now, but held back" in line]
            assert len(said) == 1
            assert "node" in said[0]
            assert not any(line.endswith("chosen") for line in explain.table(found))
        assert now["best"]["device"] == slow.id

    simulate(story)
