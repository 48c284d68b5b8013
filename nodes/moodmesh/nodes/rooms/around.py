"""Who else is in a room, and how to get there: over the open listeners of devices near, or over the links of paired ones."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from moodmesh.mesh.address import Address
from moodmesh.mesh.reach import by_radio
from moodmesh.mesh.rooms.doors import PipePlace, enter
from moodmesh.mesh.rooms.sitting import Place
from moodmesh.mesh.seams import DeviceId, LinkClosed
from moodmesh.nodes.rooms.ways import Ways

LOWEST_PORT = 1024
"""A listener has a port that the system chose; below are those of a network's services."""


def near(address: bytes) -> bool:
    """Whether an address, as `PipePlace.address` tells it, can only be of the network that this device is in, or of its air."""
    host = address[2:].decode("ascii", "replace")
    if by_radio(host):
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not found.is_global and not found.is_multicast and int.from_bytes(address[:2], "little") >= LOWEST_PORT


class Near:
    """Implements `Around` for rooms of strangers; `sighted` gives who shows the tag of the room."""

    def __init__(self, rid: bytes, port: int, sighted: Callable[[], Sequence[tuple[bytes, Address]]]) -> None:
        self.rid, self.door, self._sighted = rid, port.to_bytes(2, "little"), sighted

    def seen(self) -> Sequence[tuple[bytes, bytes]]:
        """Everyone sighted."""
        return [(rid, port.to_bytes(2, "little") + host.encode("ascii", "replace")) for rid, (host, port) in self._sighted()]

    def slow(self) -> bool:
        """By Bluetooth, where no network is known to lead there."""
        return any(by_radio(host) for _, (host, _) in self._sighted())

    async def open(self, address: bytes) -> PipePlace:
        """To an open listener; `LinkClosed`, also when whoever gathers named a place that is neither sighted nor near: else
        a stranger could send a whole room to any address of the internet."""
        if not near(address) and address not in [at for _, at in self.seen()]:
            raise LinkClosed("an address that is not near")
        return await enter(address)


class Paired:
    """Implements `Around` for a circle: its people, over pinned links. A person's rid there is their device."""

    def __init__(self, me: DeviceId, people: Sequence[DeviceId], present: Callable[[DeviceId], bool], ways: Ways) -> None:
        self.rid = self.door = me.encode("ascii")
        self._others, self._present, self._ways = [p for p in people if p != me], present, ways

    def seen(self) -> Sequence[tuple[bytes, bytes]]:
        """Those who are here."""
        return [(p.encode("ascii"), p.encode("ascii")) for p in self._others if self._present(p)]

    def slow(self) -> bool:
        """Linked by radio."""
        return any(self._ways.slow(p) for p in self._others if self._present(p))

    async def open(self, address: bytes) -> Place:
        """To one of them."""
        return self._ways.open(DeviceId(address.decode("ascii", "replace")))
