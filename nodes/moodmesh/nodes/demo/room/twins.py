"""People in memory: what each device of a room does in an epoch, with the code of the product, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moodmesh.mesh.rooms.member import Declined, Opened
from moodmesh.mesh.rooms.sitting import Aborted, Sitting, Timing
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.bench.virtual import LoopClock
from moodmesh.nodes.demo.room.moods import Point
from moodmesh.nodes.demo.room.net import Net, Spot
from moodmesh.nodes.moods.state import SAID_SD
from moodmesh.nodes.rooms.live import GATHER_S, SETTLE_S, SLOT_S, SPREAD_S
from moodmesh.nodes.rooms.model import Descriptor, Reading
from moodmesh.nodes.rooms.person import Known, RoomPerson
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.budget import EPOCH_S
from moodmesh.privacy.release.ledger import Ledger

ASK_S = SETTLE_S + 1.0
"""Into the epoch: somebody asks an on-demand room."""
PATIENCE_S = 60.0
"""After that, or after an ambient room began to gather, whatever hangs is given up."""


@dataclass
class Witness(RoomPerson):
    """A person of the product whose released numbers the demo sees."""

    sent: tuple[int, ...] = ()

    def release(self, draw: object) -> tuple[int, ...]:
        """As a person does."""
        self.sent = tuple(super().release(draw))  # type: ignore[arg-type]
        return self.sent


@dataclass
class Twin:
    """A device that stays the same from epoch to epoch; its ledger is a file."""

    device: DeviceId
    ledger: Ledger
    known: Known = field(default_factory=Known)
    readings: list[Reading] = field(default_factory=list)

    @classmethod
    def new(cls, root: Path, number: int) -> Twin:
        """With nothing spent."""
        device = DeviceId(f"person-{number}")
        return cls(device, Ledger(root / device / "ledger", begun=False))


@dataclass
class Lived:
    """What became of an epoch, by device. `told_s`, `began_s`: virtual seconds into it at which a device had read the sum, and
    at which it was asked for."""

    began_s: float
    people: dict[int, Witness] = field(default_factory=dict)
    keys: dict[bytes, int] = field(default_factory=dict)
    opened: dict[int, Opened] = field(default_factory=dict)
    told_s: dict[int, float] = field(default_factory=dict)
    why: dict[int, str] = field(default_factory=dict)

    def right(self) -> bool:
        """Whether all who read a sum read the same, and that of what its contributors released."""
        return all(found.sums == self._released(found) for found in self.opened.values())

    def _released(self, opened: Opened) -> tuple[int, ...]:
        seats = opened.draw.roster.seats
        sent = [self.people[self.keys[seats[i].e_pub]].sent for i in opened.contributors]
        return tuple(map(sum, zip(*sent, strict=True)))


async def live(
    net: Net, room: Descriptor, epoch: int, twins: Mapping[int, Twin], moods: Sequence[Point],
    crashes: Mapping[int, float], crashed: Callable[[int, float], None] = lambda who, at: None,
) -> Lived:  # fmt: skip
    """One epoch of a room. `crashes`: who vanishes, how long after the wish for a sum. `crashed` is told when."""
    clock = LoopClock(asyncio.get_running_loop(), epoch * EPOCH_S)
    ambient = room.kind == "ambient"
    lived = Lived(GATHER_S if ambient else ASK_S)
    timing = Timing(slot=SLOT_S - GATHER_S, spread=SPREAD_S, within=120.0) if ambient else Timing()
    for i, twin in twins.items():
        lived.people[i] = _person(room, twin, moods[i], lived.keys, i)
        net.sittings[i] = Sitting(room.id, epoch, lived.people[i], Spot(net, i), clock, timing, net.carry(i))
    tasks = {i: asyncio.ensure_future(_sat(net, twin, i, lived, clock)) for i, twin in twins.items()}

    async def crash(who: int, at: float) -> None:
        await clock.sleep(lived.began_s + at)
        tasks[who].cancel()
        await net.down(who)
        lived.why.setdefault(who, "crashed")
        crashed(who, at)

    crashing = [asyncio.ensure_future(crash(who, at)) for who, at in sorted(crashes.items(), key=lambda one: one[1])]
    for i in twins if ambient else [min(twins)]:
        net.sittings[i].want_at(lived.began_s)
    await asyncio.wait([*tasks.values(), *crashing], timeout=lived.began_s + PATIENCE_S)
    for task in tasks.values():
        task.cancel()
    for found in await asyncio.gather(*tasks.values(), *crashing, return_exceptions=True):
        if isinstance(found, Exception):
            raise found
    for i in list(net.sittings):
        await net.down(i)
    return lived


def _person(room: Descriptor, twin: Twin, mood: Point, keys: dict[bytes, int], number: int) -> Witness:
    """Strangers: nobody claims a key over a pinned link, so two thirds of the others are assumed to be people."""
    felt = EmotionVector(*mood, valence_sd=SAID_SD, arousal_sd=SAID_SD, at=0.0)
    return Witness(
        room, "assumed", twin.device, twin.ledger, lambda: felt, {}, twin.known, close=lambda epoch: None,
        claim=lambda own: keys.update({own.e_pub: number}),
    )  # fmt: skip


async def _sat(net: Net, twin: Twin, number: int, lived: Lived, clock: LoopClock) -> None:
    """As a daemon does it, from when the epoch has settled."""
    sitting = net.sittings[number]
    await clock.sleep(SETTLE_S)
    while not sitting.spoke:
        try:
            opened = await sitting.take_part()
            twin.readings.append(await net.carry(number)(lived.people[number].reading, opened))
            lived.opened[number], lived.told_s[number] = opened, clock.now()
            twin.known.size = opened.draw.roster.n
        except (Aborted, Declined) as error:
            lived.why[number] = str(error)
