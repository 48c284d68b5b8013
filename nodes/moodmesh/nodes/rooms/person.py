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
_UNFELT = "how you feel is not known: `moodmesh feel` says it"
_IN_SHARES = "your mood in shares, of which only the whole circle together can open the sum"


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
    `claim`: tells paired devices which key is this one's; `unwelcome`: keys of paired devices that were found out cheating;
    `company`: how many people, this one among them, it could know in a run at most."""

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
    company: Callable[[], int] = lambda: MOST_MEMBERS
    _encoded: Encoded | None = None
    _ctx: bytes = b""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def joining(self, keys: Keys) -> None:
        """Who could not send joins no run: the others would pay for a sum that cannot come about. Else paired devices may know
        it as one person."""
        self._ready(keys.run.epoch)
        self.claim(keys)

    def _ready(self, epoch: int) -> None:
        """`Declined` where a release would be refused at its cheapest: what it does cost, the roster tells."""
        if self.known.closed >= epoch:
            raise Declined("this device has helped to open a sum of this room in this epoch: again in the next one")
        if self.mood() is None:
            raise Declined(_UNFELT)
        most, how = MOST_MEMBERS // 2, self.mechanism(self.room.least)
        honest = most if self.trust == "assumed" else min(most, self.company())
        sigma = how.sigma if isinstance(how, Ambient) else 0
        self._enter(self.ledger.allows, self._entry(epoch, self.room.least, honest, sigma))

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
        """Charged for first, or of a circle entered as sent; the same numbers again in the same epoch, and but for a circle in
        the same attempt alone: a second polynomial through them would let half of each committee open them."""
        with self._lock:
            if self._encoded is not None:
                if draw.ctx != self._ctx and self.room.kind != "circle":
                    raise Declined("what this device had to say in this epoch went out in an attempt that came to nothing")
                return self._encoded
            mood = self.mood()
            if mood is None:
                raise Declined(_UNFELT)
            how = self.mechanism(draw.roster.n)
            if self.room.kind == "circle":
                self._enter(self.ledger.sent, draw.roster.run.epoch, self.room.room, _IN_SHARES)
            else:
                self._enter(self.ledger.charge, self._drawn(draw))
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
                self._enter(self.ledger.charge, self._drawn(draw))
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

    def _drawn(self, draw: Draw) -> Charge:
        roster = draw.roster
        return self._entry(roster.run.epoch, roster.n, self.honest(draw, range(roster.n)), roster.params.sigma)

    def _entry(self, epoch: int, n: int, honest: int, sigma: int) -> Charge:
        room, people = self.room, sorted(self.room.people)
        return Charge(epoch=epoch, room=room.room, kind=room.kind, n=n, honest=honest, eps=room.eps, sigma=sigma, people=people)

    def _enter(self, book: Callable[..., None], *told: object) -> None:
        """In the ledger; `Declined` where that refuses."""
        try:
            book(*told)
        except Refused as error:
            raise Declined(str(error)) from None

    def _reprice(self, draw: Draw, members: Sequence[int]) -> int:
        """For how many honest ones among these a release is priced, now that they are known: entered, unless it is exact."""
        honest = self.honest(draw, members)
        if self.room.kind != "circle":
            self._enter(self.ledger.opened, draw.roster.run.epoch, self.room.room, len(members), honest)
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
