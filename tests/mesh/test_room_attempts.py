"""What a stranger, a hostile gatherer or an early wish does to the attempts of a room, of which there are few in an epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import pytest

from moodmesh.mesh.rooms.member import Declined, Member, Opened
from moodmesh.mesh.rooms.sitting import FORGIVEN_S, Aborted, Sitting, gatherers, local
from moodmesh.mesh.rooms.transcript import Roster, Run
from moodmesh.mesh.rooms.wire import Message, Step, decode, encode
from moodmesh.mesh.seams import LinkClosed
from moodmesh.nodes.bench.virtual import LoopClock, VirtualLoop, run

from .rooms import EPOCH, ROOM, Someone, moods
from .sittings import Net, Spot, sat

LONG_S = 120.0


class Alone:
    """`Around` of a device that sees one other, which is not to be reached."""

    door = rid = bytes(16)

    def seen(self) -> list[tuple[bytes, bytes]]:
        return [(bytes([9]) * 16, b"x")]

    def slow(self) -> bool:
        return False

    async def open(self, address: bytes) -> Any:
        raise LinkClosed("refused")


async def withholds(sitting: Sitting, those: Collection[int] = range(1, 5)) -> None:
    """Joins these attempts, and leaves when it should reveal; again and again."""
    while True:
        mine, its = local()
        serving = asyncio.ensure_future(sitting.serve(its))
        mine.post(here(0, wanted=True))
        try:
            while True:
                message = decode(await mine.receive())
                if message.step is Step.START and message.attempt in those:
                    for data in Member(Run(ROOM, EPOCH, message.attempt), Someone((0, 0))).join():
                        mine.post(data)
                if message.step is Step.JOIN:
                    mine.close()
        except LinkClosed:
            await serving
            await asyncio.sleep(0.5)


def here(seen: int, wanted: bool = False) -> bytes:
    return encode(Message(Step.HERE, False, 0, EPOCH, ROOM, bytes([seen, wanted]) + b"door"))


def alone(among: Callable[[Sitting], list[Awaitable[None]]]) -> list[tuple[float, Exception]]:
    """What a device is told that gathers for these and itself, and comes again after each failure; and when."""

    async def story() -> list[tuple[float, Exception]]:
        clock: Any = LoopClock(asyncio.get_running_loop())
        sitting = Sitting(ROOM, EPOCH, Someone((0, 0)), Alone(), clock)
        others = [asyncio.ensure_future(one) for one in among(sitting)]
        told: list[tuple[float, Exception]] = []
        while clock.now() < LONG_S and len(told) < 10 * LONG_S:
            try:
                async with asyncio.timeout(LONG_S):
                    await sitting.take_part()
            except (Aborted, Declined) as error:
                told.append((clock.now(), error))
            except TimeoutError:
                break
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await sitting.close()
        return told

    return run(story(), VirtualLoop())


def test_a_device_that_finds_no_gatherer_pauses_before_it_tries_again() -> None:
    """Not even it itself: those who withhold have used up the attempts."""
    told = alone(lambda sitting: [withholds(sitting) for _ in range(3)])
    assert told
    assert len(told) <= LONG_S / FORGIVEN_S + 1


def opened(claims: Sequence[int], n: int = 5, spoilt: Collection[int] = (), seen: int = 0) -> list[Opened | BaseException]:
    """What becomes of a room of `n` that gathers at its first, where strangers claim to have seen these attempts. Somebody
    spoils those in `spoilt`; all have seen `seen` already."""

    async def story() -> list[Opened | BaseException]:
        clock: Any = LoopClock(asyncio.get_running_loop())
        net = Net(clock, lambda by, data: False)
        net.sittings = [Sitting(ROOM, EPOCH, Someone(value), Spot(net, i), clock) for i, value in enumerate(moods(n))]
        first = int.from_bytes(gatherers(ROOM, EPOCH, [s._around.rid for s in net.sittings])[0], "big")
        for sitting in net.sittings:
            sitting._seen = seen
        others = [asyncio.ensure_future(claiming(net.sittings[first], claim)) for claim in claims]
        others += [asyncio.ensure_future(withholds(net.sittings[first], spoilt))] if spoilt else []
        await asyncio.sleep(0.5)
        tasks = [asyncio.ensure_future(s.take_part()) for s in net.sittings]
        await asyncio.sleep(1)
        net.sittings[first].want()
        await asyncio.wait(tasks, timeout=LONG_S)
        for task in [*tasks, *others, *net.tasks]:
            task.cancel()
        await asyncio.gather(*others, *net.tasks, return_exceptions=True)
        for sitting in net.sittings:
            await sitting.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return run(story(), VirtualLoop())


async def claiming(sitting: Sitting, seen: int) -> None:
    """Says that it saw so many attempts, and nothing else."""
    mine, its = local()
    serving = asyncio.ensure_future(sitting.serve(its))
    mine.post(here(seen))
    await serving


def attempts(told: Sequence[Opened | BaseException]) -> set[int | None]:
    return {o.draw.roster.run.attempt if isinstance(o, Opened) else None for o in told}


@pytest.mark.parametrize("claim", [1, 3, 4, 5, 255])
def test_what_one_stranger_claims_to_have_seen_costs_no_attempt(claim: int) -> None:
    assert attempts(opened([claim])) == {1}


@pytest.mark.parametrize("claim", [3, 4, 255])
def test_however_many_claim_it_the_room_opens(claim: int) -> None:
    """Whoever says that it can take part no more, or what cannot be, is not counted; the others leave the last attempt."""
    assert attempts(opened([claim] * 9)) == {4 if claim == 3 else 1}


def test_a_gatherer_goes_on_after_the_attempts_that_its_members_saw_elsewhere() -> None:
    assert attempts(opened([0], seen=2)) == {3}


def test_attempts_that_are_used_up_end_with_a_reason_for_everybody() -> None:
    told = opened([], spoilt=range(1, 5))
    assert all(isinstance(o, Aborted) and "4 attempts" in str(o) for o in told), told


class OfFive(Someone):
    """Takes part in a room of the five people it knows, and in no other, like a circle."""

    def accepts(self, roster: Roster) -> None:
        if roster.n != 5:
            raise Declined("not the people")


@pytest.mark.parametrize(("kind", "most", "why"), [(Someone, 2, "too few"), (OfFive, 4, "not the people")])
def test_to_ask_too_early_costs_no_attempt(kind: type[Someone], most: int, why: str) -> None:
    """Whoever asks is told, each time; when enough have come, who asks then has the room opened."""

    async def story() -> tuple[list[str], set[int | None]]:
        clock: Any = LoopClock(asyncio.get_running_loop())
        net = Net(clock, lambda by, data: False)
        net.sittings = [Sitting(ROOM, EPOCH, kind(value), Spot(net, i), clock) for i, value in enumerate(moods(5))]
        told: list[str] = []
        for now in range(6):
            early = [asyncio.ensure_future(s.take_part()) for s in net.sittings[: most - now % 2]]
            await asyncio.sleep(1)
            net.sittings[0].want()
            done, _ = await asyncio.wait(early, timeout=LONG_S)
            told += [str(task.exception()) for task in done]
            await asyncio.sleep(FORGIVEN_S)
        tasks = [asyncio.ensure_future(s.take_part()) for s in net.sittings]
        await asyncio.sleep(1)
        net.sittings[4].want()
        opened = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LONG_S)
        for sitting in net.sittings:
            await sitting.close()
        return told, attempts(opened)

    assert run(story(), VirtualLoop()) == ([why] * (6 * most - 3), {1})


class Unready(Someone):
    """May not send in this epoch, and knows it from the beginning."""

    def joining(self, keys: Any) -> None:
        raise Declined("nothing to spend")


@pytest.mark.parametrize(("unready", "open"), [(1, True), (4, False)])
def test_who_may_not_take_part_says_no_more_than_that_it_is_here_and_costs_the_others_nothing(unready: int, open: bool) -> None:
    """With one of six the room opens at once; with four of them it is too small, and nobody shares anything."""
    people = [(Unready if i < unready else Someone)(value) for i, value in enumerate(moods(6))]
    told = sat(people)
    for number, (one, sitting) in enumerate(zip(told.opened, told.sittings, strict=True)):
        if number < unready:
            assert {decode(data).step for data in sitting.said} == {Step.HERE}
        elif open:
            assert isinstance(one, Opened)
            assert (one.draw.roster.run.attempt, one.draw.roster.n) == (1, 5)
    assert [person.charges for person in people] == [0] * unready + [int(open)] * (6 - unready)


def told_late(wishes: int | None = None) -> bool:
    """Whether a room of five is told that was asked for when one of them was not there yet."""

    async def story() -> bool:
        clock: Any = LoopClock(asyncio.get_running_loop())
        net = Net(clock, lambda by, data: False)

        class All(Someone):
            def params(self, n: int) -> Any:
                if n < 5:
                    raise Declined("too small")
                return super().params(n)

        net.sittings = [Sitting(ROOM, EPOCH, All(value), Spot(net, i), clock) for i, value in enumerate(moods(5))]
        first = int.from_bytes(gatherers(ROOM, EPOCH, [s._around.rid for s in net.sittings])[0], "big")
        order = [net.sittings[first], *(s for s in net.sittings if s is not net.sittings[first])]

        async def takes_part(sitting: Sitting) -> Opened:
            while True:
                try:
                    return await sitting.take_part()
                except (Aborted, Declined):
                    assert not sitting.spoke

        tasks = [asyncio.ensure_future(takes_part(s)) for s in order[:4]]
        await clock.sleep(1)
        order[1].want()
        if wishes is not None:
            order[1]._wishes = wishes
        await clock.sleep(4)
        tasks.append(asyncio.ensure_future(takes_part(order[4])))
        await asyncio.wait(tasks, timeout=LONG_S)
        done = all(task.done() for task in tasks)
        for task in [*tasks, *net.tasks]:
            task.cancel()
        await asyncio.gather(*tasks, *net.tasks, return_exceptions=True)
        for sitting in net.sittings:
            await sitting.close()
        return done

    return run(story(), VirtualLoop())


def test_a_wish_outlives_an_attempt_that_was_too_small() -> None:
    assert told_late()


def test_mutation_a_wish_for_one_attempt_is_lost_with_it() -> None:
    assert not told_late(wishes=0)
