"""Answers that are handed on part by part (routing §8): each part once, in order, whatever device dies on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from moodmesh.nodes.jobs import intake
from moodmesh.nodes.jobs.outgoing import WINDOW
from moodmesh.nodes.jobs.parts import join, split
from moodmesh.nodes.messages import PartAck, Reserve, Result, Start, StreamedPart
from moodmesh.nodes.placement.gates import Gate
from moodmesh.nodes.pool.seam import AttemptFailed, Done, Event, Part, Started, Work

from . import sim
from .sim import PARTS, PURE, STREAM, World, attempts, part_of, parts, simulate, spy, status
from .streams import UNITS, log_of, same_pace, whole


def test_parts_are_here_long_before_the_end_and_none_is_said_twice() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        sent, acked = spy(b, StreamedPart), spy(a, PartAck)
        job = await a.submit(STREAM, UNITS, on=b)
        await asyncio.sleep(4)
        assert status(a, job) == ("RUNNING", "running")
        assert 0 < len(parts(a, job)) < PARTS
        assert a.submitter._open[job].parts == len(parts(a, job))
        await asyncio.sleep(10)
        assert status(a, job)[0] == "SUCCEEDED"
        assert parts(a, job) == whole(job)
        assert [message.index for _, _, message in sent] == list(range(PARTS))
        assert [message.held for _, _, message in acked] == list(range(1, PARTS + 1))
        assert not b.rows("SELECT * FROM execution")

    simulate(story)


def test_a_part_is_on_disk_before_it_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        send = a.peers.send

        def sending(peer: Any, message: Any) -> bool:
            if isinstance(message, PartAck):
                assert len(parts(a, message.job)) >= message.held
            return send(peer, message)

        a.peers.send = sending  # type: ignore[method-assign]
        job = await a.submit(STREAM, UNITS, on=b)
        await asyncio.sleep(14)
        assert (status(a, job)[0], len(attempts(a, job))) == ("SUCCEEDED", 1)

    simulate(story)


def test_the_next_attempt_goes_on_after_what_is_here() -> None:
    async def story(world: World) -> None:
        same_pace(world)
        a, b, c = world.nodes
        await asyncio.sleep(1)
        started, reserved = spy(a, Start), spy(a, Reserve)
        job = await a.submit(STREAM, UNITS)
        await asyncio.sleep(4)
        first = next(n for n in (a, b, c) if n.id == attempts(a, job)[0][0])
        assert first is a, "nothing is faster elsewhere"
        first.gate = lambda peer, ask: Gate("power", "unplugged")
        first.executor.give_back()
        held = len(parts(a, job))
        assert 0 < held < PARTS
        await asyncio.sleep(12)
        assert status(a, job)[0] == "SUCCEEDED"
        assert [state for _, state in attempts(a, job)] == ["LOST", "COMMITTED"]
        assert parts(a, job) == whole(job)
        assert [row["attempt"] for row in a.rows("SELECT attempt FROM part ORDER BY number")] == [1] * held + [2] * (
            PARTS - held
        )
        packed = join(whole(job)[:held])
        assert [split(m.parts.data()) for _, _, m in started] == [[], whole(job)[:held]]
        assert [m.input_bytes for _, _, m in reserved] == [5, 5 + len(packed)]
        (found,) = await a.jobs.find(job)
        assert f"went on after part {held - 1}, {held} were here" in found.attempts[1].explain["why"]
        assert "went on" not in found.attempts[0].explain["why"]

    simulate(story, 3)


def test_a_killed_device_costs_no_part_and_a_killed_submitter_keeps_them() -> None:
    async def story(world: World) -> None:
        same_pace(world)
        a, b, c = world.nodes
        await asyncio.sleep(1)
        b.slow = c.slow = 1.0
        a.gate = lambda peer, ask: Gate("power", "unplugged")
        job = await a.submit(STREAM, UNITS)
        await asyncio.sleep(4)
        first = next(n for n in (b, c) if n.id == attempts(a, job)[-1][0])
        first.crash()
        await asyncio.sleep(2.5)
        before = parts(a, job)
        a.crash()
        await a.start()
        assert parts(a, job)[: len(before)] == before
        assert len(before) >= 2
        await asyncio.sleep(20)
        assert status(a, job)[0] == "SUCCEEDED"
        assert parts(a, job) == whole(job)

    simulate(story, 3)


def test_a_cut_link_says_again_what_was_lost_with_it_and_nothing_else() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(STREAM, UNITS, on=b)
        await asyncio.sleep(3)
        sent = spy(b, StreamedPart)
        held = len(parts(a, job))
        world.break_links()
        await asyncio.sleep(12)
        assert (status(a, job)[0], len(attempts(a, job))) == ("SUCCEEDED", 1)
        assert [message.index for _, _, message in sent] == list(range(held, PARTS))

    simulate(story)


def test_what_was_made_while_no_link_stood_is_said_at_once_when_one_does() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(STREAM, UNITS * 10, on=b)
        await asyncio.sleep(14)
        e = next(iter(b.executor._held.values()))
        assert e.held.parts is not None
        e.held.parts.add(1, part_of(job, 1))
        e.held.parts.sent = 2  # it was said, to a link that was about to break
        held = len(parts(a, job))
        world.break_links()
        await asyncio.sleep(1.0)
        assert (held, len(parts(a, job))) == (1, 2)

    simulate(story)


def test_what_was_lost_on_a_link_that_stands_is_said_again() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        hear, lost = a.submitter.hear, []

        async def deaf(peer: Any, message: Any) -> None:
            if isinstance(message, StreamedPart) and message.index == 2 and len(lost) < 2:
                lost.append(message)
            else:
                await hear(peer, message)

        a.submitter.hear = deaf  # type: ignore[method-assign]
        job = await a.submit(STREAM, UNITS * 10, on=b)
        await asyncio.sleep(36)
        assert not parts(a, job)[2:]
        await asyncio.sleep(20)
        assert len(lost) == 2
        assert status(a, job)[0] == "RUNNING", "long before the result"
        assert 2 < len(parts(a, job)) < PARTS
        await asyncio.sleep(60)
        assert status(a, job)[0] == "SUCCEEDED"
        assert parts(a, job) == whole(job)

    simulate(story)


def test_no_more_than_a_window_is_on_its_way_and_the_result_comes_last() -> None:
    """Nobody acknowledges: nothing piles up for the link, and the result waits with the parts, also over a restart."""

    async def story(world: World) -> None:
        a, b = world.nodes
        hear = b.executor.hear

        async def deaf(peer: Any, message: Any) -> None:
            if not isinstance(message, PartAck):
                await hear(peer, message)

        b.executor.hear = deaf  # type: ignore[method-assign]
        sent = spy(b, StreamedPart, Result)
        job = await a.submit(STREAM, 4.0, on=b)
        await asyncio.sleep(20)
        assert {message.index for _, _, message in sent} == set(range(WINDOW)), "and no result"
        assert parts(a, job) == whole(job)[:WINDOW]
        assert b.rows("SELECT first_part, phase FROM execution")[0]["phase"] == "DELIVERING"
        b.crash()
        await b.start()
        await asyncio.sleep(8)
        assert (status(a, job)[0], len(attempts(a, job))) == ("SUCCEEDED", 1)
        assert parts(a, job) == whole(job)
        assert not b.rows("SELECT * FROM execution")

    simulate(story)


def test_a_worker_that_dies_is_tried_again_in_the_device_after_what_it_made() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        works: list[tuple[bytes, ...]] = []
        usual = b._streamed

        async def dies_once(work: Work, emit: Callable[[Event], None]) -> Done:
            works.append(work.parts)
            if len(works) == 1:
                emit(Started(1, b.clock.now(), 0.0))
                for index in range(3):
                    emit(Part(index, part_of(work.attempt.split("-")[1], index)))
                raise AttemptFailed("worker_lost", "killed")
            return await usual(work, emit)

        b._streamed = dies_once  # type: ignore[method-assign]
        job = await a.submit(STREAM, UNITS, on=b)
        await asyncio.sleep(12)
        assert works == [(), tuple(whole(job)[:3])]
        assert (status(a, job)[0], len(attempts(a, job))) == ("SUCCEEDED", 1)
        assert parts(a, job) == whole(job)

    simulate(story)


def test_a_worker_whose_parts_are_out_of_order_fails_and_another_device_goes_on() -> None:
    """The worker's own context refuses them first; a plug-in that goes round it meets the executor."""

    async def story(world: World) -> None:
        same_pace(world)
        a, b, _ = world.nodes
        b.mean = b.offers._mean = 0.2
        b.peers.retell()
        await asyncio.sleep(1)

        async def skips(work: Work, emit: Callable[[Event], None]) -> Done:
            emit(Started(1, b.clock.now(), 0.0))
            emit(Part(0, part_of(work.attempt.split("-")[1], 0)))
            await b.clock.sleep(0.5)
            emit(Part(2, b"two"))
            return Done({"ok": 1})

        b.run = skips  # type: ignore[method-assign]
        job = await a.submit(STREAM, UNITS)
        await asyncio.sleep(30)
        assert attempts(a, job)[0] == (b.id, "ERRORED")
        assert status(a, job)[0] == "SUCCEEDED"
        assert parts(a, job) == whole(job)

    simulate(story, 3)


