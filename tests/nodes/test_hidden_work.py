"""Work that a device hides behind a wait: it says late that it began, or never; an honest queue is not held against it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from moodmesh.nodes.messages import StartedAt
from moodmesh.nodes.pool.seam import Done, Event, Work

from .sim import Node, World, attempts, held, simulate, status
from .test_faulty_executors import fast


def hides(node: Node, *, still_waits: bool) -> None:
    """It works far longer than it claims and signs for, and says that it began once it is done. Meanwhile it says
    nothing, or that the attempt still waits for its turn."""
    fast(node)
    node.slow = 100.0 if still_waits else 40.0
    node.executor._tell_started = lambda e: None  # type: ignore[method-assign]
    usual, live = node.executor._deliver, node.executor.live

    async def deliver(e: Any, result: Any) -> None:
        node.peers.send(e.held.requester, StartedAt(job=e.held.job, attempt=e.held.number, load_s=0.0, ago_s=0.0))
        await usual(e, result)

    node.executor._deliver = deliver  # type: ignore[method-assign]
    if still_waits:
        node.executor.live = lambda peer: [one.model_copy(update={"start_in_s": 0.1}) for one in live(peer)]  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("still_waits", "alone", "known"), [(False, True, True), (False, False, True), (True, True, True), (True, False, False)]
)
def test_a_device_that_says_late_that_it_began_is_corrected(still_waits: bool, alone: bool, known: bool) -> None:
    """Also where a rival always wins. It says 1 s and takes 40 or 100; here it would be 10 s. Only who says time and again that
    it is about to begin, and then is overtaken, has shown nothing that an honest queue does not: it costs each job as long
    again as its rival takes."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        hides(box, still_waits=still_waits)
        await asyncio.sleep(2)
        first = []
        for _ in range(10):
            began, job = world.now(), await asks.submit(units=10, on=box if alone and not first[7:] else None)
            while status(asks, job)[0] in ("PENDING", "RUNNING"):
                await asyncio.sleep(0.5)
            first.append(attempts(asks, job)[0][0])
        assert first[0] == box.id
        assert first[-2:] == [asks.id if known else box.id] * 2
        assert world.now() - began < (11 if known else 23)

    simulate(story)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_device_whose_queue_takes_longer_than_it_thought_is_not_corrected_for_what_waits_there(cancelled: bool) -> None:
    """What is ahead of it belongs to another submitter, and takes five times as long as predicted."""

    async def story(world: World) -> None:
        asks, box, other = world.nodes
        fast(box)
        await asyncio.sleep(2)
        for _ in range(3):
            box.slow = 5.0
            await other.submit(units=20.0, on=box)
            await asyncio.sleep(0.2)
            box.slow = 1.0
            job = await asks.submit(units=1.0, on=box)
            await asyncio.sleep(8)
            assert held(asks, job) == [(box.id, "STAGING")]
            if cancelled:
                await asks.submitter.cancel(job)
            await asyncio.sleep(5)
            assert attempts(asks, job) == [(box.id, "CANCELLED" if cancelled else "COMMITTED")]
        assert asks.peers.peers[box.id].correction < 0.1

    simulate(story, 3)


@pytest.mark.parametrize("said", [True, False])
def test_a_device_that_has_to_load_its_model_is_not_corrected_for_that(said: bool) -> None:
    """Nobody expected it, and it is said when it is done; were it not said, it would count."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        usual, run = box.executor._tell_started, box.run

        async def loads(work: Work, emit: Callable[[Event], None]) -> Done:
            await asyncio.sleep(20)
            return await run(work, emit)

        def tell(e: Any) -> None:
            e.load_s = 20.0 if said else 0.0
            usual(e)

        box.run, box.executor._tell_started = loads, tell  # type: ignore[method-assign]
        job = await asks.submit(units=1.0, on=box)
        await asyncio.sleep(22)
        assert attempts(asks, job) == [(box.id, "COMMITTED")]
        assert (asks.peers.peers[box.id].correction > 0.5) == (not said)

    simulate(story)
