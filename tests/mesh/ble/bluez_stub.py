"""A BlueZ of our own on a private D-Bus: as much of 5.66 as advertisers, GATT servers, scanners and lists of adapters meet.

It asks a client for its objects, refuses what BlueZ refuses, and follows `PropertiesChanged`; a test plays the radio.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.unpack import unpack_variants

DAEMON = shutil.which("dbus-daemon")
NO_DAEMON = "no dbus-daemon on this machine"
PROPERTIES, OBJECTS = "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.ObjectManager"
SLOTS = 2
CONFIG = """<busconfig><listen>unix:dir={folder}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="signal"/><allow receive_type="method_return"/>
<allow receive_type="error"/></policy>{more}</busconfig>"""
DENIED = '<policy context="mandatory"><deny send_destination="org.bluez"/></policy>'


@contextmanager
def private_bus(folder: Path, denied: bool = False) -> Iterator[str]:
    """A D-Bus daemon; its address. `denied`: nobody may talk to BlueZ."""
    config = folder / "bus.conf"
    config.write_text(CONFIG.format(folder=folder, more=DENIED if denied else ""))
    command = [str(DAEMON), "--config-file", str(config), "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        try:
            yield daemon.stdout.readline().strip()
        finally:
            daemon.kill()


@dataclass
class Radio:
    """One adapter, what clients offer on it, and the devices it knows: address to connected."""

    address: str
    powered: bool = True
    managers: bool = True
    roles: tuple[str, ...] = ("central", "peripheral")
    shown: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    lanes: dict[str, tuple[str, str]] = field(default_factory=dict)  # characteristic UUID -> (client, path)
    flags: dict[str, list[str]] = field(default_factory=dict)
    service: str = ""
    devices: dict[str, bool] = field(default_factory=dict)
    notified: list[tuple[str, bytes]] = field(default_factory=list)
    registrations: int = 0

    def on_air(self) -> list[int]:
        """The bytes of each advertisement, with the flags of an adapter that is discoverable."""
        return [size(properties) for properties in self.shown.values()]


def size(properties: dict[str, Any]) -> int:
    """Of an advertisement with the flags, under 128-bit UUIDs."""
    data = sum(2 + 16 + len(value) for value in properties.get("ServiceData", {}).values())
    name = 2 + len(properties["LocalName"]) if "LocalName" in properties else 0
    return 3 + data + (2 + 16 * len(properties["ServiceUUIDs"]) if properties.get("ServiceUUIDs") else 0) + name


class Refused(Exception):
    """An error of BlueZ."""


class Bluez:
    """The service."""

    def __init__(self, bus_address: str, **radios: Radio) -> None:
        self._address, self.radios = bus_address, radios
        self._bus: Any = None
        self._changed = asyncio.Condition()
        self._work: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._bus = await MessageBus(bus_address=self._address).connect()
        self._bus.add_message_handler(self._heard)
        await self._ask("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "AddMatch", "s", "type='signal'")
        await self._bus.request_name("org.bluez")

    async def stop(self) -> None:
        """As on SIGTERM: every adapter goes before the service does."""
        for name in self.radios:
            await self._off_and_gone(name)
        self._bus.disconnect()
        await self._bus.wait_for_disconnect()
        for radio in self.radios.values():
            radio.shown.clear()
            radio.lanes.clear()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(true)

    async def power(self, name: str, powered: bool) -> None:
        self.radios[name].powered = powered
        await self._tell(f"/org/bluez/{name}", "org.bluez.Adapter1", {"Powered": Variant("b", powered)})

    async def unplug(self, name: str) -> None:
        """An adapter is pulled out: it is off before it is gone."""
        await self._off_and_gone(name)
        del self.radios[name]

    async def _off_and_gone(self, name: str) -> None:
        await self._tell(f"/org/bluez/{name}", "org.bluez.Adapter1", {"Powered": Variant("b", False)})
        body = [f"/org/bluez/{name}", ["org.bluez.Adapter1", "org.bluez.GattManager1", "org.bluez.LEAdvertisingManager1"]]
        await self._bus.send(Message.new_signal("/", OBJECTS, "InterfacesRemoved", "oas", body))

    async def plug(self, name: str, radio: Radio) -> None:
        self.radios[name] = radio
        await self._added(f"/org/bluez/{name}")

    async def connect(self, name: str, device: str) -> None:
        """A device connects to an adapter."""
        self.radios[name].devices[device] = True
        await self._added(device_path(name, device))

    async def hear(self, name: str, device: str, data: dict[str, bytes], rssi: int) -> None:
        """An adapter that scans hears the service data of a device."""
        about = {
            "Address": Variant("s", device),
            "Alias": Variant("s", device.replace(":", "-")),
            "Adapter": Variant("o", f"/org/bluez/{name}"),
            "ServiceData": Variant("a{sv}", {uuid: Variant("ay", value) for uuid, value in data.items()}),
            "RSSI": Variant("n", rssi),
        }
        body = [device_path(name, device), {"org.bluez.Device1": about}]
        await self._bus.send(Message.new_signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", body))

    async def forget(self, name: str, device: str) -> None:
        """A device that is out of reach is forgotten."""
        del self.radios[name].devices[device]
        body = [device_path(name, device), ["org.bluez.Device1"]]
        await self._bus.send(Message.new_signal("/", OBJECTS, "InterfacesRemoved", "oas", body))

    async def rename(self, name: str, device: str, address: str) -> None:
        """A device that is connected turns out to be one that was known by another address."""
        changed = {"Address": Variant("s", address)}
        await self._tell(device_path(name, device), "org.bluez.Device1", changed)

    async def disconnect(self, name: str, device: str) -> None:
        self.radios[name].devices[device] = False
        await self._tell(device_path(name, device), "org.bluez.Device1", {"Connected": Variant("b", False)})

    async def write(self, name: str, uuid: str, device: str, value: bytes) -> None:
        """A device writes to a characteristic of a client."""
        client, path = self.radios[name].lanes[uuid]
        options = {"device": Variant("o", device_path(name, device)), "link": Variant("s", "LE"), "mtu": Variant("q", 517)}
        await self._ask(client, path, "org.bluez.GattCharacteristic1", "WriteValue", "aya{sv}", value, options)

    def objects(self) -> dict[str, Any]:
        found: dict[str, Any] = {"/org/bluez": {"org.bluez.AgentManager1": {}}}
        for name, radio in self.radios.items():
            adapter = {
                "Address": Variant("s", radio.address),
                "AddressType": Variant("s", "public"),
                "Powered": Variant("b", radio.powered),
                "Roles": Variant("as", list(radio.roles)),
            }
            managers = {"org.bluez.GattManager1": {}, "org.bluez.LEAdvertisingManager1": {}} if radio.managers else {}
            found[f"/org/bluez/{name}"] = {"org.bluez.Adapter1": adapter, **managers}
            for device, connected in radio.devices.items():
                about = {"Address": Variant("s", device), "Connected": Variant("b", connected)}
                found[device_path(name, device)] = {"org.bluez.Device1": about}
        return found

    def _heard(self, message: Message) -> Message | bool | None:
        if message.message_type is MessageType.SIGNAL and message.member == "PropertiesChanged":
            self._spawn(self._followed(message))
        if message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged" and not message.body[2]:
            self._spawn(self._left(message.body[0]))
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if message.member == "GetManagedObjects" and message.path == "/":
            self._spawn(self._note())
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [self.objects()])
        if message.member in ("SetDiscoveryFilter", "StartDiscovery", "StopDiscovery"):
            return Message.new_method_return(message)
        if message.member in ("RegisterAdvertisement", "RegisterApplication", "Disconnect"):
            self._spawn(self._answer(message))
            return True
        return None

    async def _answer(self, call: Message) -> None:
        name = str(call.path).split("/")[3]
        try:
            match call.member:
                case "RegisterAdvertisement":
                    await self._advertise(self.radios[name], str(call.sender), call.body[0])
                case "RegisterApplication":
                    await self._serve(self.radios[name], str(call.sender), call.body[0])
                case _:
                    device = str(call.path).rpartition("dev_")[2].replace("_", ":")
                    if not self.radios[name].devices.get(device):
                        raise Refused("NotConnected", "Not Connected")
                    await self.disconnect(name, device)
        except Refused as refused:
            error, text = refused.args
            return await self._bus.send(Message.new_error(call, f"org.bluez.Error.{error}", text))
        await self._bus.send(Message.new_method_return(call))
        return await self._note()

    async def _advertise(self, radio: Radio, client: str, path: str) -> None:
        if len(radio.shown) >= SLOTS:
            raise Refused("NotPermitted", "Maximum advertisements reached")
        asked = await self._ask(client, path, OBJECTS, "GetManagedObjects")
        properties = unpack_variants(asked[path]["org.bluez.LEAdvertisement1"])
        if not radio.powered or size(properties) > 31 or properties.get("Type") != "peripheral":
            raise Refused("Failed", "Failed to register advertisement")
        radio.registrations += 1
        radio.shown[client, path] = properties

    async def _serve(self, radio: Radio, client: str, path: str) -> None:
        objects = unpack_variants(await self._ask(client, path, OBJECTS, "GetManagedObjects"))
        if not all(below.startswith(f"{path}/") for below in objects):
            raise Refused("Failed", "No valid service object found")
        services = {
            below: what["org.bluez.GattService1"]
            for below, what in objects.items()
            if len(what) and "org.bluez.GattService1" in what
        }
        ((service, about),) = services.items()
        assert about["Primary"] is True
        radio.service = about["UUID"]
        for below, what in objects.items():
            if (lane := what.get("org.bluez.GattCharacteristic1")) is not None and lane["Service"] == service:
                radio.lanes[lane["UUID"]] = client, below
                radio.flags[lane["UUID"]] = lane["Flags"]

    async def _followed(self, signal: Message) -> None:
        client, path = str(signal.sender), str(signal.path)
        changed = unpack_variants(signal.body[1])
        for radio in self.radios.values():
            if (client, path) in radio.shown:
                radio.shown[client, path].update(changed)
            for uuid, where in radio.lanes.items():
                if where == (client, path) and "Value" in changed:
                    radio.notified.append((uuid, bytes(changed["Value"])))
        await self._note()

    async def _left(self, client: str) -> None:
        for radio in self.radios.values():
            radio.shown = {where: what for where, what in radio.shown.items() if where[0] != client}
            radio.lanes = {uuid: where for uuid, where in radio.lanes.items() if where[0] != client}
        await self._note()

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _added(self, path: str) -> None:
        await self._bus.send(Message.new_signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, self.objects()[path]]))

    async def _tell(self, path: str, interface: str, properties: dict[str, Variant]) -> None:
        await self._bus.send(Message.new_signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, properties, []]))

    async def _ask(self, to: str, path: str, interface: str, member: str, signature: str = "", *body: Any) -> Any:
        reply = await self._bus.call(Message(to, path, interface, member, signature=signature, body=list(body)))
        assert reply.message_type is MessageType.METHOD_RETURN, reply.body
        return reply.body[0] if reply.body else None

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


def device_path(adapter: str, device: str) -> str:
    return f"/org/bluez/{adapter}/dev_{device.replace(':', '_')}"
