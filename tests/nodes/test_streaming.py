"""Answers that are handed on part by part (routing §8): each part once, in order, whatever device dies on the way."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moodmesh.nodes.errors import Refused
from moodmesh.nodes.jobs import intake
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.intake import MOST_UNREAD
from moodmesh.nodes.jobs.outgoing import WINDOW, Outgoing
from moodmesh.nodes.jobs.parts import join, split
from moodmesh.nodes.messages import Blob, Cancel, CancelledAttempt, Granted, PartAck, Reserve, Result, Start, StreamedPart
from moodmesh.nodes.placement.gates import Gate
from moodmesh.nodes.pool.seam import AttemptFailed, Done, Event, Part, Started, Work
from moodmesh.tasks.parts import MOST_PARTS, PART_BYTES, STREAM_BYTES

from . import sim
from .sim import PARTS, PURE, STREAM, Faults, World, attempts, part_of, parts, simulate, spy, status
from .trouble import outcome

UNITS = 16.0
"""Of a job that takes about a second for each part."""


def whole(job: str) -> list[bytes]:
    return [part_of(job, index) for index in range(PARTS)]


def same_pace(world: World) -> None:
    for node in world.nodes:
        node.mean = node.offers._mean = 0.5
        node.peers.retell()


# -- the way of a part -----------------------------------------------------------------------------------------------------


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


# -- an executor that is faulty, or hostile --------------------------------------------------------------------------------

Say = Callable[..., None]
Attack = Callable[[Say, str], Awaitable[None]]


@contextlib.contextmanager
def log_of(name: str) -> Iterator[list[str]]:
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


def attacked(attack: Attack, *, ends: str, task: str = STREAM) -> list[str]:
    """The device that gets the job makes the first three parts, then sends what it likes, and goes on, or delivers, if it still
    may. Whatever it does, the answer is whole. The complaints of the submitter."""

    async def story(world: World) -> None:
        a, b, _ = world.nodes
        b.mean = b.offers._mean = 0.2
        b.peers.retell()
        await asyncio.sleep(1)

        async def hostile(work: Work, emit: Callable[[Event], None]) -> Done:
            job, number = work.attempt.split("-")[1:]
            emit(Started(1, b.clock.now(), 0.0))

            def say(index: int, data: bytes, **change: Any) -> None:
                said = StreamedPart.of(job, int(number), index, data) if len(data) <= PART_BYTES else larger(job, index, data)
                b.peers.send(a.id, said.model_copy(update=change))

            for index in range(3 if task == STREAM else 0):
                emit(Part(index, part_of(job, index)))
                await b.clock.sleep(0.2)
            await attack(say, job)
            await b.clock.sleep(0.5)
            for index in range(3, PARTS if task == STREAM else 0):
                emit(Part(index, part_of(job, index)))
            return Done({"ok": 1})

        b.run = hostile  # type: ignore[method-assign]
        job = await a.submit(task, UNITS)
        await asyncio.sleep(60)
        assert status(a, job)[0] == "SUCCEEDED", attempts(a, job)
        assert attempts(a, job)[0] == (b.id, ends)
        assert parts(a, job) == (whole(job) if task == STREAM else [])

    with log_of(intake.__name__) as records:
        simulate(story, 3)
    return records


def larger(job: str, index: int, data: bytes) -> StreamedPart:
    return StreamedPart.of(job, 1, index, b"").model_copy(update={"data": base64.b64encode(data).decode()})


def test_parts_out_of_order_are_not_taken() -> None:
    async def attack(say: Say, job: str) -> None:
        for index in (7, 5, 4, MOST_PARTS - 1):
            say(index, b"out of order")

    assert attacked(attack, ends="COMMITTED") == []


def test_what_is_held_is_not_changed_and_one_line_says_so() -> None:
    async def attack(say: Say, job: str) -> None:
        for _ in range(50):
            say(1, b"changed")
            await asyncio.sleep(0.01)

    assert attacked(attack, ends="COMMITTED") == ["it says part 1 again with other bytes: those that came first stay"]


def test_a_part_that_is_too_large_ends_the_attempt() -> None:
    async def attack(say: Say, job: str) -> None:
        say(3, bytes(PART_BYTES + 1))

    attacked(attack, ends="ERRORED")


def test_a_part_that_is_no_base64_ends_the_attempt() -> None:
    async def attack(say: Say, job: str) -> None:
        say(3, b"", data="!!!!")

    attacked(attack, ends="ERRORED")


def test_a_message_over_its_cap_ends_the_link_before_it_is_read() -> None:
    """The attempt goes on once the link is back: what lay in the message is nowhere."""

    async def attack(say: Say, job: str) -> None:
        say(3, bytes(2 * PART_BYTES))

    attacked(attack, ends="COMMITTED")


def test_more_bytes_than_an_answer_may_have_end_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "STREAM_BYTES", PARTS * len(part_of("0" * 32, 0)))

    async def attack(say: Say, job: str) -> None:
        for index in range(3, PARTS):
            say(index, part_of(job, index))
        say(PARTS, b"x")

    attacked(attack, ends="ERRORED")


def test_a_part_of_an_answer_that_has_none_ends_the_attempt() -> None:
    async def attack(say: Say, job: str) -> None:
        say(0, b"x")

    attacked(attack, ends="ERRORED", task=PURE)


def test_a_part_of_a_job_that_runs_elsewhere_changes_nothing_there() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await a.submit(STREAM, UNITS, on=c)
        await asyncio.sleep(4)
        held = len(parts(a, job))
        for index in range(PARTS):
            for number in (1, 2):
                b.peers.send(a.id, StreamedPart.of(job, number, index, b"not mine"))
        await asyncio.sleep(0.2)
        assert 0 < held <= len(parts(a, job)) < PARTS
        await asyncio.sleep(20)
        assert (status(a, job)[0], len(attempts(a, job))) == ("SUCCEEDED", 1)
        assert parts(a, job) == whole(job)
        b.peers.send(a.id, StreamedPart.of(job, 1, PARTS, b"after the end"))
        c.peers.send(a.id, StreamedPart.of(job, 1, PARTS, b"after the end"))
        told = spy(a, Cancel)
        await asyncio.sleep(1)
        assert parts(a, job) == whole(job)
        assert {peer for _, peer, _ in told} == {b.id, c.id}, "they are told to end it"

    simulate(story, 3)


def test_an_attempt_that_was_never_called_for_hands_nothing_on() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes

        async def reserve(peer: Any, ask: Reserve) -> None:
            b.peers.send(peer, Granted(job=ask.job, attempt=ask.attempt, start_in_s=100.0))
            b.peers.send(peer, StreamedPart.of(ask.job, ask.attempt, 0, b"of no input"))

        b.executor._reserve = reserve  # type: ignore[method-assign]
        job = await a.submit(STREAM, UNITS, on=b)
        await asyncio.sleep(0.8)
        assert attempts(a, job)
        assert not parts(a, job)

    simulate(story)


def test_an_attempt_that_was_given_up_hands_nothing_on_and_is_ended() -> None:
    async def story(world: World) -> None:
        same_pace(world)
        a, b, c = world.nodes
        a.gate = lambda peer, ask: Gate("power", "a phone")
        await asyncio.sleep(1)
        job = await a.submit(STREAM, UNITS)
        await asyncio.sleep(3)
        first, other = (b, c) if attempts(a, job)[-1][0] == b.id else (c, b)
        number = len(attempts(a, job))
        a.submitter.lost(first.id, "given up")
        held = len(parts(a, job))
        first.peers.send(a.id, StreamedPart.of(job, number, held, b"too late"))
        await asyncio.sleep(25)
        assert status(a, job)[0] == "SUCCEEDED"
        assert attempts(a, job)[-1] == (other.id, "COMMITTED")
        assert parts(a, job) == whole(job)
        assert not first.executor._held
        assert not first.executor.results.waiting

    simulate(story, 3)


def test_a_flood_of_parts_fills_no_inbox() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(STREAM, UNITS, on=b)
        await asyncio.sleep(1)
        pursuit, (live,) = a.submitter._pursuits[job], a.submitter.desk.live.values()
        pursuit._inbox = asyncio.Queue()
        for _ in range(100):
            pursuit.hear(live, StreamedPart.of(job, 1, 0, bytes(PART_BYTES)))
        assert pursuit._inbox.qsize() == MOST_UNREAD
        pursuit.hear(live, CancelledAttempt(job=job, attempt=1))
        assert pursuit._inbox.qsize() == MOST_UNREAD + 1, "what else it says is heard"

    simulate(story)


def test_a_submitter_that_sends_more_than_it_reserved_or_no_parts_at_all_gets_nothing_run() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        good = [b"x" * 10] * 3
        for parts_, reserved, words in (
            (join(good), 5, "reserved"),
            (join(good)[:-1], 500, "the parts that its submitter holds"),
            (join([b""] * (MOST_PARTS + 1)), 5000, "too many"),
        ):
            job = f"{reserved:032x}"
            head = {"job": job, "attempt": 1}
            sent = spy(b, Result)
            a.peers.send(b.id, Reserve(
                **head, task=STREAM, version=1, variant="tiny", units=1.0, input_bytes=reserved, result_bytes=1,
                personal=False, waited=0.0,
            ))  # fmt: skip
            blob = Blob(size=len(parts_), inline=base64.b64encode(parts_).decode())
            a.peers.send(b.id, Start(**head, params={"units": 1.0}, input=Blob.of(b"input"), seed=1, parts=blob))
            await asyncio.sleep(0.5)
            assert any(words in message.message for _, _, message in sent), words

    simulate(story)


# -- what goes over the wire, and into the journal -------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_parts_come_out_as_they_went_in(made: list[bytes]) -> None:
    assert split(join(made)) == made


@given(st.binary(max_size=60))
def test_bytes_are_parts_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert join(split(data)) == data


def test_no_more_parts_are_read_than_an_answer_may_have() -> None:
    assert len(split(join([b""] * MOST_PARTS))) == MOST_PARTS
    large = [bytes(PART_BYTES)] * (STREAM_BYTES // PART_BYTES)
    assert len(split(join(large))) == len(large)
    for bad in (join([b""] * (MOST_PARTS + 1)), join([*large] * 2), join([bytes(PART_BYTES + 1)]), b"\0\0\0\2x", b"\0\0"):
        with pytest.raises(ValueError, match=r"cut short|more bytes"):
            split(bad)


def test_what_is_acknowledged_is_not_said_again() -> None:
    out = Outgoing((b"held",))
    for index in range(1, 8):
        out.add(index, b"%d" % index)
    assert [index for index, _ in out.due()] == [1, 2, 3, 4]
    assert not list(out.due())
    assert out.acknowledge(3)
    assert not out.acknowledge(2), "an older word changes nothing"
    assert [index for index, _ in out.due()] == [5, 6]
    out.sent = out.acked
    assert [index for index, _ in out.due()] == [3, 4, 5, 6]
    assert out.acknowledge(10**6), "what was never made cannot be held"
    assert (out.acked, out.left) == (8, [])
    large = Outgoing([bytes(PART_BYTES)] * 5, 0)
    assert [index for index, _ in large.due()] == [0, 1], "of large ones two"
    assert large.acknowledge(1)
    assert [index for index, _ in large.due()] == [2]
    again = Outgoing.kept(join([b"6", b"7"]), 6)
    assert [index for index, _ in again.due()] == [6, 7]


# -- random histories ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blow:
    """Something that happens `after` so many seconds."""

    after: float
    what: str
    node: int


blows = st.lists(
    st.builds(
        Blow,
        st.floats(0.1, 3),
        st.sampled_from(["crash", "start", "crash at a write", "full", "cut", "heal", "break", "gate", "stop"]),
        st.integers(0, 2),
    ),
    max_size=8,
)
networks = st.builds(
    Faults, st.sampled_from([0.0, 0.05, 0.3]), st.sampled_from([0.0, 0.3, 0.9]), st.sampled_from([0.0, 0.3]), st.just(0.1)
)


async def strike(world: World, blow: Blow, job: str) -> None:
    node = world.nodes[blow.node]
    match blow.what:
        case "crash":
            node.crash()
        case "start" if node.dead:
            await node.start()
        case "crash at a write":
            node.disk.crash_in = 2
        case "full":
            node.disk.full = True
        case "cut":
            world.islands = [{node.id}]
        case "heal":
            world.islands, node.disk.full = [], False
            node.gate = lambda peer, ask: None
        case "break":
            world.break_links()
        case "gate" if not node.dead:
            node.gate = lambda peer, ask: Gate("power", "unplugged")
            node.executor.give_back()
        case "stop" if blow.node == 0 and blow.after > 2.5 and not node.dead:
            with contextlib.suppress(Refused, Exception):
                await node.submitter.cancel(job)


async def history(world: World, struck: list[Blow], faults: Faults) -> list[str]:
    """A job whose answer comes part by part, while things happen; what was wrong, and what was told of it twice."""
    await world.start()
    same_pace(world)
    await asyncio.sleep(1)
    told: Counter[Any] = Counter()
    usual = Hub.tell

    def tell(self: Hub, kind: str, **facts: Any) -> None:
        if kind == "part":
            told[facts["job"], facts["index"]] += 1
            assert facts["streamed"] == facts["index"] + 1
        usual(self, kind, **facts)

    a = world.nodes[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hub, "tell", tell)
        job = await a.submit(STREAM, 8.0)
        world.faults = faults
        for blow in struck:
            await asyncio.sleep(blow.after)
            await strike(world, blow, job)
        for node in world.nodes:
            node.gate = lambda peer, ask: None
        await world.settle()
    return world.verdict({job}) + [f"told twice: {what}" for what, count in told.items() if count > 1]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(blows, networks, st.integers(0, 1000))
def test_each_part_is_here_once_whatever_breaks(struck: list[Blow], faults: Faults, seed: int) -> None:
    logging.disable(logging.CRITICAL)
    try:
        wrong = outcome(lambda world: history(world, struck, faults), seed)
    finally:
        logging.disable(logging.NOTSET)
    assert not wrong, wrong
