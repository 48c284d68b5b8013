"""Devices of one room in one process: ways in memory, with what each device spends and sends, by role."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from moodmesh.mesh.rooms.relay import Gathering, Relay
from moodmesh.mesh.rooms.sitting import Place, Sitting, local
from moodmesh.mesh.rooms.wire import Step, decode
from moodmesh.mesh.seams import LinkClosed

MEMBER, GATHERER, RELAY = "member", "gatherer", "relay"
_GATHERS = (Step.START, Step.JOIN, Step.WHERE, Step.REVEAL)


class Net:
    """Everybody sees everybody. `seconds` of processor time, `messages` and `bytes` by device and role."""

    def __init__(self, devices: Sequence[int]) -> None:
        self.rids = {i: i.to_bytes(16, "big") for i in devices}
        self.sittings: dict[int, Sitting] = {}
        self.seconds: dict[tuple[int, str], float] = defaultdict(float)
        self.messages: dict[tuple[int, str], int] = defaultdict(int)
        self.bytes: dict[tuple[int, str], int] = defaultdict(int)
        self._serving: dict[int, list[asyncio.Future[None]]] = defaultdict(list)

    def carry(self, device: int) -> Callable[..., Awaitable[Any]]:
        """Runs the work of a device at once, and notes what it took."""

        async def carried(work: Callable[..., Any], *args: Any) -> Any:
            began = time.process_time()
            try:
                return work(*args)
            finally:
                whose = getattr(work, "__self__", None)
                role = GATHERER if isinstance(whose, Gathering) else RELAY if isinstance(whose, Relay) else MEMBER
                self.seconds[device, role] += time.process_time() - began

        return carried

    def serve(self, device: int, place: Place) -> None:
        """Somebody has come to this device; `LinkClosed` where nobody opens any more."""
        if device not in self.sittings:
            raise LinkClosed("nobody opens")
        self._serving[device].append(asyncio.ensure_future(self.sittings[device].serve(place)))

    def sent(self, device: int, data: bytes) -> None:
        """Note a message."""
        message = decode(data)
        role = MEMBER if not message.batch else GATHERER if message.step in _GATHERS else RELAY
        self.messages[device, role] += 1
        self.bytes[device, role] += len(data)

    async def down(self, device: int) -> None:
        """It is gone at once, and with it all ways to it. The others still see it for a while, and find nobody."""
        sitting = self.sittings.pop(device, None)
        for serving in self._serving.pop(device, []):
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        if sitting is not None:
            await sitting.close()


class Spot:
    """`Around` of one device."""

    def __init__(self, net: Net, device: int) -> None:
        self._net, self._device = net, device
        self.door = self.rid = net.rids[device]

    def seen(self) -> Sequence[tuple[bytes, bytes]]:
        """Everybody else."""
        return [(rid, rid) for rid in self._net.rids.values() if rid is not self.rid]

    def slow(self) -> bool:
        """Nobody is by radio."""
        return False

    async def open(self, address: bytes) -> Place:
        """A way to another device."""
        other = int.from_bytes(address, "big")
        mine, its = local()
        self._net.serve(other, Wire(self._net, other, its))
        return Wire(self._net, self._device, mine)


class Wire:
    """One end of a way; what its device posts is noted."""

    def __init__(self, net: Net, device: int, place: Place) -> None:
        self._net, self._device, self._place = net, device, place
        self.receive, self.close, self.address, self.slow = place.receive, place.close, place.address, place.slow

    def post(self, data: bytes) -> None:
        """Into the other's inbox."""
        self._net.sent(self._device, data)
        self._place.post(data)
