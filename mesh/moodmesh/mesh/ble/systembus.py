"""BlueZ over the D-Bus system bus: what its objects say, and calls whose refusals tell a person what to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from dbus_fast import BusType, Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError
from dbus_fast.unpack import unpack_variants

from moodmesh.mesh.seams import Unavailable

from .radio import RADIOS, UNSEEN, Unseen, no_radio

BLUEZ, DBUS = "org.bluez", "org.freedesktop.DBus"
ADAPTER, DEVICE = f"{BLUEZ}.Adapter1", f"{BLUEZ}.Device1"
GATT_MANAGER, SHOW_MANAGER = f"{BLUEZ}.GattManager1", f"{BLUEZ}.LEAdvertisingManager1"
OBJECTS, PROPERTIES = f"{DBUS}.ObjectManager", f"{DBUS}.Properties"
ANSWER_S = 10.0
RESTART = "restart it: sudo systemctl restart bluetooth"

Objects = dict[str, dict[str, dict[str, Any]]]
"""Properties by path and interface."""
Heard = Callable[[Message], Message | bool | None]


class SystemBus:
    """One connection to the system bus."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus

    async def call(self, path: str, interface: str, member: str, signature: str = "", *body: Any, to: str = BLUEZ) -> Any:
        """The first value that a method returns (None for none); `Unavailable`. A service that is not running stays so."""
        flags = MessageFlag.NO_AUTOSTART
        call = Message(to, path, interface, member, flags=flags, signature=signature, body=list(body))
        try:
            async with asyncio.timeout(ANSWER_S):
                reply = await self._bus.call(call)
        except TimeoutError:
            raise Unavailable("the Bluetooth service does not answer", RESTART) from None
        except (OSError, EOFError):
            raise no_bus() from None
        if reply.message_type is MessageType.ERROR:
            raise refusal(reply.error_name or "", str(reply.body[0]) if reply.body else "")
        return unpack_variants(reply.body[0]) if reply.body else None

    async def objects(self) -> Objects:
        """All that BlueZ has; `Unavailable`."""
        return dict(await self.call("/", OBJECTS, "GetManagedObjects"))

    async def owner(self) -> str:
        """The connection of BlueZ; `Unavailable`."""
        return str(await self.call("/org/freedesktop/DBus", DBUS, "GetNameOwner", "s", BLUEZ, to=DBUS))

    async def match(self, rule: str) -> None:
        """Hear the signals of a rule, too."""
        await self.call("/org/freedesktop/DBus", DBUS, "AddMatch", "s", rule, to=DBUS)

    async def send(self, message: Message) -> None:
        """Send what has no answer; OSError."""
        try:
            await self._bus.send(message)
        except EOFError as error:
            raise ConnectionError("the D-Bus system bus is gone") from error


@contextlib.asynccontextmanager
async def connected(heard: Heard, lost: Callable[[], None] = lambda: None) -> AsyncIterator[SystemBus]:
    """A connection for as long as the block lasts: `heard` gets every message, and may answer it; `Unavailable`."""
    try:
        bus: Any = await MessageBus(bus_type=BusType.SYSTEM).connect()
    except (OSError, EOFError, DBusFastError):
        raise no_bus() from None
    open_ = True
    end = asyncio.get_running_loop().create_task(bus.wait_for_disconnect())

    def ended(_: asyncio.Task[None]) -> None:
        if open_:
            lost()

    end.add_done_callback(ended)
    bus.add_message_handler(heard)
    try:
        yield SystemBus(bus)
    finally:
        open_ = False
        bus.disconnect()
        await asyncio.gather(end, return_exceptions=True)


def shows(adapter: dict[str, dict[str, Any]]) -> bool:
    """Whether an adapter, by its interfaces, can be seen and connected to."""
    return "peripheral" in adapter[ADAPTER].get("Roles", []) and {GATT_MANAGER, SHOW_MANAGER} <= adapter.keys()


def no_bus() -> Unavailable:
    """There is no system bus."""
    return _service(
        Unavailable("Bluetooth is reached over the D-Bus system bus, which is not there", "start it: sudo systemctl start dbus")
    )


def no_service() -> Unavailable:
    """The daemon of BlueZ does not run."""
    start = "install the package bluez, then: sudo systemctl enable --now bluetooth"
    return _service(Unavailable("the Bluetooth service is not running", start))


def no_adapter(name: str) -> Unavailable:
    """There is no such adapter."""
    return Unavailable(f"the Bluetooth adapter {name} is not there", "plug it in, or name one of `bluetoothctl list`")


def switched_off(name: str) -> Unavailable:
    """The adapter has no power: by a key or switch, in airplane mode, or because somebody said so."""
    blocks = {kind: any(_says_yes(file) for file in RADIOS.glob(f"{name}/rfkill*/{kind}")) for kind in ("hard", "soft")}
    if blocks["hard"]:
        return Unavailable("Bluetooth is switched off by a switch or key of this device", "use that switch or key")
    if blocks["soft"]:
        return Unavailable("Bluetooth is switched off, as in airplane mode", "rfkill unblock bluetooth")
    return Unavailable(f"the Bluetooth adapter {name} is switched off", "bluetoothctl power on")


def refusal(name: str, text: str) -> Unavailable:
    """What an error of D-Bus or BlueZ means to a person (names: src/error.c of BlueZ 5.66, the D-Bus specification)."""
    match name.removeprefix(f"{DBUS}.Error.").removeprefix(f"{BLUEZ}.Error."):
        case "AccessDenied" | "NotAuthorized":
            join = "join the group that may: sudo usermod -aG bluetooth $USER, then log in again"
            return Unavailable("this user may not use Bluetooth", join)
        case "ServiceUnknown" | "NameHasNoOwner" | "Disconnected":
            return no_service()
        case "NoReply" | "TimedOut" | "Timeout":
            return Unavailable("the Bluetooth service does not answer", RESTART)
        case "NotPermitted":  # RegisterAdvertisement: "Maximum advertisements reached"
            return Unseen(f"{UNSEEN}: other programs use all that the Bluetooth adapter can show", "end one of them")
        case "Busy" | "InProgress":
            return Unavailable("the Bluetooth service is busy with something else", "try again in a moment")
        case "NotReady":
            return Unavailable("the Bluetooth adapter is not ready", "bluetoothctl power on")
        case _:
            return Unavailable(f"the Bluetooth service says: {text or name}", RESTART)


def _service(otherwise: Unavailable) -> Unavailable:
    """Without any adapter it is no use to install or start anything."""
    if RADIOS.is_dir() and any(RADIOS.iterdir()):
        return otherwise
    return no_radio()


def _says_yes(file: Path) -> bool:
    with contextlib.suppress(OSError):
        return file.read_text().strip() == "1"
    return False
