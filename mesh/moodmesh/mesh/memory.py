"""The network in memory: twins of `Dialler`, `Pipe`, `Finder` and `Clock`, for twenty nodes in one loop.

Only bytes and sockets are replaced: greeting, duplicates, back-off and caps are those of `Links`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from .address import Address
from .clock import Clock
from .errors import CertificateRefused, DialFailed
from .frames import Caps, Frame
from .links import Events, Links
from .pairs import Pair, Pairs
from .pipe import CLOSED, Pipe, PipeClosed
from .rid import RID_BYTES, Rids
from .seams import Beacon, DeviceId, Sighting

PORT = 47077
_SETTLE_ROUNDS = 50
_PIPE_FRAMES = 64


class ManualClock:
    """A clock that stands still until `advance`."""

    def __init__(self, wall: float = 1_800_000_000.0) -> None:
        self._now, self.offset = 0.0, wall
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        """Monotonic seconds."""
        return self._now

    def wall(self) -> float:
        """Seconds since 1970; change `offset` to set the clock."""
        return self.offset + self._now

    async def sleep(self, seconds: float) -> None:
        """Return once `advance` has passed that moment."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), wake))
        await wake

    async def advance(self, seconds: float) -> None:
        """Pass time, waking sleepers in order and letting what they start run before time goes on."""
        end = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)
                await settle()
        self._now = end


