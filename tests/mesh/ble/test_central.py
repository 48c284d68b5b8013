"""The side that looks: what it remembers is bounded, and its errors are the system's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.exc import BleakError

from moodmesh.mesh.ble import central as module
from moodmesh.mesh.ble.central import KNOWN, Central
from moodmesh.mesh.ble.lane import LaneClosed
from moodmesh.mesh.ble.payload import SERVICE
from moodmesh.mesh.ble.presence import STALE_S
from moodmesh.mesh.ble.radio import Heard

SHOWN = b"\x40" + bytes(9)


class Crowd(BaseBleakScanner):
    """Hears a crowd: strangers with other services, and far more devices of ours than there are."""

    count = 4 * KNOWN

    def __init__(self, detection_callback: Any, service_uuids: list[str] | None = None, *_: Any, **__: Any) -> None:
        super().__init__(detection_callback, service_uuids)

    async def start(self) -> None:
        for number in range(self.count):
            self.hear(f"stranger {number}", {"0000fd5a-0000-1000-8000-00805f9b34fb": SHOWN})
            self.hear(f"ours {number}", {SERVICE: SHOWN})
            self.hear("friend", {SERVICE: SHOWN})

    async def stop(self) -> None:
        pass

    def hear(self, address: str, data: dict[str, bytes]) -> None:
        shown = AdvertisementData(None, {}, data, [], None, -60, ())
        self.call_detection_callbacks(BLEDevice(address, None, None), shown)


class Deaf(Crowd):
    """An adapter that is off."""

    async def start(self) -> None:
        raise BleakError("no powered adapter")


async def remembered() -> int:
    heard: list[Heard] = []
    central = Central("hci0", Crowd)
    async with central.scanning(heard.append):
        assert {one.address.split()[0] for one in heard} == {"ours", "friend"}
        assert heard[0] == Heard("ours 0", SHOWN, -60.0)
        assert "friend" in central._devices, "whoever is heard again and again gives way to nobody"
        return len(central._devices)


async def test_a_crowd_takes_no_more_room() -> None:
    assert await remembered() == KNOWN


async def test_mutation_without_the_bound_each_address_takes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN", 10**9)
    assert await remembered() == Crowd.count + 1


async def test_an_adapter_that_is_off_says_so() -> None:
    with pytest.raises(OSError, match="no powered adapter"):
        async with Central("hci0", Deaf).scanning(lambda heard: None):
            pass


async def test_asking_for_many_devices_that_are_not_there_leaves_nothing_behind() -> None:
    central = Central("hci0", Crowd)
    for number in range(100):
        with pytest.raises(LaneClosed, match="not in range"):
            await central.stream(f"nobody {number}", 1)
    await asyncio.sleep(0)
    assert not central._connecting


async def test_who_was_heard_too_long_ago_is_not_tried() -> None:
    now = 0.0
    central = Central("hci0", Crowd, now=lambda: now)
    async with central.scanning(lambda heard: None):
        now = STALE_S + 1
        with pytest.raises(LaneClosed, match="not in range"):
            await central.stream("friend", 1)
