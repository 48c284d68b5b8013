"""Lives in the daemons of bench roomfaults: writes down what a device encoded, opened and sent, whatever becomes of the device.

It also raises the caps of the budget, since epochs follow each other within seconds there, and lets long sleeps follow the wall
clock, which the harness turns. The product has no such hooks, and its limits stay.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from asyncio import selector_events
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moodmesh.mesh.clock import SystemClock
from moodmesh.privacy.release.budget import EPOCH_S, Caps, Spent, epoch_of

PATCH = "from moodmesh.nodes.bench.roomfaults.witness import install\ninstall()"
EVENTS, WIRE = "witness.jsonl", "witness.wire"
UDP, TCP = 0, 1
LONG_S, LOOK_S = 60.0, 0.02
_HEAD = struct.Struct("<dQBI")


class Sent(NamedTuple):
    """Bytes as they left a process: `at` in seconds of the machine's monotonic clock, `epoch` as the process had turned to it,
    `kind` UDP or TCP."""

    at: float
    epoch: int
    kind: int
    data: bytes


class Witness:
    """Appends; each entry is with the system, and outlives the process, before what it tells of goes on."""

    def __init__(self, home: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._events, self._wire = (os.open(home / name, flags, 0o600) for name in (EVENTS, WIRE))
        self._clock = SystemClock()
        self.epoch: int | None = None

    def note(self, what: str, **facts: Any) -> None:
        """An event."""
        line = {"at": self._clock.now(), "pid": os.getpid(), "what": what, **facts}
        os.write(self._events, json.dumps(line).encode() + b"\n")

    def sent(self, kind: int, data: bytes) -> None:
        """Bytes that leave."""
        if self.epoch is None:  # the harness has its hands on the clock only now
            self.epoch = epoch_of(self._clock.wall())
        head = _HEAD.pack(self._clock.now(), self.epoch, kind, len(data))
        os.write(self._wire, head + bytes(data))


def install() -> None:
    """Change this process, which is about to be a daemon."""
    witness = Witness(Path(os.environ["MOODMESH_HOME"]))
    _raise_caps()
    _sleep_by_the_wall()
    _tap(witness)
    _watch_rooms(witness)
    _watch_identifiers(witness)


def _raise_caps() -> None:
    from moodmesh.privacy.release.ledger import Ledger

    usual = Ledger.__init__

    def begin(self: Any, path: Path, caps: Any = None, *, begun: bool) -> None:
        usual(self, path, Caps(*[Spent(1e6, 1e6)] * 2), begun=begun)

    Ledger.__init__ = begin  # type: ignore[method-assign]


def _sleep_by_the_wall() -> None:
    usual = SystemClock.sleep

    async def sleep(self: Any, seconds: float) -> None:
        if seconds < LONG_S:
            return await usual(self, seconds)
        due, end = self.wall() + seconds, self.now() + seconds
        while self.wall() < due and self.now() < end:  # noqa: ASYNC110 - the wall clock tells nobody that it was turned
            await asyncio.sleep(LOOK_S)
        return None

    SystemClock.sleep = sleep  # type: ignore[method-assign]


def _tap(witness: Witness) -> None:
    """All sockets of asyncio, below TLS; those of the local API do not leave the device."""
    datagrams, stream = selector_events._SelectorDatagramTransport, selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    sendto, write = datagrams.sendto, stream.write

    def telling(self: Any, data: Any, addr: Any = None) -> None:
        witness.sent(UDP, bytes(data))
        sendto(self, data, addr)

    def writing(self: Any, data: Any) -> None:
        if self.get_extra_info("socket").family in (socket.AF_INET, socket.AF_INET6):
            witness.sent(TCP, bytes(data))
        write(self, data)

    datagrams.sendto, stream.write = telling, writing


def _watch_rooms(witness: Witness) -> None:
    """join, release, shares, once, opened, ended."""
    from moodmesh.mesh.rooms.member import Member
    from moodmesh.nodes.rooms.live import Rooms
    from moodmesh.nodes.rooms.person import RoomPerson

    join, contribute, release, once = Member.join, Member.contribute, RoomPerson.release, RoomPerson.once
    told, sat = Rooms._told, Rooms._once

    def joining(self: Any) -> list[bytes]:
        witness.note("join", epoch=self.run.epoch, attempt=self.run.attempt, key=self.keys.e_pub.hex())
        return join(self)

    def releasing(self: Any, draw: Any) -> Sequence[int]:
        values = [int(v) for v in release(self, draw)]
        self.witnessed = values
        witness.note("release", epoch=draw.roster.run.epoch, attempt=draw.roster.run.attempt, values=values)
        return values

    def contributing(self: Any) -> list[bytes]:
        said = contribute(self)
        if said:
            key, values = self.keys.e_pub.hex(), self._person.witnessed
            witness.note("shares", epoch=self.run.epoch, attempt=self.run.attempt, key=key, values=values, n=self.roster.n)
        return said

    def right(self: Any, draw: Any, contributors: Any) -> bool:
        taken = once(self, draw, contributors)
        witness.note("once", epoch=draw.roster.run.epoch, attempt=draw.roster.run.attempt, taken=taken)
        return taken

    async def telling(self: Any, seat: Any, person: Any, opened: Any) -> None:
        seats = opened.draw.roster.seats
        keys = sorted(seats[i].e_pub.hex() for i in opened.contributors)
        facts = {"sums": list(opened.sums), "keys": keys, "n": len(seats), "unchecked": opened.unchecked}
        witness.note("opened", epoch=opened.draw.roster.run.epoch, attempt=opened.draw.roster.run.attempt, **facts)
        await told(self, seat, person, opened)

    async def sitting(self: Any, seat: Any, person: Any) -> None:
        epoch = self.epoch
        await sat(self, seat, person)
        witness.note("ended", epoch=epoch, state=seat.state)

    Member.join, Member.contribute = joining, contributing  # type: ignore[method-assign]
    RoomPerson.release, RoomPerson.once = releasing, right  # type: ignore[method-assign]
    Rooms._told, Rooms._once = telling, sitting  # type: ignore[method-assign]


def _watch_identifiers(witness: Witness) -> None:
    """turn: the moment from which an identifier of this device is another one, and what it is then."""
    from moodmesh.mesh.discovery.mdns import MdnsFinder
    from moodmesh.mesh.rid import Rids
    from moodmesh.mesh.rooms.doors import Doors
    from moodmesh.mesh.tls import PeerTls

    rotate, rotated, register, open_ = Rids.rotate, PeerTls._rotated, MdnsFinder._register, Doors.open

    def turning(self: Any) -> None:
        witness.note("boundary", old=self.current.hex())
        witness.epoch = epoch_of(self._clock.wall() + 1.0)
        rotate(self)
        witness.note("turn", of="rid", to=self.current.hex())

    def certified(self: Any) -> None:
        rotated(self)
        witness.note("turn", of="certificate")

    async def naming(self: Any, *args: Any) -> None:
        await register(self, *args)
        witness.note("turn", of="mdns", to=self._info.name.partition(".")[0])

    async def opening(self: Any, *args: Any) -> int:
        port = await open_(self, *args)
        witness.note("turn", of="listener", to=port)
        return port

    Rids.rotate, PeerTls._rotated = turning, certified  # type: ignore[method-assign]
    MdnsFinder._register, Doors.open = naming, opening  # type: ignore[method-assign, assignment]


def captured(home: Path) -> Iterator[Sent]:
    """Everything that left the processes of a home; what was cut off by the end of one is left out."""
    data, at = (home / WIRE).read_bytes(), 0
    while at + _HEAD.size <= len(data):
        when, epoch, kind, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size + size
        if at <= len(data):
            yield Sent(when, epoch, kind, data[at - size : at])


def epoch_begin(epoch: int) -> float:
    """The wall time of its beginning."""
    return float(epoch * EPOCH_S)