def test_a_job_that_is_stopped_takes_no_further_part_and_keeps_those_that_came() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(STREAM, UNITS, on=b)
        await asyncio.sleep(4)
        held = parts(a, job)
        await a.submitter.cancel(job)
        await asyncio.sleep(10)
        assert status(a, job) == ("STOPPED", "by user")
        assert 0 < len(held) < PARTS
        assert parts(a, job) == held
        assert not b.executor._held
        (found,) = await a.jobs.find(job)
        assert not await a.jobs.keep_part(found, 1, b"late"), "a job that has ended takes none"
        await a.jobs.forget(job)
        assert not a.rows("SELECT * FROM part")

    simulate(story)


def test_a_part_is_kept_once_by_the_disk_itself() -> None:
    """Whoever counts wrong, from an older look at the job, adds nothing."""

    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(STREAM, UNITS, on=b)
        (stale,) = await a.jobs.find(job)
        assert stale.parts == 0
        await asyncio.sleep(4)
        held = parts(a, job)
        assert held
        assert not await a.jobs.keep_part(stale, 1, b"once more")
        stale.parts = PARTS - 1
        assert not await a.jobs.keep_part(stale, 1, b"far ahead")
        assert parts(a, job)[: len(held)] == held
        assert b"far ahead" not in parts(a, job)

    simulate(story)