async def settle(rounds: int = _SETTLE_ROUNDS) -> None:
    """Let every task that can run do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)


@dataclass
class _Member:
    """A device on the net: its address, and what it accepts with."""

    links: Links
    pairs: Pairs
    rids: Rids
    host: str


class MemoryNet:
    """Wires between devices. `delay_s` holds for every frame; `cut`, `partition` and `heal` act at once."""

    def __init__(self, clock: Clock, delay_s: float = 0.0) -> None:
        self.clock, self.delay_s = clock, delay_s
        self.drop: Callable[[DeviceId, DeviceId, Frame], bool] = lambda sender, receiver, frame: False
        self._members: dict[DeviceId, _Member] = {}
        self._hosts: dict[DeviceId, str] = {}
        self._islands: list[frozenset[DeviceId]] = []
        self._pipes: list[tuple[MemoryPipe, MemoryPipe]] = []
        self._finders: list[MemoryFinder] = []
        self._runs = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    def join(
        self,
        us: DeviceId,
        pairs: Pairs,
        events: Events,
        caps: Caps | None = None,
        features: Iterable[str] = (),
        rids: Rids | None = None,
    ) -> Links:
        """Plug a device in, in place of an earlier one with its id, and return its links; close them to unplug it."""
        rids = rids or Rids(self.clock)
        instance = f"{next(self._runs):016x}"
        links = Links(us, pairs, rids, _MemoryDialler(self, us), events, self.clock, caps, features, instance)
        links.port = PORT
        host = self._hosts.setdefault(us, f"10.{len(self._hosts) >> 8}.{len(self._hosts) & 255}.1")
        self._members[us] = _Member(links, pairs, rids, host)
        return links

    def leave(self, us: DeviceId) -> None:
        """Unplug a device without a goodbye: its pipes break, as when a process dies."""
        self.cut(us)
        self._members.pop(us, None)

    def address(self, device: DeviceId) -> Address:
        """Where a device listens."""
        return self._hosts[device], PORT

    def rid(self, device: DeviceId) -> bytes:
        """The rid a device shows now."""
        return self._members[device].rids.current

    def cut(self, *devices: DeviceId) -> None:
        """Break every pipe of these devices; both ends notice at once."""
        for pipe, other in list(self._pipes):
            if pipe.peer in devices or other.peer in devices:
                pipe.broken()
                other.broken()

    def partition(self, *islands: Iterable[DeviceId]) -> None:
        """Lose, silently, every frame between devices of different islands, and fail every dial, until `heal`."""
        self._islands = [frozenset(island) for island in islands]

    def heal(self) -> None:
        """End the partition; frames lost in it stay lost."""
        self._islands = []

    def reachable(self, one: DeviceId, other: DeviceId) -> bool:
        """Whether frames pass from one device to the other."""
        return not any((one in island) != (other in island) for island in self._islands)

    async def connect(self, us: DeviceId, pair: Pair, address: Address, rid: bytes) -> Pipe:
        """What a TLS dial does: both ends must hold the pair, and the rid must be current or previous."""
        await self.clock.sleep(self.delay_s)
        member = self._at(address)
        if member is None or not self.reachable(us, pair.peer):
            raise DialFailed("nobody answers there")
        known = member.pairs.get(us)
        if member is not self._members.get(pair.peer) or known is None or known.k_pair != pair.k_pair:
            raise CertificateRefused("another device answers there, or it has forgotten this one")
        if rid not in member.rids.valid:
            raise CertificateRefused("the rid is out of date")
        ours, theirs = MemoryPipe(self, us, pair.peer, address[0]), MemoryPipe(self, pair.peer, us, self._hosts[us])
        ours.other, theirs.other = theirs, ours
        self._pipes.append((ours, theirs))
        self._spawn(member.links.accept(theirs))
        return ours

    async def ask(self, us: DeviceId, address: Address) -> bytes | None:
        """The rid of whoever listens at an address."""
        await self.clock.sleep(self.delay_s)
        member = self._at(address)
        return member.rids.current if member is not None else None

    def forget(self, pipe: MemoryPipe) -> None:
        """A pipe is closed at both ends."""
        self._pipes = [both for both in self._pipes if pipe not in both]

    def finders(self) -> list[MemoryFinder]:
        """The finders plugged in."""
        return self._finders

    def _at(self, address: Address) -> _Member | None:
        return next((member for member in self._members.values() if member.host == address[0]), None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _MemoryDialler:
    def __init__(self, net: MemoryNet, us: DeviceId) -> None:
        self._net, self._us = net, us

    async def open(self, pair: Pair, address: Address, rid: bytes) -> Pipe:
        return await self._net.connect(self._us, pair, address, rid)

    async def ask(self, address: Address) -> bytes | None:
        return await self._net.ask(self._us, address)


@dataclass(eq=False)
class MemoryPipe:
    """One end of a pipe; `send` waits while 64 frames wait at the other end."""

    net: MemoryNet
    us: DeviceId
    peer: DeviceId
    host: str
    other: MemoryPipe = field(init=False, repr=False)
    _frames: deque[tuple[float, Frame]] = field(default_factory=deque, repr=False)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _drained: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _closed: PipeClosed | None = None

    async def send(self, frame: Frame) -> None:
        """Queue a frame at the other end; `PipeClosed`."""
        while self._closed is None and len(self.other._frames) >= _PIPE_FRAMES:
            self.other._drained.clear()
            await self.other._drained.wait()
        if self._closed is not None:
            raise PipeClosed(str(self._closed), self._closed.code)
        if self.net.reachable(self.us, self.peer) and not self.net.drop(self.us, self.peer, frame):
            self.other._frames.append((self.net.clock.now() + self.net.delay_s, frame))
            self.other._arrived.set()

    async def receive(self) -> Frame:
        """The next frame, `delay_s` after it was sent; `PipeClosed` after the last."""
        while not self._frames:
            if self._closed is not None:
                raise PipeClosed(str(self._closed), self._closed.code)
            self._arrived.clear()
            await self._arrived.wait()
        due, frame = self._frames.popleft()
        self._drained.set()
        if due > self.net.clock.now():
            await self.net.clock.sleep(due - self.net.clock.now())
        return frame

    async def close(self, code: int = CLOSED, reason: str = "") -> None:
        """Close this end at once; the other notices, after what was sent, if it can be reached."""
        if self._closed is None:
            self.broken(PipeClosed("closed on this side", code))
            if self.net.reachable(self.us, self.peer):
                self.other.broken(PipeClosed(reason or "closed by the peer", code), lose=False)

    def broken(self, why: PipeClosed | None = None, lose: bool = True) -> None:
        """The wire is gone, and by default what was not read yet."""
        if self._closed is None:
            self._closed = why or PipeClosed("connection lost")
            if lose:
                self._frames.clear()
            self._arrived.set()
            self._drained.set()
            self.other._drained.set()
            self.net.forget(self)


class MemoryFinder:
    """A `Finder` over a `MemoryNet`: every other finder hears each beacon at once."""

    radio = "memory"
    id_bytes = RID_BYTES

    def __init__(self, net: MemoryNet, device: DeviceId, ttl_s: float = 10.0) -> None:
        self._net, self._device, self._ttl_s = net, device, ttl_s
        self._beacon: Beacon | None = None
        self._seen: Callable[[Sighting], None] | None = None

    async def run(self, seen: Callable[[Sighting], None]) -> None:
        """Announce and listen until cancelled, then say goodbye."""
        self._seen = seen
        self._net.finders().append(self)
        for other in self._net.finders():
            other._tell(self)
            self._tell(other)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._net.finders().remove(self)
            self._seen = None
            self._announce(ttl_s=0.0)

    def show(self, beacon: Beacon) -> None:
        """Announce this from now on."""
        self._beacon = beacon
        if self._seen is not None:
            self._announce(self._ttl_s)

    async def ask(self, host: str) -> None:
        """Hear whoever is at an address, if anybody."""
        for other in self._net.finders():
            if self._net.address(other._device)[0] == host:
                other._tell(self)

    def _announce(self, ttl_s: float) -> None:
        for other in self._net.finders():
            self._tell(other, ttl_s)

    def _tell(self, other: MemoryFinder, ttl_s: float | None = None) -> None:
        beacon = self._beacon
        if other is self or beacon is None or other._seen is None or not self._net.reachable(self._device, other._device):
            return
        host, now, ttl = self._net.address(self._device)[0], self._net.clock.now(), self._ttl_s if ttl_s is None else ttl_s
        tags = frozenset(beacon.tags)
        window = beacon.nameplate, beacon.window_port
        other._seen(Sighting(self.radio, beacon.rid, host, beacon.port, tags, now, ttl, *window, room_port=beacon.room_port))
