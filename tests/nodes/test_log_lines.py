"""What a task writes while its submitter does not hear it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from moodmesh.nodes.jobs.execution import LINES_AGAIN
from moodmesh.nodes.pool.seam import Done, Event, Log, Work

from .sim import Node, World, simulate, status


def talks(node: Node, every_s: float) -> None:
    """Its tasks write a line now and then."""
    usual = node.run

    async def run(work: Work, emit: Callable[[Event], None]) -> Done:
        async def say() -> None:
            for number in range(1, 10_000):
                await asyncio.sleep(every_s)
                emit(Log(f"line {number}"))

        saying = asyncio.create_task(say())
        try:
            return await usual(work, emit)
        finally:
            saying.cancel()

    node.run = run  # type: ignore[method-assign]


def lines(node: Node, job: str) -> list[tuple[int, str]]:
    return [(row["seq"], row["line"]) for row in node.rows("SELECT seq, line FROM job_log WHERE job=? ORDER BY seq", job)]


async def answered(world: World, job: str, away: Callable[[], None]) -> None:
    """Its submitter does not hear it for a while."""
    asks, box = world.nodes
    box.mains = True
    await asyncio.sleep(5)
    away()
    await asyncio.sleep(3.5)
    if asks.dead:
        await asks.start()
    world.islands = []
    await asyncio.sleep(30)
    assert status(asks, job)[0] == "SUCCEEDED"


@pytest.mark.parametrize("how", ["restarted", "link lost"])
def test_lines_of_the_time_without_a_link_arrive_once_it_is_there_again(how: str) -> None:
    async def story(world: World) -> None:
        asks, box = world.nodes
        talks(box, 0.5)
        job = await asks.submit(units=24.8 / box.mean, on=box)
        await answered(world, job, asks.crash if how == "restarted" else world.break_links)
        assert lines(asks, job) == [(n, f"line {n}") for n in range(1, 50)]
        assert len(world.ran) == 1

    simulate(story)


def test_lines_that_are_too_many_to_be_said_again_are_counted() -> None:
    async def story(world: World) -> None:
        asks, box = world.nodes
        talks(box, 0.01)
        job = await asks.submit(units=24.8 / box.mean, on=box)
        await answered(world, job, asks.crash)
        found = lines(asks, job)
        (gap,) = [at for at, (_, line) in enumerate(found) if not line.startswith("line")]
        seq, words = found[gap]
        before, after = found[gap - 1][0], found[gap + 1][0]
        assert words == f"{after - before - 1} lines did not arrive"
        assert seq == after - 1
        assert after - before > LINES_AGAIN / 4
        assert [n for n, _ in found[gap + 1 :]] == list(range(after, found[-1][0] + 1)), "and no other is missing"

    simulate(story)
