"""What an executor that is faulty, or lies, cannot do to an answer that comes part by part; nor a submitter to an executor."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from moodmesh.nodes.jobs import intake
from moodmesh.nodes.jobs.intake import MOST_UNREAD
from moodmesh.nodes.jobs.parts import join
from moodmesh.nodes.messages import Blob, Cancel, CancelledAttempt, Granted, Reserve, Result, Start, StreamedPart
from moodmesh.nodes.placement.gates import Gate
from moodmesh.nodes.pool.seam import Done, Event, Part, Started, Work
from moodmesh.tasks.parts import MOST_PARTS, PART_BYTES

from .sim import PARTS, PURE, STREAM, World, attempts, part_of, parts, simulate, spy, status
from .streams import UNITS, log_of, same_pace, whole

Say = Callable[..., None]
Attack = Callable[[Say, str], Awaitable[None]]


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
