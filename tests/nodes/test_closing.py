"""A node that ends, ends: also when what its jobs wait for comes in that very moment."""

from __future__ import annotations

import asyncio

import pytest

from moodmesh.nodes.messages import Cancel

from .sim import World, attempts, simulate, spy, status


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


def test_what_runs_elsewhere_runs_on_also_where_its_driver_was_just_about_to_look_at_it() -> None:
    """Its timer and the end come in one step of the loop."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        box.slow = 10.0
        job = await asks.submit(units=4, on=box)
        await asyncio.sleep(1)
        (live,) = asks.submitter.desk.live.values()
        assert live.hedge_at is not None
        said = spy(asks, Cancel)
        closing: list[asyncio.Task[None]] = []
        world.loop.call_at(live.hedge_at - 5e-10, lambda: closing.append(asyncio.ensure_future(asks.submitter.close())))
        await asyncio.sleep(live.hedge_at - world.now() + 0.1)
        assert closing[0].done()
        assert not said
        assert attempts(asks, job) == [(box.id, "RUNNING")]

    simulate(story)
