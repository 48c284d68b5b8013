"""Which Bluetooth adapters this machine has, on Linux."""

from __future__ import annotations

import asyncio
import configparser
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .systembus import SystemBus

SETTINGS = Path("/etc/bluetooth/main.conf")


@dataclass(frozen=True)
class Adapter:
    """One adapter: `name` as `BluezPeripheral` and `Central` take it.

    `kind` of its address, which everybody near can see: the maker's (public) or one of its own (static) as long as it lives, or
    one that BlueZ is set to change every 15 minutes (rotating).
    `central`: it can look and connect; `peripheral`: it can be seen and connected to.
    """

    name: str
    address: str
    powered: bool
    kind: Literal["public", "static", "rotating"]
    central: bool
    peripheral: bool


async def adapters() -> tuple[Adapter, ...]:
    """All of them by name; `Unavailable` when there is nobody to ask."""
    from .systembus import connected

    async with connected(lambda message: None) as bus:
        return await _listed(bus)


async def _listed(bus: SystemBus) -> tuple[Adapter, ...]:
    from .systembus import ADAPTER, shows

    objects, rotating = await bus.objects(), await asyncio.to_thread(_rotating)
    found = []
    for path, interfaces in sorted(objects.items()):
        if (told := interfaces.get(ADAPTER)) is not None:
            kind: Literal["public", "static"] = "static" if told.get("AddressType") == "random" else "public"
            name, address, powered = path.rpartition("/")[2], told.get("Address", ""), bool(told.get("Powered"))
            central = "central" in told.get("Roles", [])
            found.append(Adapter(name, address, powered, "rotating" if rotating else kind, central, shows(interfaces)))
    return tuple(found)


def _rotating() -> bool:
    """Whether BlueZ is set to private addresses: it does not say so over D-Bus (`AddressType` is of the lasting one)."""
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    with contextlib.suppress(OSError, configparser.Error):
        settings.read_string(SETTINGS.read_text("utf-8", errors="replace"))
    return settings.get("General", "Privacy", fallback="off") not in ("off", "")
