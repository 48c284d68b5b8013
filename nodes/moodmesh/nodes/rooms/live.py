"""The rooms of a running node: a sitting of each in every epoch, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from moodmesh.mesh.admission import is_loopback
from moodmesh.mesh.binding import EVERYWHERE
from moodmesh.mesh.clock import Clock, within
from moodmesh.mesh.endpoint import Endpoint
from moodmesh.mesh.errors import MeshError
from moodmesh.mesh.rooms.doors import Doors, PipePlace, ask
from moodmesh.mesh.rooms.member import Declined, Opened
from moodmesh.mesh.rooms.sitting import Aborted, Around, Place, Sitting, Timing, room_tag
from moodmesh.mesh.rooms.transcript import Keys, claimed
from moodmesh.mesh.rooms.wire import MOST_MEMBERS, Malformed, Step, decode
from moodmesh.mesh.seams import DeviceId, LinkClosed
from moodmesh.nodes.background import Background
from moodmesh.nodes.discovery import Discovery
from moodmesh.nodes.errors import NotFound, Refused, UsageError
from moodmesh.nodes.messages import RoomInvite, RoomMember, RoomWord
from moodmesh.nodes.peers import Peers
from moodmesh.nodes.rooms.around import Near, Paired
from moodmesh.nodes.rooms.barred import Barred
from moodmesh.nodes.rooms.book import RoomBook
from moodmesh.nodes.rooms.model import Descriptor, Reading, Room, Trust, read_code
from moodmesh.nodes.rooms.person import Known, RoomPerson, mechanism, rehearsal
from moodmesh.nodes.rooms.ways import Way, Ways
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.budget import EPOCH_S, epoch_of, exceeded
from moodmesh.privacy.release.ledger import Charge, Closed, Ledger, Sent
from moodmesh.privacy.sums.field import P
from moodmesh.privacy.sums.later import load

SETTLE_S = 3.0
"""After an epoch began: everybody has shown the new identifiers, and clocks differ a little."""
GATHER_S, SLOT_S, SPREAD_S = 12.0, 22.0, 3.0
"""Ambient rooms, from the beginning of the epoch: when joining begins, when shares begin to leave, and for how long they do."""
TOO_LATE_S = 45.0
_OFF = "circles tell exact means, and are off on this device: `privacy.circle`"
MOST_INVITED, MOST_ASKED = 50, 20
FIRST_WORD_S, MOST_HERE, MOST_OF_ONE = 10.0, 1100, 8
"""Seconds until a stranger names a room; ways at a time, in all and from one address."""
log = logging.getLogger(__name__)


@dataclass
class Seat:
    """One joined room in the running epoch. `claims`: keys of paired devices; `unwelcome`: of those that were found out
    cheating; `present`: paired devices that are in it now; `keys`: those of this device; `state`: what it does now, or why it
    told nothing, in words."""

    room: Room
    known: Known
    readings: list[Reading]
    claims: dict[DeviceId, bytes] = field(default_factory=dict)
    unwelcome: set[bytes] = field(default_factory=set)
    present: set[DeviceId] = field(default_factory=set)
    sitting: Sitting | None = None
    task: asyncio.Task[None] | None = None
    keys: Keys | None = None
    state: str = "waiting for the next epoch"


class Rooms:
    """What the API and the daemon see of rooms."""

    def __init__(
        self, me: DeviceId, book: RoomBook, barred: Barred, ledger: Ledger, mood: Callable[[], EmotionVector | None],
        peers: Peers, endpoint: Endpoint, discovery: Discovery, clock: Clock, *,
        circles: bool = True, hosts: Sequence[str] = EVERYWHERE,
    ) -> None:  # fmt: skip
        self._me, self._book, self._barred, self.ledger, self._mood, self._peers = me, book, barred, ledger, mood, peers
        self._endpoint, self._discovery, self._clock, self._hosts = endpoint, discovery, clock, hosts
        self._circles = circles
        self._seating = asyncio.Lock()
        """One device sits in a room once: whoever joins, leaves or begins an epoch does so alone."""
        self.seats: dict[str, Seat] = {}
        self.invited: dict[str, tuple[Descriptor, DeviceId]] = {}
        self._ways = Ways(peers.send, self._serve, self._slow)
        self._doors: Doors | None = None
        self._port = 0
        self._turned = asyncio.Event()
        self._inside: Counter[str] = Counter()
        self._background = Background()
        self._loop: asyncio.AbstractEventLoop
        self.epoch = epoch_of(clock.wall())

    def _slow(self, peer: DeviceId) -> bool:
        link = self._endpoint.links.get(peer)
        return link is not None and link.slow

    async def run(self) -> None:
        """Until cancelled."""
        self._loop = asyncio.get_running_loop()
        async with self._seating:
            await self._barred.load()
            for room in await self._book.rooms():
                await self._seat(room)
        self._endpoint.rids.watch(self._turned.set)
        try:
            while True:
                self._turned.clear()
                async with self._seating:
                    self.epoch = epoch_of(self._clock.wall() + 1.0)
                    await self._show()
                    await self._rise(list(self.seats.values()))  # also what was joined while the epoch turned
                    for seat in self.seats.values():
                        self._sit(seat)
                await self._turned.wait()
                await self._rise(list(self.seats.values()))
        finally:
            await self._rise(list(self.seats.values()))
            await self._ways.finish()
            await self._background.finish(cancel=True)
            if self._doors is not None:
                await self._doors.close()

    # -- what a user asks ----------------------------------------------------------------------------------------------

    async def join(self, descriptor: Descriptor, trust: Trust, every: int = 1) -> Seat:
        """Take part from now on; `Refused` for a circle of people who are not all paired with this device."""
        async with self._seating:
            if descriptor.kind == "circle":
                self._may_join(descriptor, every)
            if descriptor.room in self.seats:
                raise Refused(f"this device is in {self.seats[descriptor.room].room.name} already", "joined")
            seat = await self._seat(await self._book.join(Room(descriptor, trust, self._clock.wall(), every=every)))
            self.invited.pop(descriptor.room, None)
            await self._show()
            self._sit(seat)
            return seat

    def _may_join(self, circle: Descriptor, every: int) -> None:
        names = self._peers.names()
        if not self._circles:
            raise Refused(_OFF, "circle")
        if self._me not in circle.people:
            raise Refused("this circle was agreed on without this device", "circle")
        if missing := [p for p in circle.people if p not in names]:
            told = ", ".join(p[:8] for p in missing)
            raise Refused(f"pair with all of the circle first: {told} is no peer of this device", "circle")
        if every > 1:
            raise UsageError("a circle needs everybody: nobody in it can sit out by a schedule")

    async def pace(self, seat: Seat, every: int) -> None:
        """Take part in one epoch of so many, from the next one on; `UsageError` for a circle."""
        if seat.room.descriptor.kind == "circle":
            raise UsageError("a circle needs everybody: nobody in it can sit out by a schedule")
        await self._book.pace(seat.room.descriptor.room, every)
        seat.room = replace(seat.room, every=every)

    async def leave(self, seat: Seat) -> None:
        """At once: nothing more is sent."""
        room = seat.room.descriptor
        async with self._seating:
            if self.seats.get(room.room) is not seat:
                raise NotFound(f"this device is in {room.name} no more")
            del self.seats[room.room]
            await self._rise([seat])
            for peer in map(DeviceId, room.people):
                if self._meant_for(seat, peer):
                    self._peers.send(peer, RoomMember(tag=self._tag(seat).hex(), epoch=self.epoch, left=True))
            await self._book.leave(room.room)
            await self._show()

    def ask(self, seat: Seat) -> None:
        """Have it opened in this epoch; `Refused` for an ambient room, which does so by itself, and at the end of one."""
        if seat.room.descriptor.kind == "ambient":
            raise Refused("an ambient room tells by itself, once in ten minutes", "ambient")
        if self._is_off(seat):
            raise Refused(_OFF, "circle")
        if seat.sitting is None or seat.task is None or seat.task.done():
            raise Refused(f"not in this epoch any more: {seat.state}; the next begins in {self.left_s():.0f} s", "epoch")
        if self.left_s() < TOO_LATE_S:
            raise Refused(f"this epoch ends in {self.left_s():.0f} s: ask again after that", "epoch")
        seat.sitting.want()

    def invite(self, seat: Seat, peer: DeviceId) -> None:
        """Tell a paired device of it; `Refused` without a link, and when it takes no invitations from this one."""
        if "room.invite" not in self._peers.peers[peer].rights:
            name = self._peers.names().get(peer, peer[:8])
            why = f"{name} takes no invitations from this device: `moodmesh peers allow NAME room.invite` there changes that"
            raise Refused(why + ", or give it the code", "permission")
        if not self._peers.send(peer, RoomInvite(code=seat.room.descriptor.code())):
            raise Refused("no link to that device now: give it the code instead", "away")

    def find(self, name: str) -> Seat:
        """By name or the beginning of its id; `NotFound`, `UsageError` when several fit."""
        found = [s for s in self.seats.values() if s.room.name == name] or [
            s for key, s in self.seats.items() if key.startswith(name)
        ]
        if len(found) > 1:
            raise UsageError(f"several rooms are called {name}: give the beginning of an id")
        if not found:
            raise NotFound(f"this device is in no room {name!r}: `moodmesh room list` shows them")
        return found[0]

    async def near(self) -> list[Descriptor]:
        """Open rooms of devices near, that this one is not in."""
        told = await asyncio.gather(*(ask(address) for address in self._discovery.open_listeners()[:MOST_ASKED]))
        found: dict[str, Descriptor] = {}
        for code in itertools.chain.from_iterable(told):
            with contextlib.suppress(UsageError):
                room = read_code(code)
                if room.open and room.room not in self.seats:
                    found[room.room] = room
        return list(found.values())

    async def possible(self, room: Descriptor) -> None:
        """`UsageError` for a room whose very first release the budget of this device would refuse; `Refused` for one that it
        knows under other conditions."""
        await self._book.fits(room)
        how = mechanism(room, room.least)
        if 2 * how.bound(room.least) >= P:
            raise UsageError("with this budget the noise is larger than the protocol has room for: raise `privacy.hour_room`")
        if (why := exceeded([], how.price(room.least // 2), 0, self.ledger.caps)) is not None:
            raise UsageError(f"with the budget of this device it could never send to it: {why}")

    async def preview(self, room: Descriptor) -> dict[str, Any]:
        """What left in this epoch, byte for byte; or, before, such bytes of a room of the least size, with keys made up.
        `forgotten`: shares left of which the bytes are no longer kept, before this device started again, or left the room."""
        seat = self.seats.get(room.room)
        said = seat.sitting.said if seat is not None and seat.sitting is not None else []
        forgotten = not _left(said) and await asyncio.to_thread(self._entered, room)
        sent = forgotten or any(decode(data).step is not Step.HERE for data in said)
        if not sent:
            said = [*said, *await asyncio.to_thread(rehearsal, room)]
        steps = [{"step": decode(data).step.name.lower(), "bytes": len(data), "hex": data.hex()} for data in said]
        about = {"room": room.name, "kind": room.kind, "joined": seat is not None, "sent": sent, "forgotten": forgotten}
        return {**about, "messages": steps, "bytes": sum(len(data) for data in said)}

    def _entered(self, room: Descriptor) -> bool:
        """Whether shares left for it in this epoch, by the ledger; `Refused` for one that cannot be believed."""
        try:
            lines = self.ledger.lines()
        except Closed as error:
            raise Refused(str(error), "ledger") from None
        return any(isinstance(e, Charge | Sent) and (e.room, e.epoch) == (room.room, self.epoch) for e in lines)

    def _open_rooms(self) -> list[str]:
        return [s.room.descriptor.code() for s in self.seats.values() if s.room.descriptor.open]

    def left_s(self) -> float:
        """Seconds until this epoch ends."""
        return EPOCH_S - self._clock.wall() % EPOCH_S

    # -- what peers say ------------------------------------------------------------------------------------------------

    def hear(self, peer: DeviceId, message: RoomWord | RoomMember | RoomInvite) -> None:
        """From a paired device."""
        match message:
            case RoomWord():
                self._ways.hear(peer, message)
            case RoomMember():
                seat = next((s for s in self.seats.values() if self._tag(s).hex() == message.tag), None)
                if seat is not None and message.epoch == self.epoch:
                    self._met(seat, peer, message)
            case RoomInvite():
                with contextlib.suppress(UsageError):
                    found = read_code(message.code)
                    if found.room not in self.seats and len(self.invited) < MOST_INVITED:
                        self.invited[found.room] = found, peer

    def _met(self, seat: Seat, peer: DeviceId, message: RoomMember) -> None:
        if not self._meant_for(seat, peer):
            return
        if message.left:
            seat.present.discard(peer)
            return
        if peer not in seat.present and seat.room.descriptor.kind == "circle":
            self._say_here(seat, peer)
        seat.present.add(peer)
        key, proof = bytes.fromhex(message.key or ""), bytes.fromhex(message.proof)
        if not claimed(key, proof, seat.room.descriptor.id, self.epoch, peer):
            return
        if peer in self._barred:
            seat.unwelcome.add(key)
        else:
            seat.claims[peer] = key

    def _meant_for(self, seat: Seat, peer: DeviceId | None) -> bool:
        """Whether a paired device, or without one a stranger, may have a part in it: in a circle only who is named, and nobody
        where circles are off."""
        room = seat.room.descriptor
        return room.kind != "circle" or (peer in room.people and not self._is_off(seat))

    def _is_off(self, seat: Seat) -> bool:
        return seat.room.descriptor.kind == "circle" and not self._circles

    def up(self, peer: DeviceId) -> None:
        """A peer is linked: it may have missed what was said."""
        for seat in self.seats.values():
            self._say_here(seat, peer)

    def down(self, peer: DeviceId) -> None:
        """The link to a peer is gone."""
        self._ways.down(peer)

    # -- epochs --------------------------------------------------------------------------------------------------------

    async def _seat(self, room: Room) -> Seat:
        readings = list(await self._book.readings(room.descriptor.room))
        seat = self.seats[room.descriptor.room] = Seat(room, Known(room.size, room.closed), readings)
        return seat

    async def _show(self) -> None:
        """A new open listener and the tags of the rooms, while there are any for strangers."""
        rid = self._endpoint.rids.current
        strangers = [s for s in self.seats.values() if s.room.descriptor.kind != "circle" and not s.room.out_for(self.epoch)]
        if self._doors is not None and (not strangers or self._doors.rid != rid):
            await self._doors.close()
            self._doors = None
        if strangers and self._doors is None:
            doors = Doors(rid, self._serve, self._open_rooms, self._clock)
            try:
                self._port, self._doors = await doors.open(self._hosts), doors
            except (OSError, MeshError) as error:  # the node goes on; this device gathers for nobody
                log.warning("no open listener for rooms in this epoch: %s", error)
        tags = [self._tag(seat) for seat in strangers]
        here = self._doors
        self._discovery.show_rooms(tags if here else [], self._port if here else None, here.adopt if here else None)

    def _sit(self, seat: Seat) -> None:
        d = seat.room.descriptor
        person = RoomPerson(
            d, seat.room.trust, self._me, self.ledger, self._mood, seat.claims, seat.known,
            close=lambda epoch: self._await(self._book.close(d.room, epoch)),
            claim=lambda keys: self._claim(seat, keys), unwelcome=seat.unwelcome, company=self._company,
        )  # fmt: skip
        seat.claims.clear()
        seat.unwelcome.clear()
        seat.present.clear()
        seat.keys = None
        if self._is_off(seat):
            seat.state = _OFF
            return
        if out := seat.room.out_for(self.epoch):
            seat.state = f"sits out by its schedule, one epoch of {seat.room.every}: again in {out * 10} minutes at most"
            return
        for peer in d.people:
            self._say_here(seat, DeviceId(peer))
        timing = Timing()
        if d.kind == "ambient":
            began = self._clock.wall() % EPOCH_S
            timing = Timing(slot=max(0.0, SLOT_S - GATHER_S), spread=SPREAD_S, within=120.0)
            if began > GATHER_S:
                seat.state = "the room has told in this epoch, or does so now: this device takes part from the next one on"
                return
        enough = len(d.people) or MOST_MEMBERS
        around = self._around(seat)
        seat.sitting = Sitting(d.id, self.epoch, person, around, self._clock, timing, asyncio.to_thread, enough)
        seat.state = "here"
        seat.task = asyncio.create_task(self._sat(seat, person))

    async def _sat(self, seat: Seat, person: RoomPerson) -> None:
        assert seat.sitting is not None
        room = seat.room.descriptor
        try:
            await asyncio.to_thread(load)
            await self._clock.sleep(SETTLE_S - min(SETTLE_S, self._clock.wall() % EPOCH_S))
            if room.kind == "ambient":
                seat.sitting.want_at(self._clock.now() + GATHER_S - SETTLE_S)
            while not seat.sitting.spoke:
                await self._once(seat, person)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a room could not go on")
            seat.state = "this device failed in it; its log says where"

    async def _once(self, seat: Seat, person: RoomPerson) -> None:
        assert seat.sitting is not None
        room = seat.room.descriptor
        try:
            await self._told(seat, person, await seat.sitting.take_part())
        except (Aborted, Declined) as error:
            seat.state = str(error)
            enter = self.ledger.sent if _left(seat.sitting.said) else self.ledger.refuse
            with contextlib.suppress(Closed, OSError):
                await asyncio.to_thread(enter, self.epoch, room.room, str(error))
        await self._bar(seat)

    async def _bar(self, seat: Seat) -> None:
        """Whoever was found out: the device of a paired one, and the address from which it came here."""
        assert seat.sitting is not None
        keys, places = seat.sitting.excluded, seat.sitting.excluded_places
        hosts = {place.host for place in places if isinstance(place, PipePlace) and not is_loopback(place.host)}
        await self._barred.add({*(peer for peer, key in seat.claims.items() if key in keys), *hosts})

    async def _told(self, seat: Seat, person: RoomPerson, opened: Opened) -> None:
        """From a sum to a reading that is kept."""
        reading = await asyncio.to_thread(person.reading, opened)
        seat.readings.append(reading)
        seat.state = "told in this epoch"
        seat.known.size = reading.n
        await self._book.told(seat.room.descriptor.room, reading, reading.n)

    def _around(self, seat: Seat) -> Around:
        room = seat.room.descriptor
        if room.kind == "circle":
            people = [DeviceId(p) for p in room.people]
            return Paired(self._me, people, lambda p: p in seat.present, self._ways)
        tag = self._tag(seat)
        return Near(self._endpoint.rids.current, self._port, lambda: self._discovery.in_room(tag))

    def _tag(self, seat: Seat) -> bytes:
        return room_tag(seat.room.descriptor.id, self.epoch)

    def _claim(self, seat: Seat, keys: Keys) -> None:
        """Paired devices learn which key is this one's; who is not in the room learns that this one is in some room."""
        seat.keys = keys

        def tell() -> None:
            for peer in self._peers.linked():
                self._say_here(seat, peer.id)

        self._loop.call_soon_threadsafe(tell)

    def _company(self) -> int:
        """Also in another thread: this device, and who is linked."""
        return 1 + sum(peer.link is not None for peer in list(self._peers.peers.values()))

    def _say_here(self, seat: Seat, peer: DeviceId) -> None:
        """That this device is in a room now, and with which key; of a circle to its people only."""
        circle = seat.room.descriptor.kind == "circle"
        key, proof = (seat.keys.e_pub.hex(), seat.keys.claim(self._me).hex()) if seat.keys is not None else (None, "")
        if self._meant_for(seat, peer) and (circle or key is not None):
            self._peers.send(peer, RoomMember(tag=self._tag(seat).hex(), epoch=self.epoch, key=key, proof=proof))

    async def _serve(self, place: Place | PipePlace) -> None:
        """Whoever comes names a room and an epoch with the first message, soon."""
        try:
            first = await within(self._clock, FIRST_WORD_S, place.receive())
            message = decode(first)
        except (LinkClosed, Malformed, TimeoutError):
            place.close()
            return
        seat, host = self.seats.get(message.room.hex()), place.host if isinstance(place, PipePlace) else ""
        most = MOST_HERE if not host or is_loopback(host) else MOST_OF_ONE
        full = self._inside[host] >= most or self._inside.total() >= MOST_HERE
        peer = place.peer if isinstance(place, Way) else None
        meant = seat is not None and self._meant_for(seat, peer)
        if seat is None or seat.sitting is None or message.epoch != self.epoch or full or host in self._barred or not meant:
            place.close()
            return
        if isinstance(place, PipePlace):
            place.known()
        self._inside[host] += 1
        try:
            await seat.sitting.serve(place, first)
        finally:
            self._inside[host] -= 1
            self._inside += Counter()  # forgets who is gone

    async def _rise(self, seats: Sequence[Seat]) -> None:
        tasks = [seat.task for seat in seats if seat.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for seat in seats:
            if seat.sitting is not None:
                await seat.sitting.close()
            seat.sitting = seat.task = None

    def _await(self, work: object) -> None:
        """From another thread: until the disk has it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result()  # type: ignore[arg-type]


def _left(said: Sequence[bytes]) -> bool:
    """Whether shares of this device are among what it said."""
    return any(decode(data).step is Step.SHARES for data in said)
