"""Linking a device over a rotation by all bytes of its advertisements: as they leave a radio, in both of their forms.

The address is the adapter's, and none of ours to rotate (PRIVACY): whoever cannot use it has these bytes.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from bumble.controller import Controller

from mesh.support import new_identity, pair_with
from moodmesh.mesh.ble.central import Central
from moodmesh.mesh.ble.finder import BleFinder
from moodmesh.mesh.ble.payload import ID_BYTES, LONG, SERVICE, SHORT
from moodmesh.mesh.ble.radio import Peripheral
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.memory import ManualClock
from moodmesh.mesh.pairs import Pair
from moodmesh.mesh.rid import Rids, tags
from moodmesh.mesh.seams import Beacon
from moodmesh.mesh.tagslots import spare_slots
from moodmesh.nodes.bench.ble import bumble
from moodmesh.nodes.bench.ble.air import Air
from moodmesh.nodes.bench.ble.bumble import Radio, radio

SHORT_UUID = "0000fdf0-0000-1000-8000-00805f9b34fb"
"""Stands for one that the SIG assigns."""
CONSTANT = {
    SHORT: bytes((2, 1, 6, 17 + SHORT, 0x21)) + bytes.fromhex(SERVICE.replace("-", ""))[::-1],
    LONG: bytes((2, 1, 6, 3 + LONG, 0x16, 0xF0, 0xFD)),
}
"""What is the same on every device: its flags, and the head and UUID of its service data."""
PATIENT = 5.5
"""Standard deviations that the largest of some 300 differences comes to by chance once in 10^5 runs."""


@pytest.fixture(params=[SHORT, LONG])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of service data: ours, or those of a device with an assigned UUID."""
    size: int = request.param
    if size == LONG:
        monkeypatch.setattr(BleFinder, "id_bytes", ID_BYTES[LONG])
        monkeypatch.setattr(bumble, "SERVICE", SHORT_UUID)
    return size


@dataclass
class Device:
    """A device with so many pairs, of which one is near; its radio, and what that has on the air."""

    controller: Controller
    finder: BleFinder
    rids: Rids
    pairs: list[Pair]
    turn: int = 0

    async def epoch(self, rotate: Callable[[Rids], None] = Rids.rotate) -> bytes:
        """All bytes on the air after a rotation."""
        before, _ = self.on_air
        rotate(self.rids)
        self.turn += 1
        rid = self.rids.current[: self.finder.id_bytes]
        self.finder.show(Beacon(rid, 4000, tags(self.pairs, rid), spare=spare_slots(), turn=self.turn))
        async with asyncio.timeout(5):
            while self.on_air[0] == before:
                await asyncio.sleep(0.001)
        return b"".join(self.on_air)

    @property
    def on_air(self) -> tuple[bytes, bytes]:
        """The advertisement, and what a scanner is told that asks for more."""
        advertiser = self.controller.le_legacy_advertiser
        return bytes(advertiser.advertising_data), bytes(advertiser.scan_response_data)


@asynccontextmanager
async def devices() -> AsyncIterator[list[Device]]:
    """Two of them: one has a pair, the other three."""
    air, found, runs = Air(plain=True), list[Device](), list[asyncio.Task[None]]()
    async with radio(air, "F5:00:00:00:00:01") as one, radio(air, "F5:00:00:00:00:02") as other:
        for plugged, count in ((one, 1), (other, 3)):

            @asynccontextmanager
            async def opened(plugged: Radio = plugged) -> AsyncIterator[tuple[Central, Peripheral]]:
                yield Central("hci0", plugged.scanner, plugged.client), plugged.peripheral

            finder = BleFinder(opened, lambda *_: False, SystemClock(), plugged.address)
            pairs = [pair_with(new_identity(), os.urandom(32)) for _ in range(count)]
            (controller,) = [c for c in air._link.controllers if c.random_address == plugged.device.random_address]
            found.append(Device(controller, finder, Rids(ManualClock()), pairs))
            runs.append(asyncio.create_task(finder.run(lambda sighting: None)))
        try:
            yield found
        finally:
            for run in runs:
                run.cancel()
            await asyncio.gather(*runs, return_exceptions=True)


async def watched(epochs: int, rotate: Callable[[Rids], None] = Rids.rotate) -> list[list[bytes]]:
    """What each of two devices has on the air, epoch by epoch."""
    async with devices() as both:
        return [[await one.epoch(rotate) for _ in range(epochs + 1)][1:] for one in both]  # the first may be half set up


def bits(data: bytes) -> list[int]:
    return [byte >> place & 1 for byte in data for place in range(8)]


