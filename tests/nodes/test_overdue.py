"""What the owner of a job is told while no second attempt can help it: that it is far behind, and what ends it."""

from __future__ import annotations

import asyncio

import pytest

from moodmesh.nodes.cli.jobs import describe, explained
from moodmesh.nodes.placement.hedge import far_after

from .sim import EFFECTS, PURE, Node, World, attempts, held, simulate, status


async def hangs(owner: Node, where: Node, task: str, *, on: bool) -> None:
    """Its owner is told after four times what was predicted, not before; it goes on until it is cancelled."""
    where.slow = 1e9
    job = await owner.submit(task, units=2 / where.mean, on=where if on else None)
    held = owner.submitter._open[job]
    await asyncio.sleep(7.5)
    assert held.message == ""
    await asyncio.sleep(3)
    said = (
        f"attempt 1 takes far longer than the 2 s predicted on {owner.peers.names()[where.id]}; `moodmesh job cancel` ends it"
    )
    assert held.message == said
    await asyncio.sleep(120)
    assert (status(owner, job)[0], held.message) == ("RUNNING", said)
    assert where.workers, "it may be alive all the same: that is for its owner to judge"
    await owner.submitter.cancel(job)
    await asyncio.sleep(3)
    assert (status(owner, job)[0], held.message) == ("STOPPED", "")
    assert not where.workers


@pytest.mark.parametrize(("task", "on"), [(PURE, True), (EFFECTS, False)])
def test_the_owner_of_work_that_hangs_and_may_have_no_rival_is_told(task: str, on: bool) -> None:
    async def story(world: World) -> None:
        await hangs(*world.nodes, task, on=on)

    simulate(story)


def test_the_owner_of_work_that_hangs_on_the_only_device_is_told() -> None:
    async def story(world: World) -> None:
        (one,) = world.nodes
        await hangs(one, one, PURE, on=False)

    simulate(story, 1)


def test_a_third_device_has_the_job_when_two_attempts_hang() -> None:
    """Which hold it no longer than each may: a rival that hangs itself is none."""

    async def story(world: World) -> None:
        asks, box, other = world.nodes
        box.slow = other.slow = 1e9
        asks.submitter.desk.budget._tokens = 1.0
        job = await asks.submit(units=2)
        await asyncio.sleep(10)
        assert held(asks, job) == [(box.id, "RUNNING"), (other.id, "RUNNING")]
        await asyncio.sleep(far_after(1.6) - 10)
        assert len(held(asks, job)) == 2, "so long its rival may be alive"
        await asyncio.sleep(10)
        assert attempts(asks, job)[2:] == [(asks.id, "COMMITTED")]
        await asyncio.sleep(3)
        assert not box.workers
        assert not other.workers

    simulate(story, 3)


def test_the_owner_is_told_of_each_attempt_that_hangs_and_no_device_has_two() -> None:
    async def story(world: World) -> None:
        asks, box, other = world.nodes
        asks.slow = box.slow = other.slow = 1e9
        job = await asks.submit(units=2)
        kept = asks.submitter._open[job]
        await asyncio.sleep(7)
        names = asks.peers.names()
        first = f"attempt 1 takes far longer than the 1.2 s predicted on {names[box.id]}"
        assert kept.message == f"{first}; `moodmesh job cancel` ends it"
        assert len(held(asks, job)) == 2
        await asyncio.sleep(600)
        assert held(asks, job) == [(node.id, "RUNNING") for node in (box, other, asks)]
        assert [f"attempt {n}" in kept.message for n in (1, 2, 3)] == [True] * 3
        box.crash()
        await asyncio.sleep(10)
        assert [f"attempt {n}" in kept.message for n in (1, 2, 3)] == [False, True, True]
        await asks.submitter.cancel(job)

    simulate(story, 3)


def test_what_ends_after_all_is_not_called_late_any_more() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.slow = 20.0
        job = await a.submit(units=2, on=b)
        held = a.submitter._open[job]
        await asyncio.sleep(20)
        assert "far longer" in held.message
        await asyncio.sleep(10)
        assert (held.status, held.message) == ("SUCCEEDED", "")

    simulate(story)


def test_show_and_explain_of_a_job_that_runs_say_it() -> None:
    job = {
        "id": "7f3a" * 8, "task": "t", "status": "RUNNING", "substate": "running", "message": "far longer", "share": 0.0,
        "ran_on": None, "owner_here": True, "adopted_from": None, "quality": None, "attempts": [], "tables": [], "now": None,
    }  # fmt: skip
    assert "  far longer" in describe(job)
    assert "far longer" in explained(job)
