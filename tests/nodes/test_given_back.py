"""What a job took is free again when it is gone: its quota, its slot, its place, what is remembered of it."""

from __future__ import annotations

import asyncio

from moodmesh.nodes.messages import Cancel, Granted
from moodmesh.nodes.permissions import Limits

from .sim import PURE, World, simulate, spy, status


def test_a_killed_attempt_no_longer_counts_as_running() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        await b.access.allow(a.id, {"test.*": Limits(concurrent=1, seconds_per_day=1000)}, instead=True)
        first = await a.submit(units=30, on=b)
        await asyncio.sleep(3)
        assert b.access.denial(a.id, PURE, 1, 1) == "concurrent"
        await a.submitter.cancel(first)
        await asyncio.sleep(1)
        assert b.access.denial(a.id, PURE, 1, 1) is None
        second = await a.submit(units=1, on=b)
        await asyncio.sleep(3)
        assert status(a, second)[0] == "SUCCEEDED"

    simulate(story)


def test_a_slot_is_free_only_when_its_worker_is_gone() -> None:
    async def story(world: World) -> None:
        a, _ = world.nodes
        running, most = 0, 0
        real = a.run

        async def slow_to_die(work, emit):
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await real(work, emit)
            except asyncio.CancelledError:
                await asyncio.sleep(1.5)
                raise
            finally:
                running -= 1

        a.run = slow_to_die  # type: ignore[method-assign]
        first = await a.submit(units=20, on=a)
        await asyncio.sleep(1)
        second = await a.submit(units=1, on=a)
        await a.submitter.cancel(first)
        await asyncio.sleep(0.5)
        third = await a.submit(units=1, on=a)  # what comes meanwhile finds no slot either
        await asyncio.sleep(8)
        assert [status(a, job)[0] for job in (second, third)] == ["SUCCEEDED"] * 2
        assert most == 1

    simulate(story)


def test_a_late_grant_is_cancelled_and_its_slot_free_again() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        sent = b.peers.send

        def late(peer, message):
            if isinstance(message, Granted):
                world.loop.call_later(2.0, sent, peer, message)
                return True
            return sent(peer, message)

        b.peers.send = late  # type: ignore[method-assign]
        cancelled = spy(a, Cancel)
        job = await a.submit(units=1)
        a.submitter.look_again()
        await asyncio.sleep(10)
        assert status(a, job)[0] == "SUCCEEDED"
        assert [(peer, m.attempt) for _, peer, m in cancelled] == [(b.id, 1)] * 2, "given up, and when the grant came after all"
        assert not b.executor._held

    simulate(story)


def test_a_job_stopped_before_its_first_step_leaves_nothing_behind() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        for _ in range(5):
            job = await a.submit(units=5, on=b)
            await a.submitter.cancel(job)
        await asyncio.sleep(10)
        assert not a.submitter.desk.live
        assert not a.submitter._open
        assert not b.executor._held
        assert not b.workers

    simulate(story)
