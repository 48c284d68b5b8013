"""The radio of this machine: which adapter, and what its platform lets a program do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from moodmesh.mesh.ble.radio import Peripheral
from moodmesh.mesh.seams import Unavailable

if TYPE_CHECKING:  # bleak is loaded where there is a radio
    from moodmesh.mesh.ble.central import Central

SCANS_ONLY = (
    "programs cannot advertise on this platform: this device sees others by Bluetooth, and is seen on the network alone"
)
NO_ADAPTER = "plug in or switch on a Bluetooth adapter, or set mesh.bluetooth=off"
_KERNEL = Path("/sys/class/bluetooth")


def advertises() -> bool:
    """Whether a program may advertise service data on this platform."""
    return sys.platform == "linux"


async def open_radio(adapter: str) -> tuple[Central, Peripheral | None]:
    """The central and, where there may be one, the peripheral of an adapter (empty: the first that is on); `Unavailable`."""
    if not advertises():
        from moodmesh.mesh.ble.central import Central

        return Central(""), None
    if not _KERNEL.is_dir() or not any(_KERNEL.iterdir()):
        raise Unavailable("this machine has no Bluetooth adapter", NO_ADAPTER)
    from moodmesh.mesh.ble.adapters import adapters
    from moodmesh.mesh.ble.bluez import BluezPeripheral

    from moodmesh.mesh.ble.central import Central

    found = [one for one in await adapters() if one.powered and adapter in ("", one.name)]
    if not found:
        raise Unavailable(f"no Bluetooth adapter{' ' + adapter if adapter else ''} is on", NO_ADAPTER)
    return Central(found[0].name), BluezPeripheral(found[0].name)
