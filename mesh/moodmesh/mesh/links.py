"""At most one link per paired peer: dialling, accepting, duplicates, revocation (mesh-lessons §4, pairing §2, §7)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from .address import Address
from .clock import Clock, within
from .dialling import BACKOFF_S, backoff, jitter, open_pipe, ordered, race
from .errors import BadMessage, DialFailed, DuplicateIdentity, Forgotten, Incompatible, MeshError, NotPaired
from .frames import Caps, decode, encode
from .link import PeerLink
from .pairs import Pair, Pairs
from .pieces import Pieces
from .pipe import (
    BAD_MESSAGE,
    DUPLICATE_IDENTITY,
    DUPLICATE_LINK,
    FORGOTTEN,
    INCOMPATIBLE,
    STOPPED,
    Dialler,
    Pipe,
    PipeClosed,
)
from .reach import by_radio
from .rid import Rids
from .seams import DeviceId, Envelope, LinkClosed
from .welcome import VERSIONS, Welcome, common_version, parse

GREETING_S = 10.0
DIALS_AT_ONCE = 4  # more handshakes at once on a slow device all time out together


class Events(Protocol):
    """What the node hears of its links; each call returns at once. `link_up` starts the one task that reads the link."""

    def link_up(self, link: PeerLink) -> None:
        """Both sides said `welcome`."""

    def link_down(self, peer: DeviceId, reason: str) -> None:
        """The link is gone, or was replaced by a newer one that comes up next."""

    def link_duplicate(self, peer: DeviceId, whose: Literal["peer", "us"]) -> None:
        """The same DeviceId runs in two places: the peer's, or (says the peer) ours."""

    def pair_confirmed(self, peer: DeviceId) -> None:
        """First mutual link of a half-paired peer; comes before its `link_up`."""