def test_a_full_disk_holds_parts_up_and_loses_none() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(STREAM, UNITS, on=b)
        await asyncio.sleep(3)
        a.disk.full = True
        await asyncio.sleep(2)
        held = len(parts(a, job))
        await asyncio.sleep(3)
        assert len(parts(a, job)) == held
        a.disk.full = False
        await asyncio.sleep(15)
        assert (status(a, job)[0], len(attempts(a, job))) == ("SUCCEEDED", 1), "the attempt goes on"
        assert parts(a, job) == whole(job)

    with log_of(intake.__name__) as records:
        simulate(story)
    assert records == ["a part has to wait: the disk is full"]


def test_what_streams_has_no_second_attempt_however_long_it_takes() -> None:
    async def story(world: World) -> None:
        same_pace(world)
        a = world.nodes[0]
        await asyncio.sleep(1)
        for node in world.nodes:
            node.slow = 20.0
        jobs = {task: await a.submit(task, 4.0) for task in (STREAM, PURE)}
        await asyncio.sleep(20)
        assert len(attempts(a, jobs[STREAM])) == 1 < len(attempts(a, jobs[PURE]))
        assert "takes far longer" in a.submitter._open[jobs[STREAM]].message

    simulate(story, 3)


def test_nothing_is_learnt_from_what_only_went_on() -> None:
    """Else a device that made the last of eight parts would be taken for eight times as fast as it is."""

    async def story(world: World) -> None:
        a, b = world.nodes
        learnt: list[float] = []

        async def observe(task: str, variant: str, units: float, seconds: float, load_s: float | None) -> None:
            learnt.append(seconds)

        corrected: list[Any] = []
        b.offers.observe = observe  # type: ignore[method-assign]
        a.peers.measured = lambda *said: corrected.append(said)  # type: ignore[method-assign]
        await a.submit(STREAM, 4.0, on=b)
        await asyncio.sleep(5)
        assert (len(learnt), len(corrected)) == (1, 1)
        job = await a.submit(STREAM, UNITS, on=b)
        await asyncio.sleep(4)
        b.crash()
        await b.start()
        b.offers.observe = observe  # type: ignore[method-assign]
        await asyncio.sleep(15)
        assert [state for _, state in attempts(a, job)] == ["LOST", "COMMITTED"]
        assert (len(learnt), len(corrected)) == (1, 1)

    simulate(story)


def test_a_device_of_an_older_version_is_barred_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would not know the message, nor `start` with parts; what it is asked for otherwise goes on as ever."""
    monkeypatch.setattr(sim, "FEATURES", ())

    async def story(world: World) -> None:
        a, b = world.nodes
        job, plain = await a.submit(STREAM, 1.0, on=b), await a.submit(PURE, 1.0, on=b)
        await asyncio.sleep(5)
        assert (status(a, job)[0], status(a, plain)[0]) == ("PENDING", "SUCCEEDED")
        assert not attempts(a, job)
        assert "older and cannot hand on an answer part by part: update it there" in a.submitter._open[job].message

    simulate(story)


def test_a_submitter_of_an_older_version_gets_the_result_alone() -> None:
    """Its `start` asks for no parts."""

    async def story(world: World) -> None:
        a, b = world.nodes
        sent = spy(b, StreamedPart)
        job = await a.submit(PURE, 1.0, on=b)
        usual = b.pool.run

        async def streams(work: Work, emit: Callable[[Event], None]) -> Done:
            emit(Part(0, b"unasked"))
            return await usual(work, emit)

        b.pool.run = streams  # type: ignore[method-assign]
        job = await a.submit(PURE, 1.0, on=b)
        await asyncio.sleep(5)
        assert status(a, job)[0] == "SUCCEEDED"
        assert not sent
        assert not a.rows("SELECT * FROM part")

    simulate(story)
