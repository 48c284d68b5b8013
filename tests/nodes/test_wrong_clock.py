"""A wall clock that was wrong for a while, at either end, costs no result and no fence (routing §8)."""

from __future__ import annotations

import asyncio

from .sim import World, simulate, status


def test_a_clock_that_was_wrong_for_a_while_costs_no_result() -> None:
    """A device without a clock of its own boots in 1970: what it did then is not years old once it knows the time."""

    async def story(world: World) -> None:
        a, _ = world.nodes
        wall, a.clock.wall = a.clock.wall, lambda: 1000.0
        job = await a.submit()
        await asyncio.sleep(5)
        a.clock.wall = wall
        assert await a.jobs.age(600.0, 86400.0) == []
        assert status(a, job)[0] == "SUCCEEDED"
        assert [row["finished"] < 2000 for row in a.rows("SELECT finished FROM job")] == [True]
        open_ = await a.submit(units=1000)
        dropped = await a.jobs.age(86401.0, 86400.0)
        assert len(dropped) == 2, "its input and its output"
        assert [row["id"] for row in a.rows("SELECT id FROM job")] == [open_], "what goes on does not age"

    simulate(story)


def test_a_clock_that_was_wrong_at_the_executor_costs_no_result_and_no_fence() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.mains = True
        b.clock.offset, right = 1000.0, b.clock.offset
        await a.submit(units=10, on=b)
        await asyncio.sleep(2)
        world.islands = [{a.id}]
        await asyncio.sleep(20)
        b.clock.offset = right
        for _ in range(2):
            await b.executor.results.expire(600.0)
            assert len(b.executor.results.waiting) == 1
            assert len(b.rows("SELECT * FROM fence")) == 1
            b.crash()
            await b.start()
        await b.executor.results.expire(86400.0)
        assert not b.executor.results.waiting
        assert not b.rows("SELECT * FROM execution")
        assert len(b.rows("SELECT * FROM fence")) == 1
        await b.executor.results.expire(30 * 86400.0)
        assert not b.rows("SELECT * FROM fence")

    simulate(story)
