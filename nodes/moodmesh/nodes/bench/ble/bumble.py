"""A virtual radio: bleak's backends and our `Peripheral` on one Bumble device, with what BlueZ does where the two differ.

Like BlueZ it has one connection to a device, whoever asked for it, uses it in both directions, and cuts it for both.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError
from bleak.uuids import normalize_uuid_str
from bumble.core import UUID, AdvertisingData, BaseBumbleError
from bumble.device import Advertisement, AdvertisingSet, Connection, Device, Peer
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.hci import (
    Address,
    HCI_LE_Create_Connection_Cancel_Command,
    HCI_LE_Create_Connection_Command,
    OwnAddressType,
)
from bumble.host import Host
from bumble.transport import open_transport
from bumble.transport.common import AsyncPipeSink

from moodmesh.mesh.ble.payload import SERVICE
from moodmesh.mesh.ble.radio import LANE_UUIDS, Hooks
from moodmesh.mesh.seams import Unavailable
from moodmesh.nodes.bench.ble.air import HOST, Air

T = TypeVar("T")
MTU = 517
INTERVAL_MS = 100.0
"""Between two advertisements."""
AHEAD = 32
"""Packets of a radio on their way before a write waits."""
_ASSIGNED = "-0000-1000-8000-00805f9b34fb"
_PROPERTIES = {
    Characteristic.Properties.READ: "read",
    Characteristic.Properties.WRITE: "write",
    Characteristic.Properties.WRITE_WITHOUT_RESPONSE: "write-without-response",
    Characteristic.Properties.NOTIFY: "notify",
}


class Radio:
    """One virtual adapter: `scanner` and `client` are backends for bleak, `peripheral` is ours.

    `leave()` puts it out of reach without a word, as when somebody walks away.
    """

    def __init__(self, device: Device, mtu: int, leave: Callable[[], object]) -> None:
        self.device, self.mtu, self.leave = device, mtu, leave
        self.links: dict[str, Connection] = {}
        self._linked = asyncio.Event()
        device.on(Device.EVENT_CONNECTION, self._connected)
        device.connect_own_address_type = OwnAddressType.RANDOM
        device.gatt_server.max_mtu = mtu
        self.peripheral = BumblePeripheral(self)
        self.scanner = type("BumbleScanner", (_Scanner,), {"radio": self})
        self.client = type("BumbleClient", (_Client,), {"radio": self})

    @property
    def address(self) -> str:
        """As bleak writes it."""
        return _text(self.device.random_address)

    async def connect(self, address: str) -> Connection:
        """The connection to a device: the one there is, or a new one."""
        if address not in self.links:
            # not through `Device.connect`: it hands out whatever connection comes next, also one that another device asked for
            await self.device.send_async_command(_create(Address(address)))
            try:
                while address not in self.links:
                    self._linked.clear()
                    await self._linked.wait()
            finally:
                await self.device.send_sync_command(HCI_LE_Create_Connection_Cancel_Command())
        return self.links[address]

    async def flow(self, connection: Connection) -> None:
        """Wait while the controller has much to send."""
        queue = connection.data_packet_queue
        if queue is not None and queue.pending > AHEAD:
            await connection.drain()

    def _connected(self, connection: Connection) -> None:
        address = _text(connection.peer_address)
        self.links[address] = connection

        def lost(_: int) -> None:
            if self.links.get(address) is connection:
                del self.links[address]
            self.peripheral.gone(address)

        connection.on(Connection.EVENT_DISCONNECTION, lost)
        self._linked.set()


@contextlib.asynccontextmanager
async def radio(air: Air | int | str, address: str, mtu: int = MTU) -> AsyncIterator[Radio]:
    """A radio in an air of this process, or in one served at a port or path; out of reach when the block ends."""
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(air, Air):
            controller = air.join()
            leave: Callable[[], object] = partial(air.leave, controller)
            host = Host(controller, AsyncPipeSink(controller))
        else:
            where = f"tcp-client:{HOST}:{air}" if isinstance(air, int) else f"unix:{air}"
            transport = await stack.enter_async_context(await open_transport(where))
            leave = transport.sink.transport.abort
            host = Host(transport.source, transport.sink)
        device = Device(name="Moodmesh", address=Address(address), host=host)
        stack.callback(leave)
        made = Radio(device, mtu, leave)
        await device.power_on()
        stack.push_async_callback(device.power_off)
        yield made


class _Scanner(BaseBleakScanner):
    """Passes on service data alone."""

    radio: Radio

    def __init__(
        self, detection_callback: Any, service_uuids: list[str] | None = None, scanning_mode: str = "active", **_: Any
    ) -> None:
        super().__init__(detection_callback, service_uuids)

    async def start(self) -> None:
        self.seen_devices = {}
        self.radio.device.on(Device.EVENT_ADVERTISEMENT, self._heard)
        await self.radio.device.start_scanning(active=False)

    async def stop(self) -> None:
        self.radio.device.remove_listener(Device.EVENT_ADVERTISEMENT, self._heard)
        await self.radio.device.stop_scanning()

    def _heard(self, heard: Advertisement) -> None:
        sizes = {AdvertisingData.SERVICE_DATA_16_BIT_UUID: 2, AdvertisingData.SERVICE_DATA_128_BIT_UUID: 16}
        raws = [(sizes[kind], bytes(raw)) for kind, raw in heard.data.ad_structures if kind in sizes]
        shown = {_uuid(UUID.from_bytes(raw[:size])): raw[size:] for size, raw in raws}
        address = _text(heard.address)
        data = AdvertisementData(None, {}, shown, [], None, heard.rssi, (heard,))
        self.call_detection_callbacks(self.create_or_update_device(address, address, None, heard.address, data), data)


class _Client(BaseBleakClient):
    """GATT over a connection of the radio."""

    radio: Radio

    def __init__(self, address_or_ble_device: BLEDevice | str, services: set[str] | None = None, **kwargs: Any) -> None:
        super().__init__(address_or_ble_device, **kwargs)
        self._wanted = services
        self._connection: Connection | None = None
        self._subscribers: dict[int, Callable[[bytes], None]] = {}

    @property
    def name(self) -> str:
        """Virtual radios have none."""
        return self.address

    @property
    def mtu_size(self) -> int:
        return self._link.att_mtu

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    @property
    def _link(self) -> Connection:
        if self._connection is None:
            raise BleakError("not connected")
        return self._connection

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        async with asyncio.timeout(self._timeout):
            connection = self._connection = await self._asked(self.radio.connect(self.address))
            connection.on(Connection.EVENT_DISCONNECTION, self._lost)
            self._peer = Peer(connection)
            await self._asked(self._peer.request_mtu(self.radio.mtu))
            await self._asked(self._peer.discover_services())
            self.services = BleakGATTServiceCollection()
            for service in self._peer.services:
                uuid = _uuid(service.uuid)
                if self._wanted is not None and uuid not in self._wanted:
                    continue
                await self._asked(service.discover_characteristics())
                ours = BleakGATTService(service, service.handle, uuid)
                self.services.add_service(ours)
                for found in service.characteristics:
                    can: Any = [name for bit, name in _PROPERTIES.items() if found.properties & bit]
                    self.services.add_characteristic(
                        BleakGATTCharacteristic(found, found.handle, _uuid(found.uuid), can, lambda: self.mtu_size - 3, ours)
                    )

    async def disconnect(self) -> None:
        if self._connection is not None:
            await self._asked(self._connection.disconnect())

    async def pair(self, *args: Any, **kwargs: Any) -> None:
        raise BleakError("virtual radios do not pair")

    async def unpair(self) -> None:
        raise BleakError("virtual radios do not pair")

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        return bytearray(await self._asked(characteristic.obj.read_value()))

    async def read_gatt_descriptor(self, descriptor: Any, *, use_cached: bool = False, **kwargs: Any) -> bytearray:
        raise BleakError("no descriptors here")

    async def write_gatt_descriptor(self, descriptor: Any, data: Any) -> None:
        raise BleakError("no descriptors here")

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: Any, response: bool) -> None:
        link = self._link
        await self._asked(self._peer.write_value(characteristic.obj, bytes(data), with_response=response))
        await self.radio.flow(link)

    async def start_notify(self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **kwargs: Any) -> None:
        subscriber = self._subscribers[characteristic.handle] = lambda value: callback(bytearray(value))
        await self._asked(characteristic.obj.subscribe(subscriber))

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        await self._asked(characteristic.obj.unsubscribe(self._subscribers.pop(characteristic.handle)))

    def _lost(self, _: int) -> None:
        self._connection = None
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    async def _asked(self, work: Awaitable[T]) -> T:
        """Its result; errors are bleak's. Bumble cancels what waits for an answer when the connection ends."""
        try:
            return await work
        except BaseBumbleError as error:
            raise BleakError(str(error)) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise BleakError("the connection ended") from None


