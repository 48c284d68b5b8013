"""This device as a member of a room: what it agrees to, what it sends, and what that costs (room-mood §2, §6 to §8).

Everything here runs away from the event loop: it writes to the disk before anything may be sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from moodmesh.mesh.rooms.member import Declined, Member, Opened
from moodmesh.mesh.rooms.relay import Gathering
from moodmesh.mesh.rooms.sitting import Aborted
from moodmesh.mesh.rooms.transcript import Draw, Keys, Params, Roster, Run
from moodmesh.mesh.rooms.wire import MOST_MEMBERS, decode
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.rooms.model import Descriptor, Reading, Trust
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.budget import total
from moodmesh.privacy.release.gaussian import SCALE
from moodmesh.privacy.release.ledger import Charge, Ledger, Refused
from moodmesh.privacy.release.mechanism import Ambient, Circle, Encoded, Mechanism, OnDemand, clip
from moodmesh.privacy.sums.committee import size
from moodmesh.privacy.sums.field import P

GROWTH, LEAST_GROWTH, GROWS_FREELY = 1.25, 2, 8


def mechanism(room: Descriptor, n: int) -> Mechanism:
    """How a room of `n` encodes."""
    match room.kind:
        case "circle":
            return Circle()
        case "on-demand":
            return OnDemand(room.eps)
        case "ambient":
            return Ambient.within(n, room.hour_room, room.hour_alone)


def agreed(room: Descriptor, n: int) -> Params:
    """What the members of a room of `n` have in common; `Declined` for too few."""
    if n < room.least:
        raise Declined(f"the room is too small to know: {n} are here, {room.least} are needed")
    m, t = (n, n) if room.kind == "circle" else size(n)
    how = mechanism(room, n)
    if 2 * how.bound(n) >= P:
        raise Declined("the noise of this budget does not fit the field of the protocol: raise `privacy.hour_room`")
    sigma = how.sigma if isinstance(how, Ambient) else 0
    honest = n // 2 if room.kind == "ambient" else 0
    return Params(room.kind, room.least, m, t, eps=1000 * room.eps, sigma=sigma, honest=honest)


@dataclass
class Known:
    """What is remembered of a room between its epochs: how many were there last, and the last epoch that was closed here."""

    size: int = 0
    closed: int = -1


@dataclass
class RoomPerson:
    """Implements `Person`. `mood`: what its owner feels now, None when that is not known; `claims`: keys that paired devices
    claimed for this epoch, by device; `close`: writes down, durably, that the right of this epoch was used;
    `claim`: tells paired devices which key is this one's; `unwelcome`: keys of paired devices that were found out cheating."""

    room: Descriptor
    trust: Trust
    me: DeviceId
    ledger: Ledger
    mood: Callable[[], EmotionVector | None]
    claims: Mapping[DeviceId, bytes]
    known: Known
    close: Callable[[int], None]
    claim: Callable[[Keys], None]
    unwelcome: Collection[bytes] = ()
    _encoded: Encoded | None = None
    _ctx: bytes = b""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def joining(self, keys: Keys) -> None:
        """Paired devices may know it as one person."""
        self.claim(keys)

    def params(self, n: int) -> Params:
        """Of a room of `n`; `Declined` for too few."""
        return agreed(self.room, n)

    def welcome(self, e_pub: bytes) -> bool:
        """Whoever was not found out cheating within a day."""
        return e_pub not in self.unwelcome

    def most(self) -> int:
        """A room that has come to some size grows by a quarter an epoch, and by two at least."""
        size = self.known.size
        if self.room.kind == "circle" or size < GROWS_FREELY:
            return MOST_MEMBERS
        return max(size + LEAST_GROWTH, int(GROWTH * size))

    def accepts(self, roster: Roster) -> None:
        """A circle is of the people named; other rooms do not grow at a pace that strangers in number would need."""
        if self.room.kind == "circle":
            people = self._people(roster, range(roster.n))
            if set(people) != set(self.room.people) or roster.n != len(self.room.people):
                raise Declined("the circle is not the people it was agreed on, each paired with this device and here")
        elif roster.n > (most := self.most()):
            raise Declined(f"the room grew from {self.known.size} to {roster.n} at once: at most {most} are taken in")

    def release(self, draw: Draw) -> Sequence[int]:
        """Charged for first; the same numbers again in the same epoch, and but for a circle in the same attempt alone: a second
        polynomial through them would let half of each committee open them."""
        with self._lock:
            if self._encoded is not None:
                if draw.ctx != self._ctx and self.room.kind != "circle":
                    raise Declined("what this device had to say in this epoch went out in an attempt that came to nothing")
                return self._encoded
            mood = self.mood()
            if mood is None:
                raise Declined("how you feel is not known: `moodmesh feel` says it")
            how = self.mechanism(draw.roster.n)
            if self.room.kind != "circle":
                self._charge(self._entry(draw))
            self._encoded, self._ctx = how.encode(mood), draw.ctx
            self.known.size = draw.roster.n  # once an epoch: attempts that come to nothing do not let a room grow
            return self._encoded

    def once(self, draw: Draw, contributors: Collection[int]) -> bool:
        """Its one right in an epoch, used up on disk before it is used; of a circle, after the audit of what it tells. Of other
        rooms what it sent is priced anew for whom it helps to open: it may never be told the sum."""
        with self._lock:
            epoch = draw.roster.run.epoch
            if self.known.closed >= epoch:
                return False
            if self.room.kind == "circle":
                self._charge(self._entry(draw))
            else:
                self._reprice(draw, sorted(contributors))
            self.close(epoch)
            self.known.closed = epoch
            return True

    def reading(self, opened: Opened) -> Reading:
        """From a sum to what it tells, entered in the ledger; `Aborted` for a sum that no members could have made."""
        draw, members = opened.draw, sorted(opened.contributors)
        n, how, honest = draw.roster.n, self.mechanism(draw.roster.n), self._reprice(draw, members)
        if max(abs(v) for v in opened.sums) > how.bound(len(members)):
            raise Aborted("the sum is one that its members cannot have made: somebody lied, and nothing is shown")
        v, a = clip(*(value / (SCALE * len(members)) for value in opened.sums))
        spent = total([how.price(honest)])
        return Reading(
            draw.roster.run.epoch, v, a, n, len(members), self.verified(draw, members), how.rms(len(members)),
            spent.room, spent.alone, opened.unchecked,
        )  # fmt: skip

    def verified(self, draw: Draw, members: Sequence[int]) -> int:
        """How many of them this device knows to be people: itself, and those who claimed a key over a pinned link."""
        return len(self._people(draw.roster, members))

    def honest(self, draw: Draw, members: Sequence[int]) -> int:
        """For how many honest contributors a release is priced."""
        floor = len(members) // 2
        return max(1, floor if self.trust == "assumed" else min(floor, self.verified(draw, members)))

    def _people(self, roster: Roster, members: Sequence[int]) -> list[DeviceId]:
        keys = {roster.seats[i].e_pub for i in members}
        claims = dict(self.claims)  # at once: others come on the event loop meanwhile
        return [self.me, *(device for device, key in claims.items() if key in keys and device != self.me)]

    def _entry(self, draw: Draw) -> Charge:
        n, run = draw.roster.n, draw.roster.run
        people = sorted(self.room.people) if self.room.kind == "circle" else []
        return Charge(
            epoch=run.epoch, room=run.room.hex(), kind=self.room.kind, n=n, honest=self.honest(draw, range(n)),
            eps=self.room.eps, sigma=draw.roster.params.sigma, people=people,
        )  # fmt: skip

    def _charge(self, entry: Charge) -> None:
        try:
            self.ledger.charge(entry)
        except Refused as error:
            raise Declined(str(error)) from None

    def _reprice(self, draw: Draw, members: Sequence[int]) -> int:
        """For how many honest ones among these a release is priced, now that they are known: entered, unless it is exact."""
        honest = self.honest(draw, members)
        if self.room.kind != "circle":
            try:
                self.ledger.opened(draw.roster.run.epoch, self.room.room, len(members), honest)
            except Refused as error:
                raise Declined(str(error)) from None
        return honest

    def mechanism(self, n: int) -> Mechanism:
        """How a room of `n` encodes."""
        return mechanism(self.room, n)


