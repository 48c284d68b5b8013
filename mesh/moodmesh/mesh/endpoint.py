"""The peer side of one device, put together: listener, dialler, links, rids (pairing §3, §4)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from .acceptor import Acceptor
from .binding import EVERYWHERE
from .clock import Clock, SystemClock
from .frames import Caps
from .identity import Identity
from .links import Events, Links
from .pairs import Pairs
from .pipe import WebSocketDialler, peer_app
from .rid import Rids
from .tls import PeerTls


@dataclass(frozen=True)
class Endpoint:
    """A device on the network. `port` stays the same for the life of the process."""

    links: Links
    rids: Rids
    tls: PeerTls
    acceptor: Acceptor
    port: int


@contextlib.asynccontextmanager
async def open_endpoint(
    identity: Identity,
    pairs: Pairs,
    events: Events,
    *,
    clock: Clock | None = None,
    port: int = 0,
    hosts: Sequence[str] = EVERYWHERE,
    caps: Caps | None = None,
    features: Iterable[str] = (),
) -> AsyncIterator[Endpoint]:
    """Listen for paired peers, and rotate the rid, until the block ends; `PortTaken`."""
    clock, caps = clock or SystemClock(), caps or Caps()
    rids = Rids(clock)
    tls = PeerTls(identity, pairs, rids)
    links = Links(identity.id, pairs, rids, WebSocketDialler(tls, caps), events, clock, caps, features)
    acceptor = Acceptor(peer_app(pairs, caps, links.accept), lambda: tls.base, clock=clock)
    links.port = await acceptor.start(port, hosts)
    rotation = asyncio.get_running_loop().create_task(rids.run())
    try:
        yield Endpoint(links, rids, tls, acceptor, links.port)
    finally:
        rotation.cancel()
        await asyncio.gather(rotation, return_exceptions=True)
        await links.close()
        await acceptor.close()