@dataclass
class _Target:
    """Where a peer may be, and a signal that there is news of it."""

    addresses: tuple[Address, ...] = ()
    rid: bytes | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Links:
    """The links of one device. `port` is the peer port that `welcome` tells; set it once the listener is up.

    `troubles`: why a peer is not linked although somebody answered for it; gone with a link, or a new pair.
    """

    def __init__(
        self,
        us: DeviceId,
        pairs: Pairs,
        rids: Rids,
        dialler: Dialler,
        events: Events,
        clock: Clock,
        caps: Caps | None = None,
        features: Iterable[str] = (),
        instance: str | None = None,
        versions: tuple[int, ...] = VERSIONS,
    ) -> None:
        self.port = 0
        self.troubles: dict[DeviceId, Incompatible | Forgotten | DuplicateIdentity | DialFailed] = {}
        self._us, self._pairs, self._rids, self._dialler, self._events, self._clock = us, pairs, rids, dialler, events, clock
        self._caps, self._features, self._versions = caps or Caps(), tuple(features), versions
        self._instance = instance or os.urandom(8).hex()  # tells a device that was started again from a copied one
        self._links: dict[DeviceId, PeerLink] = {}
        self._locks: defaultdict[DeviceId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._dialling: defaultdict[DeviceId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._places = asyncio.Semaphore(DIALS_AT_ONCE)
        self._targets: dict[DeviceId, _Target] = {}
        self._seekers: dict[DeviceId, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        pairs.watch(self._pair_changed)
        rids.watch(self._rid_changed)

    def __iter__(self) -> Iterator[PeerLink]:
        return iter(tuple(self._links.values()))

    def get(self, peer: DeviceId) -> PeerLink | None:
        """The live link to `peer`, None when there is none."""
        return self._links.get(peer)

    def trouble(self, peer: DeviceId) -> str:
        """Why a peer is not linked and what to do, in a sentence; empty when it is linked, or nobody answered."""
        match self.troubles.get(peer):
            case None:
                return ""
            case DialFailed():
                return "a device that does not know this one answers at its address: if it is the peer, pair again"
            case error:
                return str(error)

    async def accept(self, pipe: Pipe) -> None:
        """Make a link of a pipe that a peer dialled; a pipe that becomes none is closed."""
        pipe = Pieces(pipe) if by_radio(pipe.host) else pipe
        try:
            theirs = await self._hear(pipe)
            await self._agree(pipe, theirs, greet=True)
            async with self._locks[pipe.peer]:
                await self._admit(pipe, theirs, dialler=pipe.peer, greet=True)
        except (MeshError, LinkClosed, TimeoutError):
            await pipe.close(BAD_MESSAGE)

    async def dial(self, peer: DeviceId, addresses: Iterable[Address], rid: bytes | None = None) -> PeerLink:
        """The link to `peer`, dialled now if there is none; `NotPaired`, `DialFailed`, `Incompatible`, `DuplicateIdentity`.

        `rid` is the peer's current or previous one; without it, or when it is out of date, the listener is asked for it.
        """
        pair = self._pairs.get(peer)
        if pair is None:
            raise NotPaired("not paired with this device: run `moodmesh pair`")
        async with self._dialling[peer]:  # two dials of one process would look like a copied identity to the peer
            await self._clock.sleep(jitter(self._us, peer))
            async with self._places:
                better = self._better(peer, addresses)
                link = self.get(peer)
                return link if link is not None and not better else await self._dial(pair, ordered(better), rid)

    def seek(self, peer: DeviceId, addresses: Iterable[Address], rid: bytes | None = None, fresh: bool = False) -> None:
        """Dial with back-off until linked, again whenever the link is lost; from a link by radio until there is a network.

        A new address or rid, or `fresh` (the peer was away and is seen again), starts the back-off anew.
        """
        target, addresses = self._targets.setdefault(peer, _Target()), tuple(addresses)
        if fresh or not set(addresses) <= set(target.addresses) or rid not in (None, target.rid):
            target.news.set()
        target.addresses, target.rid = ordered((*addresses, *target.addresses)), rid or target.rid
        self._start_seeking(peer)

    async def close(self) -> None:
        """Close every link and stop seeking."""
        for task in (*self._seekers.values(), *self._tasks):
            task.cancel()
        self._targets.clear()
        await asyncio.gather(*(link.close(STOPPED) for link in self))
        await asyncio.gather(*self._seekers.values(), *self._tasks, return_exceptions=True)

    async def _dial(self, pair: Pair, addresses: tuple[Address, ...], rid: bytes | None) -> PeerLink:
        try:
            pipe = await race(self._clock, addresses, lambda address: open_pipe(self._dialler, pair, address, rid))
        except DialFailed as error:
            if not isinstance(self.troubles.get(pair.peer), Forgotten):  # its own word is worth more than a guess
                self._set_trouble(pair.peer, error if error.stranger and self.get(pair.peer) is None else None)
            raise
        try:
            return await self._greet(Pieces(pipe) if by_radio(pipe.host) else pipe)
        except BaseException:
            await pipe.close(BAD_MESSAGE)
            raise

    async def _greet(self, pipe: Pipe) -> PeerLink:
        """The dialler's side of the greeting: speak first; the link is up only once the listener has answered (pairing §3)."""
        await self._say(pipe)
        try:
            theirs = await self._hear(pipe)
        except PipeClosed as error:
            if error.code == DUPLICATE_IDENTITY:
                self._events.link_duplicate(pipe.peer, "us")
                self.troubles[pipe.peer] = DuplicateIdentity(
                    "another device runs with a copy of this identity: `moodmesh identity reset` on one of the two"
                )
                raise self.troubles[pipe.peer] from error
            if error.code == DUPLICATE_LINK and (linked := self.get(pipe.peer)) is not None:
                return linked
            raise
        await self._agree(pipe, theirs, greet=False)
        async with self._locks[pipe.peer]:
            return await self._admit(pipe, theirs, dialler=self._us, greet=False)

    async def _agree(self, pipe: Pipe, theirs: Welcome, greet: bool) -> None:
        """Find a common major or close; the listener still says its own, so that the dialler too knows who is older."""
        self._set_trouble(pipe.peer, None)
        try:
            common_version(self._versions, theirs.versions)
        except Incompatible as error:
            self.troubles[pipe.peer] = error
            if greet:
                await self._say(pipe)
            await pipe.close(INCOMPATIBLE, "no common protocol version")
            raise

    async def _admit(self, pipe: Pipe, theirs: Welcome, dialler: DeviceId, greet: bool) -> PeerLink:
        """Decide between this pipe and the link there may be already, and put the winner in place."""
        existing = self.get(pipe.peer)
        if existing is not None:
            old, new = (existing.dialler, existing.welcome.instance), (dialler, theirs.instance)
            match choose(*old, *new, by_radio(pipe.host) - by_radio(existing.address[0])):
                case "keep":
                    await pipe.close(DUPLICATE_LINK, "duplicate link")
                    return existing
                case "probe" if await existing.alive(self._clock):
                    self._events.link_duplicate(pipe.peer, "peer")
                    self._spawn(existing.send(Envelope("duplicate", b"{}")))
                    await pipe.close(DUPLICATE_IDENTITY, "duplicate identity")
                    raise DuplicateIdentity("this DeviceId is already linked from another place")
        if greet:
            await self._say(pipe)
        return self._install(PeerLink(pipe, self._caps, dialler, theirs, self._versions))

    def _install(self, link: PeerLink) -> PeerLink:
        pair = self._pairs.get(link.peer)
        if pair is None:  # revoked since the handshake
            raise NotPaired("no longer paired")
        if (old := self._links.pop(link.peer, None)) is not None:
            old.on_closed = lambda reason: None
            self._spawn(old.close(DUPLICATE_LINK, "replaced"))
            self._events.link_down(link.peer, "replaced by a newer link")
        self._links[link.peer] = link
        link.on_closed = lambda reason: self._lost(link, reason)
        link.on_duplicate = lambda: self._events.link_duplicate(link.peer, "us")
        if pair.half:
            self._events.pair_confirmed(link.peer)
        self._events.link_up(link)
        return link

    def _lost(self, link: PeerLink, reason: str) -> None:
        if self._links.get(link.peer) is not link:
            return
        del self._links[link.peer]
        self._set_trouble(link.peer, Forgotten() if link.forgotten else None)
        if (target := self._targets.get(link.peer)) is not None:
            target.rid, target.addresses = link.rid, ordered((link.address, *target.addresses))
            self._start_seeking(link.peer)
        self._events.link_down(link.peer, reason)

    def _set_trouble(self, peer: DeviceId, error: Forgotten | DialFailed | None) -> None:
        self.troubles.pop(peer, None)
        if error is not None and self._pairs.get(peer) is not None:
            self.troubles[peer] = error

    def _pair_changed(self, peer: DeviceId, pair: Pair | None) -> None:
        self._set_trouble(peer, None)
        if pair is not None:
            return
        self._targets.pop(peer, None)
        if (seeker := self._seekers.pop(peer, None)) is not None:
            seeker.cancel()
        if (link := self._links.get(peer)) is not None:
            self._spawn(link.close(FORGOTTEN, "forgotten"))

    def _rid_changed(self) -> None:
        for link in self:
            self._spawn(link.send(self._welcome().envelope()))

    def _start_seeking(self, peer: DeviceId) -> None:
        wanted = self._better(peer, self._targets[peer].addresses)
        seeker = self._seekers.get(peer)
        if (seeker is None or seeker.done()) and wanted and self._pairs.get(peer) is not None:
            task = asyncio.get_running_loop().create_task(self._seek(peer))
            self._seekers[peer] = task
            task.add_done_callback(lambda done: self._seekers.pop(peer, None) if self._seekers.get(peer) is done else None)

    async def _dialled(self, peer: DeviceId, target: _Target) -> None:
        """Dial what is known of it; a dial by radio alone, which may take long, gives way to a network that is heard of."""
        tried = target.addresses
        dialling, news = asyncio.ensure_future(self.dial(peer, tried, target.rid)), asyncio.ensure_future(target.news.wait())
        try:
            while not dialling.done() and all(by_radio(host) for host, _ in tried):
                await asyncio.wait((dialling, news), return_when=asyncio.FIRST_COMPLETED)
                if not all(by_radio(host) for host, _ in target.addresses):
                    return
                if news.done():
                    target.news.clear()
                    news = asyncio.ensure_future(target.news.wait())
            await dialling
        finally:
            dialling.cancel()
            news.cancel()
            await asyncio.gather(dialling, news, return_exceptions=True)

    def _better(self, peer: DeviceId, addresses: Iterable[Address]) -> list[Address]:
        """Those of the addresses that would give a link where there is none, or a network where there is only a radio."""
        link = self.get(peer)
        return [at for at in addresses if link is None or (by_radio(link.address[0]) and not by_radio(at[0]))]

    async def _seek(self, peer: DeviceId) -> None:
        failures = 0
        while True:
            target = self._targets[peer]
            target.news.clear()
            if self.get(peer) is not None and not self._better(peer, target.addresses):
                return
            try:
                await self._dialled(peer, target)
            except (Incompatible, DuplicateIdentity):
                wait = BACKOFF_S[1]
            except (MeshError, LinkClosed, TimeoutError):
                failures += 1
                wait = backoff(failures, random.random())  # noqa: S311 - spreads load, hides nothing
            else:
                continue
            try:
                await within(self._clock, wait, target.news.wait())
                failures = 0
            except TimeoutError:
                pass

    def _welcome(self) -> Welcome:
        return Welcome(
            versions=self._versions,
            features=self._features,
            rid=self._rids.current.hex(),
            port=self.port,
            instance=self._instance,
        )

    async def _say(self, pipe: Pipe) -> None:
        await pipe.send(encode(self._welcome().envelope(), self._caps))

    async def _hear(self, pipe: Pipe) -> Welcome:
        frame = await within(self._clock, GREETING_S, pipe.receive())
        return parse(decode(frame, self._caps))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def choose(
    dialler: str, instance: str, new_dialler: str, new_instance: str, slower: int = 0
) -> Literal["keep", "replace", "probe"]:
    """Of a live link and a new one to the same DeviceId: two runs, or one side twice, need a probe of the old link;
    a network (`slower` < 0) takes the place of a radio and keeps it (> 0); when both ends of the same two runs dialled,
    the link dialled by the lower DeviceId stays (in the order of its text)."""
    if instance == new_instance and slower:
        return "keep" if slower > 0 else "replace"
    if instance != new_instance or dialler == new_dialler:
        return "probe"
    return "keep" if dialler < new_dialler else "replace"


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(LinkClosed, BadMessage):
        await work
