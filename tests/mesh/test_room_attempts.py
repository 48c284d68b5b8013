"""What a stranger, a hostile gatherer or an early wish does to the attempts of a room, of which there are few in an epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from moodmesh.mesh.rooms.member import Declined, Member
from moodmesh.mesh.rooms.sitting import FORGIVEN_S, Aborted, Sitting, local
from moodmesh.mesh.rooms.transcript import Run
from moodmesh.mesh.rooms.wire import Message, Step, decode, encode
from moodmesh.mesh.seams import LinkClosed
from moodmesh.nodes.bench.virtual import LoopClock, VirtualLoop, run

from .rooms import EPOCH, ROOM, Someone

LONG_S = 120.0


class Alone:
    """`Around` of a device that sees one other, which is not to be reached."""

    door = rid = bytes(16)

    def seen(self) -> list[tuple[bytes, bytes]]:
        return [(bytes([9]) * 16, b"x")]

    async def open(self, address: bytes) -> Any:
        raise LinkClosed("refused")


async def withholds(sitting: Sitting) -> None:
    """Joins each attempt, and leaves when it should reveal; again and again."""
    while True:
        mine, its = local()
        serving = asyncio.ensure_future(sitting.serve(its))
        mine.post(here(0, wanted=True))
        try:
            while True:
                message = decode(await mine.receive())
                if message.step is Step.START:
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
