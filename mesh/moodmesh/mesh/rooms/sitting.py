"""A room in one epoch, as one device lives it: it takes part, and is the coordinator for whoever comes (room-mood §3, §5.1)."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from secrets import randbelow
from typing import Any, Protocol, TypeVar

from moodmesh.mesh.clock import Clock, within
from moodmesh.mesh.rid import SHOWN_BYTES
from moodmesh.mesh.seams import LinkClosed

from .member import Declined, Member, Opened, Person
from .relay import MOST_AGAIN, STEP_S, Gathering, Out, Relay
from .transcript import MOST_RELAYS, Run, label
from .wire import Item, Malformed, Message, Step, decode, encode, pack, unpack

T = TypeVar("T")
LOOK_S, FORGIVEN_S = 1.0, 5.0
MOST_BY_RADIO = 10
_USED_UP = f"{1 + MOST_AGAIN} attempts to gather the room came to nothing, members left meanwhile: again in the next epoch"
MOST_ADDRESS, DOOR_BYTES = 64, 2
"""A gatherer does not know its own host: of itself it tells the port alone."""
log = logging.getLogger(__name__)


class Place(Protocol):
    """One end of a way between a member and a coordinator."""

    @property
    def slow(self) -> bool:
        """Whether it is by radio, which carries rooms of up to `MOST_BY_RADIO` (room-mood §10)."""

    def post(self, data: bytes) -> None:
        """Send without waiting; a way that is too full is closed."""

    async def receive(self) -> bytes:
        """The next message; `LinkClosed` after the last."""

    def close(self) -> None:
        """Give it up."""

    def address(self, door: bytes) -> bytes:
        """Where the device at the other end, which says it listens at `door`, can be reached by others."""


class Around(Protocol):
    """Who else is in the room, and how to get there. Addresses are opaque here, at most 64 bytes, and hints."""

    door: bytes
    """Where this device listens, as it tells others."""
    rid: bytes

    def seen(self) -> Sequence[tuple[bytes, bytes]]:
        """(rid, address) of each other device that shows the tag of the room."""

    def slow(self) -> bool:
        """Whether some of them are reached by radio."""

    async def open(self, address: bytes) -> Place:
        """A way to a device; `LinkClosed`."""


@dataclass(frozen=True)
class Timing:
    """Seconds. `coming`: from the wish for a run to its start, for others to be here; `gather`: how long joining takes at most;
    `slot`: from the draw to the first share that leaves, and `spread`: by how much more each may wait, whatever its mood;
    `step`: how long each of the others takes at most; `within`: the latest end."""

    coming: float = 1.0
    gather: float = 1.5
    slot: float = 0.0
    spread: float = 0.3
    step: float = STEP_S
    within: float = 60.0

    def by_radio(self) -> Timing:
        """Where somebody is by radio, as the gatherer says when it starts: everybody has the same patience."""
        coming, gather, step = 5 * self.coming, 3 * self.gather, 3 * self.step
        return replace(self, coming=coming, gather=gather, step=step, within=2 * self.within)


class Aborted(Exception):
    """The epoch ends without a result; the message says why. Whatever was sent stays charged."""


def room_tag(room: bytes, epoch: int) -> bytes:
    """What devices in the room show of it during an epoch: 4 bytes."""
    return hashlib.sha256(label("tag") + room + epoch.to_bytes(8, "little")).digest()[:4]


def gatherers(room: bytes, epoch: int, rids: Sequence[bytes]) -> list[bytes]:
    """Who gathers a run before it has a beacon, and who when that one is silent."""

    def place(rid: bytes) -> tuple[bytes, bytes]:
        shown = rid[:SHOWN_BYTES]  # as much of it as everybody sees, whatever the radio
        return hashlib.sha256(label("scoord") + room + epoch.to_bytes(8, "little") + shown).digest(), rid

    return sorted(rids, key=place)


class Sitting:
    """`said`: everything that this device said as a member in the epoch, once each. `carry`: runs what takes processor time
    or the disk, away from the event loop where that matters; `enough`: with so many here a run begins at once."""

    def __init__(
        self,
        room: bytes,
        epoch: int,
        person: Person,
        around: Around,
        clock: Clock,
        timing: Timing | None = None,
        carry: Callable[..., Awaitable[Any]] | None = None,
        enough: int = 1 << 16,
    ) -> None:
        self.room, self.epoch = room, epoch
        self._person, self._around, self._clock, self._timing = person, around, clock, timing or Timing()
        self._pace = self._timing
        self._carry, self._enough = carry or _at_once, enough
        self._here: dict[Place, tuple[bytes, int]] = {}
        """Where each of those at this gatherer can be reached, and the last attempt that it says it saw."""
        self._seen = 0
        self._withheld: frozenset[Place] = frozenset()
        self._start_at: float | None = None
        self._gone: dict[bytes, float] = {}
        self._gathering: Gathering | None = None
        self._relay: Relay | None = None
        self._member: Member | None = None
        self.said: list[bytes] = []
        self._again = 0.0
        self._shared_by = 0.0  # of the draw, not of whoever comes: a relay that takes over has less patience, not more
        self._drawn = asyncio.Event()
        self._wanted = asyncio.Event()
        self._wishes = 0
        self._busy = asyncio.Lock()
        self._ticking = False
        self._tasks: set[asyncio.Future[None]] = set()

    # -- taking part ---------------------------------------------------------------------------------------------------

    def want(self) -> None:
        """Ask for a run now, and a few times more while too few are here; one at most is opened in an epoch."""
        self._wishes = MOST_AGAIN
        self._wanted.set()

    def want_at(self, when: float) -> None:
        """Ask for it at a time of the clock."""

        async def later() -> None:
            await self._clock.sleep(max(0.0, when - self._clock.now()))
            self.want()

        self._keep(later())

    async def close(self) -> None:
        """Serve nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for place in list(self._here):
            place.close()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def spoke(self) -> bool:
        """Whether shares of this device are out: then there is no second try in this epoch."""
        return self._member is not None

    @property
    def excluded(self) -> frozenset[bytes]:
        """The keys of those who were found out in this epoch: whoever knows their devices leaves these out for a day."""
        return self._member.excluded if self._member is not None else frozenset()

    @property
    def excluded_places(self) -> list[Place]:
        """Where those came from, as far as this device was their coordinator."""
        places = [self._relay.place_of(e_pub) for e_pub in self.excluded] if self._relay is not None else []
        return [place for place in places if place is not None]

    async def take_part(self) -> Opened:
        """From entering the room to its sum; `Aborted`, `Declined`. Once more unless it `spoke`: every few seconds at
        most, whoever fails or turns this device away."""
        await self._clock.sleep(max(0.0, self._again - self._clock.now()))
        self._again = self._clock.now() + FORGIVEN_S
        member, where = await self._set_up()
        self._member = member
        self._shared_by = self._clock.now() + self._pace.slot + self._pace.spread
        self._drawn.set()
        return await self._open(member, where)

    async def _set_up(self) -> tuple[Member, dict[int, bytes]]:
        """Through the gatherers in their order, until one brings a roster and its draw."""
        while self._seen <= MOST_AGAIN and (best := self._best()) is not None:
            rid, address = best
            try:
                place = await self._way(address)
            except LinkClosed:
                self._gone[rid] = self._clock.now() + FORGIVEN_S
                continue
            try:
                found = await self._gathered(place, rid)
                if found is not None:
                    return found
            except (LinkClosed, TimeoutError, Malformed) as error:
                log.debug("gatherer left: %s", error)
                self._gone[rid] = self._clock.now() + FORGIVEN_S
            finally:
                place.close()
        raise Aborted("nobody could gather the room" if self._seen <= MOST_AGAIN else _USED_UP)

    def _best(self) -> tuple[bytes, bytes | None] | None:
        """The first gatherer that has not failed, and its address; None: this device."""
        others, now = dict(self._around.seen()), self._clock.now()
        everyone = gatherers(self.room, self.epoch, [*others, self._around.rid])
        order = [rid for rid in everyone if self._gone.get(rid, 0.0) <= now]
        return (order[0], others.get(order[0])) if order else None

    async def _gathered(self, place: Place, rid: bytes) -> tuple[Member, dict[int, bytes]] | None:
        """Wait in the room until it begins, then through its set-up; None when a better gatherer has come meanwhile."""

        def here(wanted: bool) -> None:
            self._say(place, [self._encode(Step.HERE, bytes([self._seen, wanted]) + self._around.door, self._seen)])

        here(False)
        asking = asyncio.ensure_future(self._when_wanted(lambda: here(True)))
        reading: asyncio.Future[bytes] | None = None
        member: Member | None = None
        where: dict[int, bytes] = {}
        before, wished = self._seen, False
        try:
            while True:
                reading = reading or asyncio.ensure_future(place.receive())
                limit = LOOK_S if member is None else self._pace.gather + 2 * self._pace.step
                try:
                    message = decode(await within(self._clock, limit, _kept(reading)))
                except TimeoutError:
                    if member is not None:
                        raise
                    if (best := self._best()) is not None and best[0] != rid:
                        return None
                    continue
                reading = None
                if (message.room, message.epoch) != (self.room, self.epoch):
                    raise Malformed("of another room or epoch")
                if message.step is Step.START and self._seen < message.attempt <= 1 + MOST_AGAIN:
                    wished = self._wanted.is_set()
                    self._wanted.clear()
                    before, self._seen = self._seen, message.attempt
                    self._pace = self._timing.by_radio() if unpack(message.body) else self._timing
                    member = Member(Run(self.room, self.epoch, message.attempt), self._person)
                    self._say(place, await self._carry(member.join))
                elif message.step is Step.WHERE:
                    told = [item for item in unpack(message.body) if len(item.body) <= MOST_ADDRESS]
                    where = {i.author: place.address(i.body) if len(i.body) == DOOR_BYTES else i.body for i in told}
                elif member is not None:
                    self._say(place, await self._carry(member.hear, message))
                    if member.draw is not None:
                        return member, where
        except Declined:
            self._seen = before  # it has revealed nothing, so nobody learned of a draw with it: the attempt can be made anew
            raise
        finally:
            if wished and self._wishes and (member is None or member.draw is None):
                self._wishes -= 1
                self._wanted.set()
            asking.cancel()
            if reading is not None:
                reading.cancel()

    async def _when_wanted(self, ask: Callable[[], None]) -> None:
        while True:
            await self._wanted.wait()
            ask()
            await self._clock.sleep(LOOK_S)

    async def _open(self, member: Member, where: dict[int, bytes]) -> Opened:
        """Through the relays in the order that the draw gave them, with the same words for each."""
        assert member.draw is not None
        end = self._clock.now() + self._pace.within
        slot = self._clock.now() + self._pace.slot + self._pace.spread * randbelow(1 << 20) / (1 << 20)
        for relay in itertools.islice(member.draw.relays, MOST_RELAYS):
            try:
                place = await self._way(None if relay == member.index else where.get(relay, b""))
            except LinkClosed:
                continue
            try:
                self._say(place, await self._carry(member.greet, relay))
                if not member.spoke:
                    await self._clock.sleep(max(0.0, slot - self._clock.now()))
                    self._say(place, await self._carry(member.contribute))
                await self._followed(member, place, end)
                if member.opened is not None:
                    return member.opened
            except (LinkClosed, TimeoutError, Malformed) as error:
                log.debug("relay left: %s", error)
            finally:
                place.close()
        raise Aborted(_why(member))

    async def _followed(self, member: Member, place: Place, end: float) -> None:
        """Until the sum is read, or the relay brought no further step for longer than it may take: what it says again buys it
        no time."""
        silent = self._pace.spread + 2 * self._pace.step + 1.0
        until, lapses = self._clock.now() + silent, math.inf
        steps: set[Step] = set()
        while member.opened is None:
            try:
                left = min(end, until, lapses) - self._clock.now()
                message = decode(await within(self._clock, max(0.0, left), place.receive()))
            except TimeoutError:
                if self._clock.now() < lapses:
                    raise
                until, lapses = self._clock.now() + silent, math.inf
                self._say(place, await self._carry(member.lapse))
                continue
            said = await self._carry(member.hear, message)
            self._say(place, said)
            if message.step not in steps:
                steps.add(message.step)
                until = self._clock.now() + silent
                if message.step is Step.PROPOSAL and said:
                    lapses = self._clock.now() + self._pace.step  # for the votes of all reporters; then with those that came

    async def _way(self, address: bytes | None) -> Place:
        """To another device, or to the coordinator in this one."""
        if address is not None:
            return await self._around.open(address)
        mine, its = local()
        self._keep(self.serve(its))
        return mine

    # -- coordinating --------------------------------------------------------------------------------------------------

    async def serve(self, place: Place, first: bytes | None = None) -> None:
        """Be the coordinator for whoever is at `place`, until it leaves or says what nobody would."""
        try:
            while True:
                data, first = (first, None) if first is not None else (await place.receive(), None)
                await self._heard(place, decode(data))
        except (LinkClosed, Malformed, Declined, TimeoutError) as error:
            log.debug("member left: %s", error)
        finally:
            self._here.pop(place, None)
            place.close()

    async def _heard(self, place: Place, message: Message) -> None:
        if (message.room, message.epoch) != (self.room, self.epoch) or message.batch:
            raise Malformed("of another room or epoch")
        if message.step is Step.HERE:
            await self._entered(place, message.body)
            return
        gathering = self._gathering
        if gathering is not None and not gathering.done and message.attempt == gathering.run.attempt:
            async with self._busy:
                self._post(await self._carry(gathering.hear, place, message, self._clock.now()))
        else:
            await within(self._clock, 2 * self._pace.step, self._drawn.wait())
            assert self._member is not None
            if self._relay is None:
                self._relay = Relay(self._member, max(self._clock.now(), self._shared_by) + self._pace.step, self._pace.step)
            async with self._busy:
                self._post(await self._carry(self._relay.hear, place, message, self._clock.now()))
        self._tick_later()

    async def _entered(self, place: Place, body: bytes) -> None:
        if not 2 <= len(body) <= 2 + MOST_ADDRESS:
            raise Malformed("an address of another size")
        seen, wanted = body[0], bool(body[1])
        if seen > 1 + MOST_AGAIN:
            raise Malformed("an attempt that there cannot have been")
        self._here[place] = place.address(body[2:]), seen
        if wanted and self._start_at is None and (self._gathering is None or self._gathering.done):
            slow = self._around.slow() or any(place.slow for place in self._here)
            self._start_at = self._clock.now() + self._pace_of(slow).coming
        if self._start_at is not None and len(self._here) >= self._enough:
            self._start()
        self._tick_later()

    def _start(self) -> None:
        """Another attempt, with all who are here and did not withhold; the first of them, where they are too many at once."""
        self._start_at = None
        self._withheld |= self._gathering.withheld if self._gathering is not None else frozenset()
        here = self._able()
        attempt = self._next([seen for _, seen in here.values()])
        if attempt > 1 + MOST_AGAIN:
            for place in list(self._here):
                place.close()  # whoever has an attempt left may find another gatherer, and the others hear that it is over
            return
        run = Run(self.room, self.epoch, attempt)
        places, person = {place: at for place, (at, _) in itertools.islice(here.items(), self._person.most())}, self._person
        pace = self._pace_of(any(place.slow for place in places))
        until = self._clock.now() + pace.gather
        self._gathering = Gathering(run, places, until, person.params, person.welcome, person.accepts, pace.step)
        said = pack([] if pace is self._timing else [Item(0, b"")])
        data = encode(Message(Step.START, True, run.attempt, self.epoch, self.room, said))
        self._post([Out(place, data) for place in places])
        self._tick_later()

    def _pace_of(self, slow: bool) -> Timing:
        return self._timing.by_radio() if slow else self._timing

    def _able(self) -> dict[Place, tuple[bytes, int]]:
        """Who can take part: those by radio in a small room alone."""
        here = {place: told for place, told in self._here.items() if place not in self._withheld}
        fast = {place: told for place, told in here.items() if not place.slow}
        if len(here) <= MOST_BY_RADIO or len(fast) == len(here):
            return here
        return fast if len(fast) >= MOST_BY_RADIO else dict(itertools.islice(here.items(), MOST_BY_RADIO))

    def _next(self, told: Sequence[int]) -> int:
        """The attempt after the last: of this gatherer, or of another before it, as more of those here say who could still take
        part than are taken to be hostile. Whoever has seen it already takes no part in it."""
        before = self._gathering
        last = before.run.attempt - before.declined if before is not None else 0
        able = sorted((seen for seen in told if seen <= MOST_AGAIN), reverse=True)
        return 1 + max(last, able[(len(able) - 1) // 3] if able else 0)

    def _tick_later(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._keep(self._tick())

    async def _tick(self) -> None:
        """Whatever is due, when it is."""
        try:
            while (due := self._due()) is not None:
                await self._clock.sleep(max(0.0, due - self._clock.now()))
                now = self._clock.now()
                async with self._busy:
                    for one in (self._gathering, self._relay):
                        if one is not None and one.due is not None and one.due <= now:
                            self._post(await self._carry(one.tick, now))
                if self._start_at is not None and self._start_at <= now:
                    self._start()
                if self._gathering is not None and self._gathering.withheld and not self._drawn.is_set():
                    self._start()
        finally:
            self._ticking = False

    def _due(self) -> float | None:
        dues = [self._start_at, *(one.due for one in (self._gathering, self._relay) if one is not None)]
        return min((due for due in dues if due is not None), default=None)

    def _post(self, outs: Sequence[Out]) -> None:
        for place, data in outs:
            place.post(data)

    def _say(self, place: Place, said: Sequence[bytes]) -> None:
        for data in said:
            place.post(data)
            if data not in self.said:
                self.said.append(data)

    def _encode(self, step: Step, body: bytes, attempt: int) -> bytes:
        return encode(Message(step, False, attempt, self.epoch, self.room, body))


class Inbox:
    """What came over a way and was not read yet."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    def put(self, data: bytes) -> None:
        """At the end."""
        self._queue.put_nowait(data)

    def end(self) -> None:
        """Nothing more comes."""
        self._queue.put_nowait(None)

    async def receive(self) -> bytes:
        """The next; `LinkClosed` after the last."""
        data = await self._queue.get()
        if data is None:
            self.end()  # also for whoever asks again
            raise LinkClosed("closed")
        return data


class LocalPlace:
    """A way within one process: the in-memory twin, and the way of a device to its own coordinator."""

    slow = False

    def __init__(self, inbox: Inbox, outbox: Inbox) -> None:
        self._inbox, self._outbox = inbox, outbox
        self.receive = inbox.receive

    def post(self, data: bytes) -> None:
        """Into the other's inbox."""
        self._outbox.put(data)

    def close(self) -> None:
        """Both ends hear of it."""
        self._outbox.end()
        self._inbox.end()

    def address(self, door: bytes) -> bytes:
        """As it was given."""
        return door


def local() -> tuple[LocalPlace, LocalPlace]:
    """The two ends of a way within one process."""
    one, other = Inbox(), Inbox()
    return LocalPlace(one, other), LocalPlace(other, one)


async def _kept(reading: asyncio.Future[bytes]) -> bytes:
    """Wait, and leave it reading when the wait is given up."""
    return await asyncio.shield(reading)


def _why(member: Member) -> str:
    if member.faults.suspects:
        return "a member shared numbers that fit together nowhere; it was found out, and nothing was opened"
    return "no relay brought it to an end: too many members left, or would not open it"


async def _at_once(work: Callable[..., T], *args: Any) -> T:
    return work(*args)
