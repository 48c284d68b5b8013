"""The air that virtual radios share: in this process, and for others over loopback, one HCI connection a radio.

It takes no time, unless it is given a rate, and loses nothing. As a process:
`python -m moodmesh.nodes.bench.ble.air [PATH [plain [RATE]]]`, each of which may be empty, whose first line says where.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import sys
from collections.abc import AsyncIterator
from typing import Any

from bumble import ll
from bumble.controller import Connection, Controller
from bumble.core import PhysicalTransport
from bumble.hci import (
    Address,
    HCI_AclDataPacket,
    HCI_ErrorCode,
    HCI_LE_Create_Connection_Cancel_Command,
    HCI_StatusReturnParameters,
    LeFeatureMask,
)
from bumble.link import LocalLink
from bumble.transport.common import StreamPacketSource

HOST = "127.0.0.1"
ACL_BYTES = 251
"""What a radio of Bluetooth 4.2 or later sends as one packet."""
_LATER = LeFeatureMask.LE_EXTENDED_ADVERTISING | LeFeatureMask.LL_PRIVACY


class _Link(LocalLink):
    """As in a real air, whoever answers an advertisement first has the connection, and two radios have one at most."""

    rate = math.inf
    """Bytes a second that two radios pass to each other, both directions together."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._free: dict[frozenset[str], float] = {}

    def passed(self, connection: Connection, size: int) -> float:
        """When a packet of this size is through, after those before it; by the clock of the loop."""
        two = frozenset((str(connection.self_address), str(connection.peer_address)))
        start = max(asyncio.get_running_loop().time(), self._free.get(two, 0.0))
        self._free[two] = start + size / self.rate
        return self._free[two]

    def send_acl_data(
        self, sender_controller: Controller, destination_address: Address, transport: PhysicalTransport, data: bytes
    ) -> None:
        """From the address that the connection was made with: Bumble takes any to be the sender's random one."""
        receiver = self.find_le_controller(destination_address)
        connection = sender_controller.le_connections.get(destination_address)
        if receiver is not None and connection is not None:
            asyncio.get_running_loop().call_soon(receiver.on_link_acl_data, connection.self_address, transport, data)

    def send_advertising_pdu(self, sender_controller: Controller, packet: ll.AdvertisingPdu) -> None:
        if isinstance(packet, ll.ConnectInd):
            for controller in self.controllers - {sender_controller}:
                controller.on_ll_advertising_pdu(packet)
        else:
            asyncio.get_running_loop().call_soon(self._advertise, sender_controller, packet)

    def _advertise(self, sender: Controller, packet: ll.AdvertisingPdu) -> None:
        for controller in self.controllers - {sender}:
            if sender.is_advertising:
                controller.on_ll_advertising_pdu(packet)


class _Controller(Controller):
    """One that forgets a connection it was to make, when told so."""

    def on_hci_le_create_connection_cancel_command(
        self, _command: HCI_LE_Create_Connection_Cancel_Command
    ) -> HCI_StatusReturnParameters:
        self.pending_le_connection = None
        return HCI_StatusReturnParameters(HCI_ErrorCode.SUCCESS)

    def on_hci_acl_data_packet(self, packet: HCI_AclDataPacket) -> None:
        """The host hears that it is sent when it is: what waits before that, waits there."""
        connection, link = self.find_connection_by_handle(packet.connection_handle), self.link
        if connection is None or not isinstance(link, _Link) or link.rate == math.inf:
            super().on_hci_acl_data_packet(packet)
        else:
            through = link.passed(connection, len(packet.data))
            asyncio.get_running_loop().call_at(through, super().on_hci_acl_data_packet, packet)


class Air:
    """Whoever joins hears whoever else did. `plain`: with what a radio of Bluetooth 4.2 has; of one with more, Linux waits for
    another kind of event when it connects than Bumble sends. `rate`: bytes a second that two of them pass to each other."""

    def __init__(self, plain: bool = False, rate: float = math.inf) -> None:
        self._features = Controller.le_features & ~(_LATER if plain else LeFeatureMask(0))
        self._link = _Link()
        self._link.rate = rate
        self._numbers = itertools.count(1)

    def join(self, source: Any = None, sink: Any = None) -> Controller:
        """A controller for a host at the other end of `source` and `sink`."""
        number = next(self._numbers)
        address = Address(f"F0:F1:F2:00:{number >> 8:02X}:{number & 255:02X}", Address.PUBLIC_DEVICE_ADDRESS)
        controller = _Controller(f"radio {number}", source, sink, self._link, address)
        controller.le_acl_data_packet_length = ACL_BYTES
        controller.le_features = self._features
        return controller

    def leave(self, controller: Controller) -> None:
        """It is out of reach from now on: whoever was connected to it notices."""
        if controller not in self._link.controllers:
            return
        controller.le_legacy_advertiser.stop()
        for advertised in controller.advertising_sets.values():
            advertised.stop()
        self._link.remove_controller(controller)
        left = {connection.self_address for connection in controller.le_connections.values()}
        for other in self._link.controllers:
            for connection in list(other.le_connections.values()):
                if connection.peer_address in left:
                    other.on_le_disconnected(connection, HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)

    @contextlib.asynccontextmanager
    async def serving(self, path: str = "") -> AsyncIterator[int | str]:
        """Take the hosts of other processes until the block ends: on a port of loopback, or at a path where they have no
        network in common. Where they plug in."""
        loop = asyncio.get_running_loop()
        if path:
            server = await loop.create_unix_server(lambda: _Plug(self), path)
        else:
            server = await loop.create_server(lambda: _Plug(self), HOST, 0)
        try:
            yield path or server.sockets[0].getsockname()[1]
        finally:
            server.close()


class _Plug(asyncio.Protocol):
    """The HCI of one radio."""

    def __init__(self, air: Air) -> None:
        self._air, self._source = air, StreamPacketSource()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._controller = self._air.join(self._source, self)

    def data_received(self, data: bytes) -> None:
        self._source.data_received(data)

    def on_packet(self, packet: bytes) -> None:
        """From the controller to its host."""
        if not self._transport.is_closing():
            self._transport.write(packet)

    def connection_lost(self, exc: Exception | None) -> None:
        self._air.leave(self._controller)


async def main(path: str = "", plain: str = "", rate: str = "inf") -> None:
    """Serve until killed."""
    async with Air(bool(plain), float(rate)).serving(path) as where:
        print(where, flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
