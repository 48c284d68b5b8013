"""Whole devices in one air: identity, pairs, real listeners and links, and the finder of Bluetooth over a virtual radio."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from mesh.support import Device, device
from moodmesh.mesh.ble.central import Central
from moodmesh.mesh.ble.finder import BleFinder
from moodmesh.mesh.ble.radio import Heard, Peripheral
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.reach import PEER
from moodmesh.mesh.rid import match, tags, whole
from moodmesh.mesh.seams import Beacon, Sighting
from moodmesh.nodes.bench.ble.air import Air
from moodmesh.nodes.bench.ble.bumble import Radio, radio

Adopt = Callable[[socket.socket, str], None]


@dataclass
class Aired:
    """A device that does with a sighting what a node does: dials whoever shows the tag of a pair."""

    name: str
    device: Device
    radio: Radio
    finder: BleFinder = field(init=False)
    central: Central = field(init=False)
    adopt: Adopt = field(init=False)
    sightings: list[Sighting] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    run: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.central = Central("hci0", self.radio.scanner, self.radio.client)
        self.adopt = self.device.endpoint.acceptor.adopt
        self.finder = BleFinder(self._opened, self._come, SystemClock(), self.name)
        listen = self.finder._heard
        self.finder._heard = lambda heard: (self.heard.append(heard), listen(heard))[1]  # type: ignore[method-assign]

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Central, Peripheral]]:
        yield self.central, self.radio.peripheral

    def _come(self, host: str, port: int, sock: socket.socket) -> bool:
        if port == PEER:
            self.adopt(sock, host)
        return port == PEER

    def start(self) -> None:
        """Look, and show what there is to show."""
        self.run = asyncio.create_task(self.finder.run(self.sighted))

    async def stop(self) -> None:
        """Neither any more."""
        if self.run is not None:
            self.run.cancel()
            await asyncio.gather(self.run, return_exceptions=True)

    def sighted(self, sighting: Sighting) -> None:
        self.sightings.append(sighting)
        for pair in match(sighting.tags, sighting.rid, self.device.pairs):
            self.device.endpoint.links.seek(pair.peer, [(sighting.host, sighting.port)], whole(sighting.rid))

    def show(self) -> None:
        """What this device is now."""
        rid = self.device.endpoint.rids.current[: self.finder.id_bytes]
        self.finder.show(Beacon(rid, self.device.endpoint.port, tags(self.device.pairs, rid)))

    def at(self, other: Aired) -> tuple[str, int]:
        """Where another is, by the radio of this one."""
        return f"{self.name}/{other.radio.address}", PEER

    async def until_heard(self, other: Aired, unlike: bytes = b"") -> bytes:
        """What another shows, as soon as it is something else than that."""
        while True:
            for heard in self.heard:
                if heard.address == other.radio.address and heard.data != unlike:
                    return heard.data
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def aired(*names: str) -> AsyncIterator[tuple[Aired, ...]]:
    """Devices that listen, none of which knows another or shows anything yet."""
    air = Air()
    async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
        found: list[Aired] = []
        for number, name in enumerate(names, start=1):
            whom = await stack.enter_async_context(device())
            found.append(Aired(name, whom, await stack.enter_async_context(radio(air, f"F5:00:00:00:00:{number:02X}"))))
        for one in found:
            one.start()
        try:
            yield tuple(found)
        finally:
            for one in found:
                await one.device.endpoint.links.close()
                await one.stop()