class BumblePeripheral:
    """Our `Peripheral` on a Bumble device."""

    def __init__(self, radio: Radio) -> None:
        self._radio, self._hooks = radio, Hooks(lambda *_: None, lambda _: None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._set_up = asyncio.Lock()
        self._open = False
        self._lanes = [self._lane(number, uuid) for number, uuid in enumerate(LANE_UUIDS)]
        radio.device.add_service(Service(UUID(SERVICE), self._lanes))

    @contextlib.asynccontextmanager
    async def open(self, hooks: Hooks) -> AsyncIterator[None]:
        """Offer our service, one characteristic a lane, until the block ends; then everybody is disconnected."""
        if not self._radio.device.powered_on:
            raise Unavailable("the virtual radio is off", "switch it on")
        self._hooks, self._open = hooks, True
        try:
            yield
        finally:
            self._open = False
            async with self._set_up:
                await self._radio.device.stop_advertising()
            for address in list(self._radio.links):
                await self.drop(address)
            await asyncio.gather(*self._tasks)
            self._hooks = Hooks(lambda *_: None, lambda _: None)

    async def advertise(self, data: bytes) -> None:
        """Show this service data from now on."""
        kind, uuid = _service_data(SERVICE)
        shown = [(AdvertisingData.FLAGS, bytes((6,))), (kind, uuid + data)]
        device, raw = self._radio.device, bytes(AdvertisingData(shown))
        async with self._set_up:
            if device.legacy_advertising_set is not None:
                await device.legacy_advertising_set.set_advertising_data(raw)
            else:
                await device.start_advertising(
                    advertising_data=raw, advertising_interval_min=INTERVAL_MS, advertising_interval_max=INTERVAL_MS
                )
                if (shows := device.legacy_advertising_set) is not None:  # a plain radio has none, and begins not anew
                    shows.on(AdvertisingSet.EVENT_TERMINATION, self._taken)
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise asyncio.CancelledError  # which Bumble loses now and then (asyncio.wait_for of Python 3.11)

    async def notify(self, lane: int, value: bytes) -> None:
        """To every subscriber; BlueZ, too, cuts short what one of them cannot take."""
        if not self._open:
            raise OSError("the virtual radio is off")
        await self._radio.device.notify_subscribers(self._lanes[lane], value)
        for link in list(self._radio.links.values()):
            await self._radio.flow(link)

    async def drop(self, device: str) -> None:
        """Disconnect a device."""
        if (link := self._radio.links.get(device)) is not None:
            with contextlib.suppress(BaseBumbleError):
                await link.disconnect()

    def gone(self, device: str) -> None:
        """The radio lost a connection."""
        self._hooks.gone(device)

    def _taken(self, _status: int) -> None:
        """Somebody connected, which ended the advertisement: BlueZ begins it anew."""
        task = asyncio.get_running_loop().create_task(self._again())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _again(self) -> None:
        async with self._set_up:
            shown = self._radio.device.legacy_advertising_set
            if self._open and shown is not None:  # whatever it says: it may take an older beginning for the newer end
                await shown.start()

    def _lane(self, number: int, uuid: str) -> Characteristic[bytes]:
        def written(connection: Connection, value: bytes) -> None:
            if self._open:
                self._hooks.written(number, _text(connection.peer_address), bytes(value))

        can = Characteristic.Properties.WRITE_WITHOUT_RESPONSE | Characteristic.Properties.NOTIFY
        return Characteristic(UUID(uuid), can, Characteristic.Permissions.WRITEABLE, CharacteristicValue(write=written))


def _create(address: Address) -> HCI_LE_Create_Connection_Command:
    return HCI_LE_Create_Connection_Command(
        le_scan_interval=96, le_scan_window=96, initiator_filter_policy=0, peer_address_type=address.address_type,
        peer_address=address, own_address_type=OwnAddressType.RANDOM, connection_interval_min=12, connection_interval_max=24,
        max_latency=0, supervision_timeout=72, min_ce_length=0, max_ce_length=0,
    )  # fmt: skip


def _text(address: Address) -> str:
    return address.to_string(with_type_qualifier=False)


def _service_data(uuid: str) -> tuple[int, bytes]:
    """Which kind of service data a UUID has, and how it is written there: one that is assigned is short, as with BlueZ."""
    if uuid.startswith("0000") and uuid.endswith(_ASSIGNED):
        return AdvertisingData.SERVICE_DATA_16_BIT_UUID, UUID(uuid[4:8]).to_bytes()
    return AdvertisingData.SERVICE_DATA_128_BIT_UUID, UUID(uuid).to_bytes()


def _uuid(uuid: UUID) -> str:
    return normalize_uuid_str(uuid.to_hex_str("-"))
