"""The side of an adapter that is seen and connected to, on Linux: BlueZ 5.66 or newer, over D-Bus.

BlueZ asks for what is offered (`GetManagedObjects`), passes on each write (`WriteValue`), and hears of notifications and of
new service data by `PropertiesChanged`. A connection of its own keeps one adapter apart from the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from dbus_fast import Message, MessageFlag, MessageType, Variant
from dbus_fast.unpack import unpack_variants

from moodmesh.mesh.seams import Unavailable

from .payload import SERVICE, SIZE
from .radio import LANE_UUIDS, UNSEEN, Hooks, Unseen
from .systembus import (
    ADAPTER,
    BLUEZ,
    DBUS,
    DEVICE,
    GATT_MANAGER,
    OBJECTS,
    PROPERTIES,
    SHOW_MANAGER,
    SystemBus,
    connected,
    no_adapter,
    no_bus,
    no_service,
    shows,
    switched_off,
)

CHARACTERISTIC, SHOWN = f"{BLUEZ}.GattCharacteristic1", f"{BLUEZ}.LEAdvertisement1"
LAST_WORD_S = 1.0
"""An adapter that is pulled out is first said to have no power, and to be gone when the service stops: what is said last within
so long is what happened."""
Watched = dict[str, dict[str, Variant]]


class BluezPeripheral:
    """`Peripheral` of one adapter, "hci0" say. Opened by one block at a time, which ends with `Unavailable`.

    An adapter that cannot be seen is watched all the same.
    """

    def __init__(self, adapter: str) -> None:
        self._adapter, self._path = adapter, f"/org/bluez/{adapter}"
        self._gatt, self._show = f"/moodmesh/{adapter}/gatt", f"/moodmesh/{adapter}/shown"
        self._lanes = {f"{self._gatt}/lanes/lane{number}": number for number in range(len(LANE_UUIDS))}
        self._bus: SystemBus | None = None
        self._owner = ""
        self._hooks = Hooks(lambda lane, device, value: None, lambda device: None)
        self._addresses: dict[str, str] = {}  # of the devices of this adapter, by path
        self._data: bytes | None = None
        self._shows = False
        self._turn = asyncio.Lock()
        self._why: Callable[[], Unavailable] | None = None
        self._limit = asyncio.timeout(None)
        self._later: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def open(self, hooks: Hooks) -> AsyncIterator[None]:
        """Offer our service until the block ends, or the adapter, its power or BlueZ goes: then `Unavailable` says why."""
        self._hooks, self._why, self._data, self._addresses, self._owner = hooks, None, None, {}, ""
        self._limit = asyncio.timeout(None)
        try:
            async with self._limit, connected(self._heard, lambda: self._end(no_bus)) as bus:
                await self._begin(bus)
                self._bus = bus
                try:
                    yield
                finally:
                    self._bus, self._owner = None, ""  # whatever comes now comes too late
                    if self._later is not None:
                        self._later.cancel()
                        self._later = None
        except TimeoutError:
            if self._why is None:
                raise
            raise await asyncio.to_thread(self._why) from None

    async def advertise(self, data: bytes) -> None:
        """Show service data from now on, connectable, in place of what was shown; `Unavailable`, `Unseen`.

        31 bytes hold the flags (3), the head and UUID of the data (18), and 10 more: hence neither a name nor a list of UUIDs.
        """
        if len(data) > SIZE:
            raise ValueError(f"{len(data)} bytes do not fit an advertisement: at most {SIZE} do")
        async with self._turn:
            bus = await self._opened()
            if not self._shows:
                raise Unseen(UNSEEN, "")
            shown, self._data = self._data, data
            if shown is not None:
                return await bus.send(_changed(self._show, SHOWN, {"ServiceData": _service_data(data)}))
            try:
                await bus.call(self._path, SHOW_MANAGER, "RegisterAdvertisement", "oa{sv}", self._show, {})
            except Unavailable:
                self._data = None
                raise
        return None

    async def notify(self, lane: int, value: bytes) -> None:
        """Send one notification on a lane, to whoever subscribed to it; OSError when nothing is open."""
        if self._bus is None:
            raise ConnectionError("Bluetooth is switched off")
        await self._bus.send(_changed(f"{self._gatt}/lanes/lane{lane}", CHARACTERISTIC, {"Value": Variant("ay", value)}))

    async def drop(self, device: str) -> None:
        """Disconnect a device; one that is not connected stays so."""
        for path in [path for path, address in self._addresses.items() if address == device]:
            if self._bus is not None:
                with contextlib.suppress(Unavailable):
                    await self._bus.call(path, DEVICE, "Disconnect")

    async def _begin(self, bus: SystemBus) -> None:
        await bus.match(f"type='signal',sender='{DBUS}',member='NameOwnerChanged',arg0='{BLUEZ}'")
        await bus.match(f"type='signal',sender='{BLUEZ}',path='/',interface='{OBJECTS}'")
        await bus.match(f"type='signal',sender='{BLUEZ}',path_namespace='{self._path}',member='PropertiesChanged'")
        self._owner = await bus.owner()
        objects = await bus.objects()
        adapter = objects.get(self._path, {})
        if ADAPTER not in adapter:
            raise no_adapter(self._adapter)
        if not adapter[ADAPTER].get("Powered"):
            raise await asyncio.to_thread(switched_off, self._adapter)
        for path, interfaces in objects.items():
            self._met(path, interfaces)
        self._shows = shows(adapter)
        if self._shows:
            await bus.call(self._path, GATT_MANAGER, "RegisterApplication", "oa{sv}", self._gatt, {})

    async def _opened(self) -> SystemBus:
        if self._bus is not None:
            return self._bus
        if self._later is not None and self._why is None:
            await asyncio.sleep(LAST_WORD_S)
        if self._why is not None:
            raise await asyncio.to_thread(self._why)
        raise Unavailable("Bluetooth is switched off", "switch it on")

    def _ending(self, why: Callable[[], Unavailable]) -> None:
        """End the block unless more is said of why; show nothing any more: BlueZ 5.66 may die of it without power."""
        self._bus = None
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(LAST_WORD_S, self._end, why)

    def _end(self, why: Callable[[], Unavailable]) -> None:
        """End the block of `open`, once."""
        if self._why is None:
            self._why = why
            self._limit.reschedule(0)

    def _heard(self, message: Message) -> Message | bool | None:
        """A call or signal. Signals addressed to us pass every match, so that anybody here may send one: only BlueZ's count."""
        if not self._owner or message.sender not in (self._owner, DBUS):
            return None
        if message.message_type is MessageType.METHOD_CALL:
            return self._called(message)
        if message.message_type is MessageType.SIGNAL:
            self._told(message)
        return None

    def _called(self, call: Message) -> Message | bool | None:
        """Answer what BlueZ asks; None leaves it to the library."""
        match call.member:
            case "GetManagedObjects":
                below = {path: what for path, what in self._offered().items() if f"{path}/".startswith(f"{call.path}/")}
                return Message.new_method_return(call, "a{oa{sa{sv}}}", [below])
            case "GetAll":
                return Message.new_method_return(
                    call, "a{sv}", [self._offered().get(call.path or "", {}).get(call.body[0], {})]
                )
            case "WriteValue" if call.path in self._lanes:
                options = unpack_variants(call.body[1])
                self._hooks.written(self._lanes[call.path], self._address(options["device"]), bytes(call.body[0]))
            case "StartNotify" | "StopNotify" | "Release":
                pass
            case _:
                return None
        return True if call.flags & MessageFlag.NO_REPLY_EXPECTED else Message.new_method_return(call)

    def _told(self, signal: Message) -> None:
        match signal.member, unpack_variants(signal.body):
            case "NameOwnerChanged", [name, old, _] if (name, old) == (BLUEZ, self._owner):
                self._end(no_service)
            case "InterfacesAdded", [path, interfaces]:
                self._met(path, interfaces)
            case "InterfacesRemoved", [path, interfaces]:
                if path == self._path and ADAPTER in interfaces:
                    self._ending(partial(no_adapter, self._adapter))
                if DEVICE in interfaces and (address := self._addresses.pop(path, None)) is not None:
                    self._hooks.gone(address)
            case "PropertiesChanged", [interface, changed, _] if interface == ADAPTER:
                if changed.get("Powered") is False:
                    self._ending(partial(switched_off, self._adapter))
            case "PropertiesChanged", [interface, changed, _] if interface == DEVICE and signal.path is not None:
                if changed.get("Connected") is False or "Address" in changed:
                    self._hooks.gone(self._address(signal.path))
                if "Address" in changed:
                    self._addresses[signal.path] = changed["Address"]

    def _met(self, path: str, interfaces: dict[str, dict[str, Any]]) -> None:
        if path.startswith(f"{self._path}/") and DEVICE in interfaces:
            self._addresses[path] = interfaces[DEVICE]["Address"]

    def _address(self, path: str) -> str:
        """Of a device: what it was last known by, which its path (/org/bluez/hci0/dev_AA_BB_..) keeps no track of."""
        return self._addresses.get(path) or path.rpartition("dev_")[2].replace("_", ":")

    def _offered(self) -> dict[str, Watched]:
        """All that BlueZ may see of us: the service, its characteristics, what is shown."""
        service = f"{self._gatt}/lanes"
        flags = Variant("as", ["write-without-response", "notify"])
        lanes: dict[str, Watched] = {
            path: {CHARACTERISTIC: {"UUID": Variant("s", uuid), "Service": Variant("o", service), "Flags": flags}}
            for path, uuid in zip(self._lanes, LANE_UUIDS, strict=True)
        }
        shown = {"Type": Variant("s", "peripheral"), "ServiceData": _service_data(self._data or b"")}
        return {
            service: {f"{BLUEZ}.GattService1": {"UUID": Variant("s", SERVICE), "Primary": Variant("b", True)}},
            **lanes,
            self._show: {SHOWN: shown},
        }


def _service_data(data: bytes) -> Variant:
    return Variant("a{sv}", {SERVICE: Variant("ay", data)})


def _changed(path: str, interface: str, properties: dict[str, Variant]) -> Message:
    return Message.new_signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, properties, []])
