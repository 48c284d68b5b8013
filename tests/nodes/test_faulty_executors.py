"""What a device that is faulty, or lies, cannot do to a job while others are idle (routing §4, §7, §8)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from moodmesh.nodes.bench.faults.verdict import exhausted
from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.jobs import desk, pursuit
from moodmesh.nodes.messages import (
    CancelledAttempt,
    Granted,
    Live,
    LogLine,
    ProgressNow,
    RefusedReservation,
    Reserve,
    Take,
    Withdrawn,
)
from moodmesh.nodes.permissions import Limits
from moodmesh.nodes.placement.hedge import far_after
from moodmesh.nodes.pool.seam import Done

from .sim import EFFECTS, PURE, Node, World, attempts, held, simulate, status


def fast(node: Node) -> None:
    """It says that it is ten times faster than all others."""
    node.mean = node.offers._mean = 0.1
    node.peers.retell()


def never_called(node: Node) -> None:
    """It grants a place, and says for ever that there is a moment left until its turn."""

    def grant(e: Any, wait: float) -> None:
        node.peers.send(e.held.requester, Granted(job=e.held.job, attempt=e.held.number, start_in_s=2.5))

    usual = node.executor.live
    node.executor._grant = grant  # type: ignore[method-assign]
    node.executor.live = lambda peer: [one.model_copy(update={"start_in_s": 2.5}) for one in usual(peer)]  # type: ignore[method-assign]


def never_granted(node: Node) -> None:
    """It answers a reservation with anything but an answer."""

    async def reserve(peer: Any, ask: Reserve) -> None:
        said = [Live(job=ask.job, attempt=ask.attempt, phase="RESERVED")]
        node.executor.live = lambda to: said if to == peer else []  # type: ignore[method-assign]
        node.peers.send(peer, ProgressNow(job=ask.job, attempt=ask.attempt, share=0.5))
        node.peers.send(peer, LogLine(job=ask.job, attempt=ask.attempt, seq=1, line="soon"))

    node.executor._reserve = reserve  # type: ignore[method-assign]


def test_a_job_whose_rival_is_refused_is_said_to_wait_where_it_waits() -> None:
    """Nothing runs: the first attempt has a place, and the second was not taken."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        fast(box)
        never_called(box)

        async def refuse(peer: Any, ask: Reserve) -> None:
            asks.peers.send(peer, RefusedReservation(job=ask.job, attempt=ask.attempt, gate="quota", detail="no"))

        await asyncio.sleep(2)
        job = await asks.submit(units=10)
        asks.executor._reserve = refuse  # type: ignore[method-assign]
        await asyncio.sleep(far_after(2.5 + 1.0) + 30)
        assert (held(asks, job)[-1][1], held(asks, job)[0][1]) == ("REFUSED", "RESERVED")
        assert status(asks, job) == ("PENDING", "reserved")

    simulate(story)


