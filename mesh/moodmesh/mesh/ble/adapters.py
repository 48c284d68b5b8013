"""Which Bluetooth adapters this machine has, and word of it when that changes."""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from moodmesh.mesh.seams import Unavailable

if TYPE_CHECKING:
    from .systembus import SystemBus

LOOK_S = 30.0
"""So often the list is made anew where nobody says that it changed."""
ADAPTER_DEPTH = 3  # /org/bluez/hci0; a device is below it
SETTINGS = Path("/etc/bluetooth/main.conf")


@dataclass(frozen=True)
class Adapter:
    """One adapter: `name` as `BluezPeripheral` and `Central` take it, "" for the only one that a system shows.

    `kind` of its address, which everybody near can see: the maker's (public) or one of its own (static) as long as it lives, or
    one that BlueZ is set to change every 15 minutes (rotating); unknown elsewhere than on Linux, where the system decides.
    `central`: it can look and connect; `peripheral`: it can be seen and connected to.
    """

    name: str
    address: str
    powered: bool
    kind: Literal["public", "static", "rotating", "unknown"]
    central: bool
    peripheral: bool


async def adapters() -> tuple[Adapter, ...]:
    """All of them by name; `Unavailable` when there is nobody to ask."""
    if sys.platform != "linux":
        return (Adapter("", "", True, "unknown", True, False),)  # bleak says whether it works when it is used
    from .systembus import connected

    async with connected(lambda message: None) as bus:
        return await _listed(bus)


async def changed(known: tuple[Adapter, ...]) -> tuple[Adapter, ...]:
    """The list, once it is no longer `known`; it is empty as long as there is nobody to ask."""
    if sys.platform != "linux":
        await asyncio.get_running_loop().create_future()
    from .systembus import ADAPTER, BLUEZ, DBUS, OBJECTS, connected

    stirred = asyncio.Event()
    stirred.set()

    def heard(message: Any) -> None:
        of_adapters = message.member in ("NameOwnerChanged", "PropertiesChanged")
        if of_adapters or ((message.member or "").startswith("Interfaces") and message.body[0].count("/") == ADAPTER_DEPTH):
            stirred.set()

    while True:
        with contextlib.suppress(Unavailable):
            async with connected(heard, stirred.set) as bus:
                await bus.match(f"type='signal',sender='{DBUS}',member='NameOwnerChanged',arg0='{BLUEZ}'")
                await bus.match(f"type='signal',sender='{BLUEZ}',interface='{OBJECTS}'")
                await bus.match(f"type='signal',sender='{BLUEZ}',member='PropertiesChanged',arg0='{ADAPTER}'")
                while True:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_S):
                            await stirred.wait()
                    stirred.clear()
                    try:
                        now = await _listed(bus)
                    except Unavailable:
                        now = ()
                    if now != known:
                        return now
        if known:
            return ()
        await asyncio.sleep(LOOK_S)


async def _listed(bus: SystemBus) -> tuple[Adapter, ...]:
    from .systembus import ADAPTER, GATT_MANAGER, SHOW_MANAGER

    objects, rotating = await bus.objects(), await asyncio.to_thread(_rotating)
    found = []
    for path, interfaces in sorted(objects.items()):
        if (told := interfaces.get(ADAPTER)) is not None:
            kind: Literal["public", "static"] = "static" if told.get("AddressType") == "random" else "public"
            roles = told.get("Roles", [])
            seen = "peripheral" in roles and {GATT_MANAGER, SHOW_MANAGER} <= interfaces.keys()
            address, powered = told.get("Address", ""), bool(told.get("Powered"))
            name = path.rpartition("/")[2]
            found.append(Adapter(name, address, powered, "rotating" if rotating else kind, "central" in roles, seen))
    return tuple(found)


def _rotating() -> bool:
    """Whether BlueZ is set to private addresses: it does not say so over D-Bus (`AddressType` is of the lasting one)."""
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    with contextlib.suppress(OSError, configparser.Error):
        settings.read(SETTINGS)
    return settings.get("General", "Privacy", fallback="off") not in ("off", "")
