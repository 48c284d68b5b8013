"""Who is near by Bluetooth LE: shows this device, hears others, and carries streams to and from them (mesh-lessons §4)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.reach import PEER, ROOM, WINDOW, reachable
from moodmesh.mesh.seams import Beacon, Sighting, Unavailable

from .lanes import Lanes
from .payload import ID_BYTES, SIZE, SLOT_BYTES, SLOTS, Payload, decode
from .presence import STALE_S, Presence
from .radio import UNSEEN, Heard, Hooks, Peripheral, Unseen

if TYPE_CHECKING:  # bleak is loaded where there is a radio
    from .central import Central

ACTIVE_S, QUIET_S = 4.0, 20.0
BATCH_S = 10.0
MOST_TOLD = 256


class BleFinder:
    """Implements `Finder`. `interval_s` is the gear: how often the counter moves, for some scanners tell only of changes.

    In the quiet gear what is no news is handled in batches; the scanner runs on, for starting one anew can take 20 s.
    `opened`: the central and the peripheral of an adapter; without the latter, and while it shows nothing (`Unseen`), this
    device looks and connects, and `trouble` says so. `accept` gets each stream that another device opens: its host, the port
    it names (`reach`), and the socket; it says whether there is such a listener.
    """

    radio = "ble"
    id_bytes = ID_BYTES[SIZE]

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[tuple[Central, Peripheral | None]]],
        accept: Callable[[str, int, socket.socket], bool],
        clock: Clock,
        name: str = "ble",
    ) -> None:
        self._opened, self._accept, self._clock, self._name = opened, accept, clock, name
        self._beacon: Beacon | None = None
        self._counter = 0
        self._again = asyncio.Event()
        self._presence = Presence()
        self._spare = os.urandom(SLOT_BYTES)
        self._batch: dict[bytes, Sighting] = {}
        self._told: dict[bytes, tuple[Payload, float]] = {}
        self._seen: Callable[[Sighting], None] = lambda sighting: None
        self.interval_s = ACTIVE_S
        self.unparsable = 0
        self.trouble: dict[str, str] = {}

    def show(self, beacon: Beacon) -> None:
        """Show this from now on."""
        if self._beacon is None or beacon.rid != self._beacon.rid:
            self._spare, self._counter = os.urandom(SLOT_BYTES), os.urandom(1)[0]  # nothing counts on from one rid to the next
        self._beacon = beacon
        self._again.set()

    async def ask(self, host: str) -> None:
        """Nobody can be asked by radio: everybody shows what there is."""

    async def run(self, seen: Callable[[Sighting], None]) -> None:
        """Look and show until cancelled; `Unavailable` or OSError when the radio fails."""
        self._seen = seen
        try:
            async with self._opened() as (central, peripheral):
                self.trouble = {"this device": UNSEEN} if peripheral is None else {}
                central.accept = self._come
                with reachable(self._name, central):
                    async with central.scanning(self._heard), asyncio.TaskGroup() as group:
                        group.create_task(self._deliver())
                        if peripheral is not None:
                            group.create_task(self._be_seen(peripheral, central))
        except* (Unavailable, OSError) as errors:
            raise _first(errors) from None

    async def _be_seen(self, peripheral: Peripheral, central: Central) -> None:
        lanes = Lanes(peripheral.notify, self._come, self._clock, drop=peripheral.drop)
        central.theirs = lanes.lane
        try:
            async with peripheral.open(Hooks(lanes.written, lanes.gone)):
                while True:
                    self._again.clear()
                    if self._beacon is not None:
                        await self._advertise(peripheral, self._beacon)
                    await self._pause()
        finally:
            lanes.close()

    def _come(self, device: str, port: int, sock: socket.socket) -> bool:
        return self._accept(f"{self._name}/{device}", port, sock)

    async def _advertise(self, peripheral: Peripheral, beacon: Beacon) -> None:
        try:
            await peripheral.advertise(self._payload(beacon).encode())
        except Unseen as why:  # tried again with the next: what is in the way may go
            self.trouble = {"this device": "; ".join(filter(None, (why.reason, why.remedy)))}
        else:
            self._counter, self.trouble = self._counter + 1, {}

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self.interval_s):
                await self._again.wait()
        except TimeoutError:
            pass

    def _payload(self, beacon: Beacon) -> Payload:
        if beacon.nameplate is None:
            first, second = (slot[:SLOT_BYTES] for slot in beacon.slots(SLOTS))
        else:  # it takes the place of a slot, which must not be that of a pair
            first, second = beacon.slots(1)[0][:SLOT_BYTES], self._spare
        return Payload(beacon.rid, (first, second), beacon.nameplate, beacon.room_port is not None, self._counter)

    def _heard(self, heard: Heard) -> None:
        payload = decode(heard.data)
        if payload is None:
            self.unparsable += 1
            return
        if self._beacon is not None and payload.rid == self._beacon.rid[: len(payload.rid)]:
            return
        now = self._clock.now()
        key = heard.address.encode() + payload.rid
        signal = self._presence.heard(key, heard.rssi, now)
        if signal is None:
            return
        window, room = WINDOW if payload.nameplate is not None else None, ROOM if payload.room else None
        sighting = Sighting(
            self.radio, payload.rid, f"{self._name}/{heard.address}", PEER, frozenset(payload.slots), now, STALE_S,
            payload.nameplate, window, signal, room,
        )  # fmt: skip
        said, (before, told_at) = replace(payload, counter=0), self._told.get(key, (None, 0.0))
        if self.interval_s > ACTIVE_S and said == before and now - told_at < STALE_S - BATCH_S:
            self._batch[key] = sighting
        else:
            self._tell(key, said, sighting)

    def _tell(self, key: bytes, said: Payload, sighting: Sighting) -> None:
        self._told.pop(key, None)
        self._told[key] = said, sighting.at
        if len(self._told) > MOST_TOLD:
            oldest = next(iter(self._told))
            del self._told[oldest]
            self._batch.pop(oldest, None)
        self._seen(sighting)

    async def _deliver(self) -> None:
        """What is no news, in the quiet gear."""
        while True:
            await self._clock.sleep(BATCH_S)
            batch, self._batch = self._batch, {}
            for key, sighting in batch.items():
                if key in self._told:
                    self._tell(key, self._told[key][0], sighting)


def _first(errors: BaseExceptionGroup) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