def test_a_long_queue_that_becomes_longer_is_no_failure() -> None:
    """What is put off for a good reason gets no rival: the box is busy for longer than it thought, and says so."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        fast(box)
        await asyncio.sleep(2)
        box.slow = 3.5
        await asks.submit(units=200, on=box)
        await asyncio.sleep(0.5)
        job = await asks.submit(units=40)
        await asyncio.sleep(67)
        assert held(asks, job) == [(box.id, "RESERVED")]
        await asyncio.sleep(30)
        assert attempts(asks, job) == [(box.id, "COMMITTED")]

    simulate(story)


def test_a_device_that_does_not_answer_when_it_is_asked_back_loses_the_attempt() -> None:
    async def story(world: World) -> None:
        asks, box, other = world.nodes

        async def never(key: Any) -> None:
            pass

        box.executor._withdraw = never  # type: ignore[method-assign]
        fast(box)
        await asyncio.sleep(2)
        await asks.submit(units=300, on=box)
        for node in (asks, other):
            await asks.submit(units=60, on=node)
        await asyncio.sleep(0.5)
        job = await asks.submit(units=20)
        await asyncio.sleep(0.5)
        assert held(asks, job) == [(box.id, "RESERVED")]
        asks.submitter.take(other.id, Take(task=PURE, variant="tiny", queued=True))
        await asyncio.sleep(9)
        assert len(attempts(asks, job)) == 1
        await asyncio.sleep(2)
        assert [state for _, state in held(asks, job)] == ["LOST", "RESERVED"]
        (said,) = asks.rows("SELECT message FROM attempt WHERE job=? AND number=1", job)
        assert said["message"] == "asked back, it did not answer within 10 s"
        await asyncio.sleep(120)
        assert status(asks, job)[0] == "SUCCEEDED"

    simulate(story, 3)


def test_a_worker_that_never_ends_gets_its_rival_when_all_tokens_are_spent() -> None:
    async def story(world: World) -> None:
        asks, box = world.nodes
        fast(box)
        box.slow = 1e9
        asks.submitter.desk.budget._tokens = 0.0
        await asyncio.sleep(2)
        job = await asks.submit(units=10)
        await asyncio.sleep(far_after(1.0) - 5)
        assert attempts(asks, job) == [(box.id, "RUNNING")]
        await asyncio.sleep(25)
        assert attempts(asks, job) == [(box.id, "CANCELLED"), (asks.id, "COMMITTED")]

    simulate(story)


def gives_back(node: Node) -> None:
    """It gives every attempt back before it has begun."""

    async def reserve(peer: Any, ask: Reserve) -> None:
        node.peers.send(peer, CancelledAttempt(job=ask.job, attempt=ask.attempt, reason="shutdown"))

    node.executor._reserve = reserve  # type: ignore[method-assign]


def keeps_nothing(node: Node) -> None:
    """Its disk takes no result: it does the work, and gives the attempt back."""
    usual = node.disk.write

    async def write(step: str, work: Any) -> Any:
        if step == "execution.delivering":
            raise StoreError("the disk is full")
        return await usual(step, work)

    node.disk.write = write  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("fault", "within_s", "ends"),
    [
        (never_called, far_after(2.5 + 1.0) + 30, "CANCELLED"),
        (never_granted, far_after(2.5 + 1.0) + 30, "LOST"),
        (gives_back, 20, "LOST"),
        (keeps_nothing, 20, "LOST"),
    ],
)
def test_a_device_that_does_not_do_what_it_took_keeps_no_job_from_the_next_one(fault: Any, within_s: float, ends: str) -> None:
    """Whether its turn never comes or it gives all back: one attempt goes there, and the next one is the answer."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        fast(box)
        fault(box)
        await asyncio.sleep(2)
        job = await asks.submit(units=10)
        await asyncio.sleep(within_s)
        assert attempts(asks, job) == [(box.id, ends), (asks.id, "COMMITTED")]
        assert status(asks, job)[0] == "SUCCEEDED"

    simulate(story)


def test_the_only_device_is_asked_again_ever_more_seldom_until_ten_attempts_are_lost() -> None:
    async def story(world: World) -> None:
        asks, box = world.nodes
        gives_back(box)
        await asyncio.sleep(2)
        job = await asks.submit(on=box)
        for after_s, count in ((0.9, 1), (0.6, 2), (5, 3), (17, 4), (65, 5), (300, 6)):
            await asyncio.sleep(after_s)
            assert len(attempts(asks, job)) == count
        await asyncio.sleep(2500)
        assert status(asks, job) == ("FAILED", "attempts_exhausted")
        (said,) = asks.rows("SELECT message FROM job WHERE id=?", job)
        assert said["message"] == "10 attempts were lost on the same device; the last: given back: shutdown"

    simulate(story)


