"""Where the story plays: the same words for daemons in processes of their own and for twins in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from moodmesh.nodes.bench.virtual import VirtualLoop, run
from moodmesh.nodes.demo.keeper import Keeper
from moodmesh.nodes.demo.room.moods import Point
from moodmesh.nodes.demo.room.net import Net
from moodmesh.nodes.demo.room.twins import Twin, live
from moodmesh.nodes.demo.scene import DemoFailed
from moodmesh.nodes.rooms.model import Descriptor, Reading
from moodmesh.nodes.rooms.mood import RoomMood, Shown, filtered, shown
from moodmesh.privacy.release.budget import EPOCH_S


class Told(NamedTuple):
    """What the first person's device knows after an epoch; `last` is None, and `why` says so, when it told nothing new."""

    last: Reading | None
    shown: Shown | None
    smooth: RoomMood | None
    why: str


class Stage(Protocol):
    """People by number. What is done to them takes effect before it returns."""

    room: Descriptor

    def joins(self, who: int) -> None:
        """Takes part from now on."""

    def leaves(self, who: int) -> None:
        """Takes no part any more."""

    def crashes(self, who: int) -> None:
        """Its device is gone without a word."""

    def returns(self, who: int) -> None:
        """The device is back, and still in the room."""

    def open(self, epoch: int, moods: Sequence[Point], crashes: Mapping[int, float]) -> Told:
        """An epoch in which the room is asked; `crashes`: who vanishes so many seconds after that."""

    def close(self) -> None:
        """Leave nothing behind."""


class Twins:
    """People in memory. `crashed` is told who vanished, and when."""

    def __init__(self, people: int, room: Descriptor, crashed: Callable[[int, float], None]) -> None:
        self._keeper = Keeper()
        self.room, self._crashed = room, crashed
        self.twins = [Twin.new(self._keeper.root, i) for i in range(people)]
        self._here: set[int] = set()

    def joins(self, who: int) -> None:
        """By number."""
        self._here.add(who)

    def leaves(self, who: int) -> None:
        """Its readings go; its ledger and the epochs that it closed stay."""
        self._here.discard(who)
        self.twins[who].readings.clear()

    def crashes(self, who: int) -> None:
        """Between epochs."""
        self._here.discard(who)

    def returns(self, who: int) -> None:
        """With all that was on its disk."""
        self._here.add(who)

    def open(self, epoch: int, moods: Sequence[Point], crashes: Mapping[int, float]) -> Told:
        """In virtual time. `DemoFailed` when a sum is not what its contributors released."""
        here = {i: self.twins[i] for i in sorted(self._here)}
        lived = run(live(Net(list(here)), self.room, epoch, here, moods, crashes, self._crashed), VirtualLoop())
        if not lived.right():
            raise DemoFailed("a sum was opened that is not the sum of what its contributors released")
        self._here -= crashes.keys()
        readings = self.twins[0].readings
        last = readings[-1] if readings and readings[-1].epoch == epoch else None
        smooth = filtered(readings, epoch * EPOCH_S)
        return Told(last, shown(self.room.kind, readings), smooth, lived.why.get(0, "it came to no end"))

    def close(self) -> None:
        """The ledgers go."""
        self._keeper.finish()
