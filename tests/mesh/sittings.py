"""Sittings of one room in one process: who says what to whom, and when, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.rooms.member import Opened, Person
from moodmesh.mesh.rooms.sitting import Place, Sitting, local
from moodmesh.mesh.rooms.wire import ENVELOPE_BYTES
from moodmesh.nodes.bench.virtual import LoopClock, VirtualLoop, run

from .rooms import EPOCH, ROOM


class Sent(NamedTuple):
    """What somebody who listens to the network sees of a message."""

    at: float
    by: int
    to: int
    kind: int
    bytes: int


class Net:
    """`lost`: whether a message of a device gets nowhere; `by_radio`: which devices have no other way to the others, and that a
    message takes them `late` seconds."""

    def __init__(
        self, clock: Clock, lost: Callable[[int, bytes], bool], by_radio: frozenset[int] = frozenset(), late: float = 0.0
    ) -> None:
        self.clock, self.lost, self.by_radio, self.late = clock, lost, by_radio, late
        self.sittings: list[Sitting] = []
        self.log: list[Sent] = []
        self.tasks: list[asyncio.Future[None]] = []


class Wire:
    """A `Place` that is listened to."""

    def __init__(self, net: Net, by: int, to: int, place: Place) -> None:
        self._net, self._by, self._to, self._place = net, by, to, place
        self.receive, self.close, self.address = place.receive, place.close, place.address
        self.slow, self._sent = bool({by, to} & net.by_radio), 0

    def post(self, data: bytes) -> None:
        assert len(data) >= ENVELOPE_BYTES
        self._net.log.append(Sent(round(self._net.clock.now(), 6), self._by, self._to, data[1], len(data)))
        if not self._net.lost(self._by, data):
            if self.slow and self._net.late:
                self._sent += 1  # in their order, which timers of the same time do not keep
                asyncio.get_running_loop().call_later(self._net.late + self._sent / 1000, self._place.post, data)
            else:
                self._place.post(data)


class Spot:
    """`Around` of one device: everybody else is seen."""

    def __init__(self, net: Net, number: int) -> None:
        self._net, self._number = net, number
        self.door = self.rid = number.to_bytes(16, "big")

    def seen(self) -> Sequence[tuple[bytes, bytes]]:
        return [(i.to_bytes(16, "big"),) * 2 for i in range(len(self._net.sittings)) if i != self._number]

    def slow(self) -> bool:
        return bool(self._net.by_radio)

    async def open(self, address: bytes) -> Place:
        mine, its = local()
        other = int.from_bytes(address, "big")
        serving = self._net.sittings[other].serve(Wire(self._net, other, self._number, its))
        self._net.tasks.append(asyncio.ensure_future(serving))
        return Wire(self._net, self._number, other, mine)


class Told(NamedTuple):
    """What became of a sitting of all."""

    opened: list[Opened | BaseException]
    log: list[Sent]
    sittings: list[Sitting]


async def carried(work: Callable[..., Any], *args: Any) -> Any:
    """At once, also where it waits for a disk."""
    return work(*args)


def sat(
    people: Iterable[Person],
    lost: Callable[[int, bytes], bool] = lambda by, data: False,
    by_radio: Iterable[int] = (),
    late: float = 0.0,
) -> Told:
    """All of them through one epoch; a run is wanted after a second, or once everybody is here for sure."""

    async def story() -> Told:
        clock: Any = LoopClock(asyncio.get_running_loop())
        net = Net(clock, lost, frozenset(by_radio), late)
        net.sittings = [Sitting(ROOM, EPOCH, p, Spot(net, i), clock, carry=carried) for i, p in enumerate(people)]
        tasks = [asyncio.ensure_future(s.take_part()) for s in net.sittings]
        await clock.sleep(1 + late)
        net.sittings[0].want()
        await asyncio.wait(tasks, timeout=200)
        for task in tasks:
            task.cancel()  # whoever waits for something still, as at the end of the epoch
        opened = await asyncio.gather(*tasks, return_exceptions=True)
        for sitting in net.sittings:
            await sitting.close()
        for task in net.tasks:
            task.cancel()
        await asyncio.gather(*net.tasks, return_exceptions=True)
        return Told(opened, net.log, net.sittings)

    return run(story(), VirtualLoop())