@dataclass(frozen=True)
class _Guest:
    """Somebody made up, for a rehearsal: sends the middle of the disc."""

    room: Descriptor

    def joining(self, keys: Keys) -> None:
        """Nobody is told."""

    def params(self, n: int) -> Params:
        """As a real one."""
        return agreed(self.room, n)

    def welcome(self, e_pub: bytes) -> bool:
        """Anybody."""
        return True

    def most(self) -> int:
        """All there are."""
        return self.room.least

    def accepts(self, roster: Roster) -> None:
        """Anybody."""

    def release(self, draw: Draw) -> Encoded:
        """Nothing of anybody."""
        return mechanism(self.room, draw.roster.n).encode(EmotionVector(0.0, 0.0, valence_sd=0.0, arousal_sd=0.0, at=0.0))

    def once(self, draw: Draw, contributors: Collection[int]) -> bool:
        """Nothing is opened."""
        return False


def rehearsal(room: Descriptor) -> list[bytes]:
    """What a member says until its shares are out, in a room of the least size, made up and sent to nobody."""
    run = Run(room.id, 0, 1)
    members = [Member(run, _Guest(room)) for _ in range(room.least)]
    gathering, now = Gathering(run, dict.fromkeys(range(len(members)), b""), 1.0), 0.0
    heard = [out for i, m in enumerate(members) for said in m.join() for out in gathering.hear(i, decode(said), now)]
    while heard:
        place, data = heard.pop(0)
        for said in members[place].hear(decode(data)):
            heard += gathering.hear(place, decode(said), now)
    greeting = members[0].greet(1)
    members[0].contribute()
    return [*members[0].said[:2], *greeting, *members[0].said[2:]]
