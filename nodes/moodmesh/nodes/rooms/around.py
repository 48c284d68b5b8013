"""Who else is in a room, and how to get there: over the open listeners of devices near, or over the links of paired ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moodmesh.mesh.address import Address
from moodmesh.mesh.rooms.doors import PipePlace, enter
from moodmesh.mesh.rooms.sitting import Place
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.rooms.ways import Ways


class Near:
    """Implements `Around` for rooms of strangers; `sighted` gives who shows the tag of the room."""

    def __init__(self, rid: bytes, port: int, sighted: Callable[[], Sequence[tuple[bytes, Address]]]) -> None:
        self.rid, self.door, self._sighted = rid, port.to_bytes(2, "little"), sighted

    def seen(self) -> Sequence[tuple[bytes, bytes]]:
        """Everyone sighted."""
        return [(rid, port.to_bytes(2, "little") + host.encode("ascii", "replace")) for rid, (host, port) in self._sighted()]

    async def open(self, address: bytes) -> PipePlace:
        """To an open listener."""
        return await enter(address)


class Paired:
    """Implements `Around` for a circle: its people, over pinned links. A person's rid there is their device."""

    def __init__(self, me: DeviceId, people: Sequence[DeviceId], present: Callable[[DeviceId], bool], ways: Ways) -> None:
        self.rid = self.door = me.encode("ascii")
        self._others, self._present, self._ways = [p for p in people if p != me], present, ways

    def seen(self) -> Sequence[tuple[bytes, bytes]]:
        """Those who are here."""
        return [(p.encode("ascii"), p.encode("ascii")) for p in self._others if self._present(p)]

    async def open(self, address: bytes) -> Place:
        """To one of them."""
        return self._ways.open(DeviceId(address.decode("ascii", "replace")))
