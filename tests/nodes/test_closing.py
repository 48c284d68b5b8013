"""A node that ends, ends: also when what its jobs wait for comes in that very moment."""

from __future__ import annotations

import asyncio

import pytest

from .sim import World, simulate, status


@pytest.mark.parametrize("steps", range(6))
def test_jobs_that_wait_for_a_device_do_not_hold_up_the_end_when_they_are_just_looked_at(steps: int) -> None:
    """So many steps of the loop after something changed, their drivers are cancelled."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        box.crash()
        await asyncio.sleep(6)
        jobs = [await asks.submit(on=box) for _ in range(3)]
        await asyncio.sleep(0.5)
        asks.submitter.look_again()
        for _ in range(steps):
            await asyncio.sleep(0)
        closing = asyncio.create_task(asks.submitter.close())
        await asyncio.sleep(1)
        assert closing.done()
        assert [status(asks, job)[0] for job in jobs] == ["PENDING"] * 3

    simulate(story)
