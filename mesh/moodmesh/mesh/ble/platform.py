"""The radio of this machine: which adapter, and what its platform lets a program do."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from moodmesh.mesh.ble.radio import RADIOS, UNSEEN, Peripheral, no_radio

if TYPE_CHECKING:  # bleak is loaded where there is a radio
    from moodmesh.mesh.ble.central import Central

SCANS_ONLY = f"programs cannot advertise on this platform; this device: {UNSEEN}"


@contextlib.asynccontextmanager
async def open_radio(adapter: str) -> AsyncIterator[tuple[Central, Peripheral | None]]:
    """The central and, on Linux, the peripheral of an adapter; empty: of those that are on that which can do most.
    `Unavailable`."""
    if sys.platform == "linux" and not (RADIOS.is_dir() and any(RADIOS.iterdir())):
        raise no_radio()
    from moodmesh.mesh.ble.central import Central

    if sys.platform != "linux":
        yield Central(""), None
        return
    from moodmesh.mesh.ble.adapters import adapters
    from moodmesh.mesh.ble.bluez import BluezPeripheral
    from moodmesh.mesh.ble.systembus import no_adapter, switched_off

    found = [one for one in await adapters() if adapter in ("", one.name)]
    if not found:
        raise no_adapter(adapter) if adapter else no_radio()
    chosen = max(found, key=lambda one: (one.powered, one.central, one.peripheral))
    if not chosen.powered:
        raise await asyncio.to_thread(switched_off, chosen.name)
    yield Central(chosen.name), BluezPeripheral(chosen.name)
