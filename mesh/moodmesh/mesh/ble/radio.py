"""The lowest seam of Bluetooth: what an adapter hears, and the side of it that is seen and connected to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from moodmesh.mesh.seams import Unavailable

from .lanes import LANES
from .payload import OWN

LANE_UUIDS = tuple(f"{OWN[:-2]}{int(OWN[-2:], 16) + 1 + number:02x}" for number in range(LANES))
"""The characteristics of our service: each is written without response, and notifies."""
RADIOS = Path("/sys/class/bluetooth")
"""The adapters that Linux has."""
UNSEEN = "looks and connects, and is seen by others on the network alone"


class Unseen(Unavailable):
    """This device is not shown now; it looks and connects all the same. The remedy is empty where there is none."""


def no_radio() -> Unavailable:
    """There is none at all."""
    return Unavailable("this machine has no Bluetooth adapter that Linux knows", "plug one in, or use the network")


@dataclass(frozen=True)
class Heard:
    """The service data of one advertisement; `rssi` in dBm. The address is a hint that its device changes at will."""

    address: str
    data: bytes
    rssi: float


@dataclass(frozen=True)
class Hooks:
    """What a peripheral calls: a device wrote to a lane; a device is no longer connected."""

    written: Callable[[int, str, bytes], None]
    gone: Callable[[str], None]


class Peripheral(Protocol):
    """The side of one adapter that is seen and connected to. Errors of the radio are `OSError`; `Unavailable` from `open`."""

    def open(self, hooks: Hooks) -> AbstractAsyncContextManager[None]:
        """Offer our service, one characteristic a lane, until the block ends; `Unavailable` out of it when the radio goes."""

    async def advertise(self, data: bytes) -> None:
        """Show this service data from now on, in place of what was shown; connectable. `Unavailable`, `Unseen`."""

    async def notify(self, lane: int, value: bytes) -> None:
        """Send one notification on a lane, to whoever subscribed to it."""

    async def drop(self, device: str) -> None:
        """Disconnect a device."""
