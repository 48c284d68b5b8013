"""How soon a job runs elsewhere when its device is gone (routing §7)."""

from __future__ import annotations

import asyncio

from moodmesh.nodes.jobs.executor import GRACE_S, LEASE_S

from .sim import Node, World, simulate


async def elsewhere(world: World, job: str, device: Node) -> float:
    """The seconds from now until the job starts on another device."""
    began = world.now()
    while not [ran for ran in world.ran if ran[0] == job and ran[2] != device.id]:
        assert world.now() < began + 30
        await asyncio.sleep(0.001)
    return world.now() - began


def test_what_ran_on_a_device_that_dies_runs_elsewhere_within_half_a_second() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30)
        await asyncio.sleep(2)
        assert b.workers, "the fastest"
        b.crash()
        assert 0.2 < await elsewhere(world, job, b) <= 0.5, "after a moment in which it may come back"

    simulate(story, count=3)


def test_what_ran_on_a_device_that_falls_silent_runs_elsewhere_within_five_seconds_and_its_worker_ends_with_the_lease() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30)
        await asyncio.sleep(2)
        assert b.workers, "the fastest"
        while world.now() - a.peers.peers[b.id].heard > 0.002:  # silent right after a word: the longest that it can take
            await asyncio.sleep(0.001)
        world.islands = [{b.id}]
        began = world.now()
        assert 4.0 < await elsewhere(world, job, b) <= 4.9
        assert b.workers, "its lease has not ended"
        while b.workers:
            await asyncio.sleep(0.01)
        assert 3.9 < world.now() - began <= LEASE_S + GRACE_S

    simulate(story, count=3)