def test_a_peer_that_refuses_again_and_again_is_asked_ever_more_seldom() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        await b.access.allow(a.id, {"test.*": Limits(jobs_per_hour=0)}, instead=True)
        job = await a.submit(units=1, on=b)
        await asyncio.sleep(3600)
        assert status(a, job)[0] == "PENDING"
        (count,) = a.rows("SELECT count(*) FROM attempt WHERE job=?", job)
        assert 3 < count[0] < 25

    simulate(story)


def test_a_restart_of_the_only_device_costs_a_job_about_a_second() -> None:
    async def story(world: World) -> None:
        asks, box = world.nodes
        job = await asks.submit(units=10, on=box)
        await asyncio.sleep(2)
        box.crash()
        await box.start()
        await asyncio.sleep(2)
        assert attempts(asks, job)[1:] == [(box.id, "RUNNING")]
        await asyncio.sleep(10)
        assert status(asks, job)[0] == "SUCCEEDED"

    simulate(story)


@pytest.mark.parametrize(
    ("ends", "true"),
    [
        (["LOST"] * 10, True),
        (["LOST"] * 9 + ["REFUSED"] * 5, False),
        (["ERRORED"] * 4, True),
        (["ERRORED"] * 3 + ["LOST"] * 3, False),
        (["ERRORED task_error: x"] * 2, True),
        (["ERRORED task_error: x", "ERRORED"], False),
    ],
)
def test_the_judge_of_faults_counts_the_attempts_of_a_job_that_gave_up(ends: list[str], true: bool) -> None:
    tried = [dict(zip(("state", "message"), (end + " ").split(" ", 1), strict=True)) for end in ends]
    assert exhausted("attempts_exhausted", tried) is true
    assert not exhausted("no_capable_device", tried)