def advantage(shown: list[list[bytes]]) -> float:
    """How far beyond chance, in standard deviations, the best of many guessers tells whether two advertisements in a row are
    one device's. Each looks at one thing in which they may agree: a bit, a byte, the counter going on, how much agrees."""
    one, other = shown
    same = [*pairwise(one), *pairwise(other)]
    different = [*zip(one, other[1:], strict=False), *zip(other, one[1:], strict=False)]

    def looks(first: bytes, second: bytes) -> list[float]:
        agree = [float(a == b) for a, b in zip(bits(first), bits(second), strict=True)]
        equal = [float(a == b) for a, b in zip(first, second, strict=True)]
        flags = len(first) - SHORT if len(first) == len(CONSTANT[SHORT]) + SHORT else len(first) - LONG
        steps = [float((second[flags] - first[flags]) % 16 == step) for step in range(4)]
        return [*agree, *equal, *steps, sum(agree) / len(agree), float(len(commons(first, second)))]

    (ours, theirs) = ([looks(*two) for two in pairs] for pairs in (same, different))
    return max(apart(a, b) for a, b in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True))


def apart(ours: tuple[float, ...], theirs: tuple[float, ...]) -> float:
    """Two means, in standard deviations of their difference."""
    pooled = [*ours, *theirs]
    mean = sum(pooled) / len(pooled)
    spread = math.sqrt(sum((x - mean) ** 2 for x in pooled) / len(pooled) * (1 / len(ours) + 1 / len(theirs)))
    return abs(sum(ours) / len(ours) - sum(theirs) / len(theirs)) / spread if spread else 0.0


def commons(first: bytes, second: bytes, size: int = 2) -> set[bytes]:
    """Strings of two bytes in both, wherever they stand."""
    cut = [{data[i : i + size] for i in range(len(data) - size + 1)} for data in (first, second)]
    return cut[0] & cut[1]


async def test_an_advertisement_is_the_constants_of_all_devices_and_the_service_data(form: int) -> None:
    for shown in await watched(3):
        for data in shown:
            assert data.startswith(CONSTANT[form])
            assert len(data) == len(CONSTANT[form]) + form <= 31
            assert b"Moodmesh" not in data, "neither a name nor an answer to who asks for more"


async def test_no_byte_outlives_a_rotation_or_tells_the_device(form: int) -> None:
    for shown in await watched(40):
        for place in range(len(CONSTANT[form]), len(shown[0])):
            told = {data[place] & (0x0F if place == len(CONSTANT[form]) else 0xFF) for data in shown}
            assert len(told) > 5, "version and flags say the same on every device, and stand beside the counter"


@pytest.mark.parametrize("epochs", [150, pytest.param(3000, marks=pytest.mark.slow)])
async def test_nobody_tells_one_device_after_a_rotation_from_another(form: int, epochs: int) -> None:
    assert advantage(await watched(epochs)) < PATIENT


async def test_mutation_a_rid_that_stays_is_told(form: int) -> None:
    """The spare slots and the counter are drawn anew all the same."""
    kept: dict[Rids, bytes] = {}

    def stay(rids: Rids) -> None:
        rids.rotate()
        rids.current = kept.setdefault(rids, rids.current)

    assert advantage(await watched(60, stay)) > 2 * PATIENT


async def test_mutation_a_counter_that_counts_on_is_told(form: int, monkeypatch: pytest.MonkeyPatch) -> None:
    show = BleFinder.show

    def careless(self: BleFinder, beacon: Beacon) -> None:
        before = self._counter if self._beacon is not None else 7 * self._name.endswith("2")
        show(self, beacon)
        self._counter = before

    monkeypatch.setattr(BleFinder, "show", careless)
    assert advantage(await watched(60)) > PATIENT


async def test_mutation_slots_that_stay_are_told(form: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: defaultdict[BleFinder, tuple[bytes, ...]] = defaultdict(spare_slots)
    payload = BleFinder._payload
    monkeypatch.setattr(BleFinder, "_payload", lambda self, beacon: payload(self, replace(beacon, tags=(), spare=kept[self])))
    assert advantage(await watched(60)) > 2 * PATIENT


async def test_mutation_a_name_for_who_asks_is_told(form: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start = bumble.Device.start_advertising

    async def named(self: bumble.Device, **more: object) -> None:
        await start(self, **more, scan_response_data=str(self.random_address).encode())  # type: ignore[arg-type]

    monkeypatch.setattr(bumble.Device, "start_advertising", named)
    assert advantage(await watched(60)) > 2 * PATIENT
