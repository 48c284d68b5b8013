"""Devices for the tests of the mesh: keys, pairs, recorded events, and endpoints on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from moodmesh.mesh.endpoint import Endpoint, open_endpoint
from moodmesh.mesh.identity import Identity
from moodmesh.mesh.link import PeerLink
from moodmesh.mesh.memory import ManualClock as ManualClock
from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.mesh.seams import DeviceId, Envelope, LinkClosed

LOOPBACK = ("127.0.0.1", "::1")
_keys = itertools.count(1)


def new_identity() -> Identity:
    """A device; the same sequence in every run."""
    return Identity.of(Ed25519PrivateKey.from_private_bytes(next(_keys).to_bytes(32, "big")))


def pair_with(other: Identity, secret: bytes = b"k" * 32, half: bool = False) -> Pair:
    return Pair(other.id, "other", other.credential.certificate, secret, half)


@dataclass
class Recorder:
    """Events of a node that reads its links and keeps what arrives."""

    up: asyncio.Queue[PeerLink] = field(default_factory=asyncio.Queue)
    down: asyncio.Queue[tuple[DeviceId, str]] = field(default_factory=asyncio.Queue)
    got: asyncio.Queue[Envelope] = field(default_factory=asyncio.Queue)
    duplicates: list[tuple[DeviceId, str]] = field(default_factory=list)
    confirmed: list[DeviceId] = field(default_factory=list)
    readers: set[asyncio.Task[None]] = field(default_factory=set)

    def link_up(self, link: PeerLink) -> None:
        self.up.put_nowait(link)
        self.readers.add(asyncio.get_running_loop().create_task(self._read(link)))

    def link_down(self, peer: DeviceId, reason: str) -> None:
        self.down.put_nowait((peer, reason))

    def link_duplicate(self, peer: DeviceId, whose: str) -> None:
        self.duplicates.append((peer, whose))

    def pair_confirmed(self, peer: DeviceId) -> None:
        self.confirmed.append(peer)

    async def _read(self, link: PeerLink) -> None:
        with contextlib.suppress(LinkClosed):
            while True:
                self.got.put_nowait(await link.receive())


@dataclass
class Device:
    """A whole device on loopback."""

    identity: Identity
    pairs: Pairs
    events: Recorder
    endpoint: Endpoint

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.endpoint.port

    async def dial(self, other: Device, rid: bytes | None = None) -> PeerLink:
        return await self.endpoint.links.dial(other.identity.id, [other.address], rid or other.endpoint.rids.current)

    def befriend(self, other: Device) -> None:
        secret = sha256("".join(sorted((self.identity.id, other.identity.id))).encode()).digest()
        self.pairs.add(pair_with(other.identity, secret))
        other.pairs.add(pair_with(self.identity, secret))


@contextlib.asynccontextmanager
async def device(identity: Identity | None = None, port: int = 0) -> AsyncIterator[Device]:
    identity, pairs, events = identity or new_identity(), Pairs(), Recorder()
    async with open_endpoint(identity, pairs, events, port=port, hosts=LOOPBACK) as endpoint:
        yield Device(identity, pairs, events, endpoint)
    await asyncio.gather(*events.readers, return_exceptions=True)


@contextlib.asynccontextmanager
async def paired(count: int = 2) -> AsyncIterator[tuple[Device, ...]]:
    """Devices that are all paired with each other."""
    async with contextlib.AsyncExitStack() as stack:
        devices = tuple([await stack.enter_async_context(device()) for _ in range(count)])
        for one, other in itertools.combinations(devices, 2):
            one.befriend(other)
        yield devices