@pytest.mark.parametrize("rivals", [True, False])
def test_a_device_that_claims_and_signs_for_too_little_is_corrected_by_the_clock_of_this_one(
    rivals: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says 1 s, signs for 1 s and takes 100; here it would be 10 s. Also where it never wins, since a rival always does."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        fast(box)
        box.slow = 100.0
        box._perform = lambda work, emit: Done({"ok": 1}, seconds=1.0)  # type: ignore[method-assign]
        if not rivals:
            monkeypatch.setattr(pursuit, "second", lambda *_: None)
        await asyncio.sleep(2)
        first = []
        for _ in range(12):
            job = await asks.submit(units=10)
            while status(asks, job)[0] in ("PENDING", "RUNNING"):
                await asyncio.sleep(1)
            first.append(attempts(asks, job)[0][0])
        assert first[0] == box.id
        assert first[10:] == [asks.id] * 2

    simulate(story)


async def caught(asks: Node, liar: Node) -> None:
    """It says that it takes 1 s for a unit, and takes 10: its submitter knows that by now."""
    liar.mean = liar.offers._mean = 1.0
    liar.slow = 10.0
    liar.peers.retell()
    for _ in range(15):
        job = await asks.submit(units=0.3, on=liar)
        while status(asks, job)[0] in ("PENDING", "RUNNING"):
            await asyncio.sleep(0.5)
    assert asks.peers.peers[liar.id].view(asks.clock.now(), own=True, told_moods=False, trouble=str).worth > 3


@pytest.mark.parametrize("believed", [False, True])
def test_a_device_that_was_caught_lying_cannot_pull_work_to_itself_by_what_it_still_claims(
    believed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of a queue where it is done sooner. The mutation: whoever asks is believed."""
    if believed:
        monkeypatch.setattr(desk, "may_pull", lambda device: True)

    async def story(world: World) -> None:
        asks, liar = world.nodes
        await caught(asks, liar)
        await asks.submit(units=9, on=asks)
        await asyncio.sleep(0.5)
        job = await asks.submit(units=2.5)
        await asyncio.sleep(60)
        moved = [(asks.id, "WITHDRAWN"), (liar.id, "COMMITTED")]
        assert attempts(asks, job) == (moved if believed else [(asks.id, "COMMITTED")])

    simulate(story)


@pytest.mark.parametrize("believed", [False, True])
def test_a_device_that_was_caught_lying_gets_nothing_of_what_is_held_back(
    believed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hears of nothing, and what it asks for all the same is answered with nothing."""
    if believed:
        monkeypatch.setattr(desk, "may_pull", lambda device: True)

    async def story(world: World) -> None:
        asks, liar, box = world.nodes
        fast(box)
        await caught(asks, liar)
        await asks.submit(units=50, on=asks)
        box.crash()
        await asyncio.sleep(6)
        job = await asks.submit(units=1)
        await asyncio.sleep(5)
        asks.submitter.take(liar.id, Take(task=PURE, variant="tiny"))
        await asyncio.sleep(1)
        assert attempts(asks, job) == ([(liar.id, "RUNNING")] if believed else [])
        if not believed:
            assert asks.submitter._open[job].substate == "pooled"
            assert liar.peers.peers[asks.id].held == []
            assert not liar.executor._pulling.kept, "no slot of it is kept for an answer"

    simulate(story, 3)


ENDS: dict[str, Any] = {
    "refused": lambda key: RefusedReservation(job=key[1], attempt=key[2], gate="memory", detail="none left"),
    "withdrawn": lambda key: Withdrawn(job=key[1], attempt=key[2]),
    "cancelled": lambda key: CancelledAttempt(job=key[1], attempt=key[2], reason="cancel"),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_has_effects_does_not_run_again_after_an_end_that_nobody_asked_for(end: str) -> None:
    """Its device may have begun, whatever it says."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        fast(box)
        box.executor._start = lambda key, start: box.peers.send(asks.id, ENDS[end](key))  # type: ignore[method-assign]
        await asyncio.sleep(2)
        job = await asks.submit(EFFECTS, units=1)
        await asyncio.sleep(30)
        assert attempts(asks, job) == [(box.id, "LOST")]
        assert status(asks, job) == ("FAILED", "unknown_outcome")
        assert not world.ran

    simulate(story)


def test_a_task_with_effects_is_not_tried_again_after_an_error() -> None:
    """Not on another device either, which would take it."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        fast(box)
        box.fails = True
        await asyncio.sleep(2)
        job = await asks.submit(EFFECTS, units=1)
        await asyncio.sleep(10)
        assert status(asks, job) == ("FAILED", "task_error")
        assert [device for _, _, device in world.ran] == [box.id]

    simulate(story)


@pytest.mark.parametrize("end", ["withdrawn", "cancelled"])
def test_a_place_that_is_given_back_unasked_pauses_its_device(end: str) -> None:
    async def story(world: World) -> None:
        asks, box = world.nodes

        async def reserve(peer: Any, ask: Reserve) -> None:
            box.peers.send(peer, ENDS[end]((peer, ask.job, ask.attempt)))

        box.executor._reserve = reserve  # type: ignore[method-assign]
        await asyncio.sleep(2)
        job = await asks.submit(on=box)
        await asyncio.sleep(4)
        assert attempts(asks, job) == [(box.id, "LOST")] * 2

    simulate(story)


@pytest.mark.parametrize("what", ["runs", "is asked"])
def test_nobody_is_judged_after_this_device_stood_still(what: str) -> None:
    """What the executor said meanwhile is read a moment later: no rival, no loss, and nothing learnt of its pace."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        job = await asks.submit(units=4)
        await asyncio.sleep(1 if what == "runs" else 0.0004)
        assert held(asks, job) == [(box.id, "RUNNING" if what == "runs" else "OFFERED")]
        world.loop._timeless.now += 12.0  # type: ignore[attr-defined]
        await asyncio.sleep(10)
        assert attempts(asks, job) == [(box.id, "COMMITTED")]
        assert asks.peers.peers[box.id].correction <= 0

    simulate(story)
