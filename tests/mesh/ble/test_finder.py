"""The finder of Bluetooth: what it shows and when, what it makes of what it hears, and what of it can be linked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable

import pytest

from mesh.support import new_identity, pair_with
from moodmesh.mesh.ble import finder as module
from moodmesh.mesh.ble.finder import ACTIVE_S, BATCH_S, QUIET_S, BleFinder
from moodmesh.mesh.ble.payload import COUNTER, Payload, decode
from moodmesh.mesh.ble.presence import STALE_S
from moodmesh.mesh.ble.radio import Heard, Hooks
from moodmesh.mesh.discovery.table import Table
from moodmesh.mesh.memory import ManualClock, settle
from moodmesh.mesh.reach import PEER, ROOM, WINDOW
from moodmesh.mesh.rid import match, tags
from moodmesh.mesh.seams import Beacon, Sighting, Unavailable

SECRET = b"s" * 32


class Deaf:
    """A central that hears what the test says."""

    def __init__(self) -> None:
        self.heard: Callable[[Heard], None] = lambda heard: None
        self.shared: Callable[[str], bool] = lambda address: False

    @contextlib.asynccontextmanager
    async def scanning(self, heard: Callable[[Heard], None]) -> AsyncIterator[None]:
        self.heard = heard
        yield

    async def stream(self, device: str, port: int) -> None:
        raise OSError("nobody")


class Shown:
    """A peripheral that keeps what it was given to show."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.gone: Unavailable | None = None

    @contextlib.asynccontextmanager
    async def open(self, hooks: Hooks) -> AsyncIterator[None]:
        yield

    async def advertise(self, data: bytes) -> None:
        if self.gone is not None:
            raise self.gone
        self.data.append(data)

    async def notify(self, lane: int, value: bytes) -> None: ...

    async def drop(self, device: str) -> None: ...


class Rig:
    def __init__(self) -> None:
        self.central, self.peripheral, self.clock = Deaf(), Shown(), ManualClock()
        self.seen: list[Sighting] = []
        self.finder = BleFinder(self.opened, lambda host, port, sock: False, self.clock, "test")  # type: ignore[arg-type]

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Deaf, Shown]]:
        yield self.central, self.peripheral

    def hears(self, payload: Payload, rssi: float = -50.0, address: str = "C0:00:00:00:00:01") -> None:
        self.central.heard(Heard(address, payload.encode(), rssi))


@contextlib.asynccontextmanager
async def running(quiet: bool = False) -> AsyncIterator[Rig]:
    rig = Rig()
    rig.finder.interval_s = QUIET_S if quiet else ACTIVE_S
    task = asyncio.create_task(rig.finder.run(rig.seen.append))
    await settle()
    try:
        yield rig
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def beacon(**more: object) -> Beacon:
    return Beacon(os.urandom(16)[: BleFinder.id_bytes], 4000, (), **more)  # type: ignore[arg-type]


def other(**more: object) -> Payload:
    return Payload(**{"rid": os.urandom(3), "slots": (os.urandom(3), os.urandom(3)), **more})  # type: ignore[arg-type]


async def test_what_is_heard_is_a_sighting_at_once() -> None:
    async with running() as rig:
        rig.hears(said := other(nameplate=37, room=True))
        (sighting,) = rig.seen
    assert (sighting.rid, sighting.host, sighting.port) == (said.rid, "test/C0:00:00:00:00:01", PEER)
    assert (sighting.nameplate, sighting.window_port, sighting.room_port) == (37, WINDOW, ROOM)
    assert (sighting.signal, sighting.ttl_s) == (-50.0, STALE_S)


async def test_a_pair_is_known_by_its_tag_and_a_stranger_is_not() -> None:
    pair, stranger = pair_with(new_identity(), SECRET), pair_with(new_identity(), b"t" * 32)
    rid = os.urandom(3)
    async with running() as rig:
        slot = tags([pair], rid)[0][:3]
        rig.hears(other(rid=rid, slots=(os.urandom(3), slot)))
        (sighting,) = rig.seen
    assert match(sighting.tags, sighting.rid, [pair, stranger]) == [pair]


async def test_in_the_quiet_gear_news_come_at_once_and_the_rest_in_batches() -> None:
    async with running(quiet=True) as rig:
        said = other()
        for counter in range(5):
            rig.hears(Payload(said.rid, said.slots, counter=counter))
        assert len(rig.seen) == 1
        await rig.clock.advance(BATCH_S)
        assert len(rig.seen) == 2, "one renewal for all"
        rig.hears(Payload(said.rid, said.slots, nameplate=12))
        assert rig.seen[-1].nameplate == 12, "a window is news"


@pytest.mark.parametrize("data", [b"", b"\x41" * 9, bytes(10), b"\xff" * 10, b"\x41" * 23])
async def test_what_is_none_of_ours_is_counted(data: bytes) -> None:
    async with running() as rig:
        rig.central.heard(Heard("C0:00:00:00:00:01", data, -50))
        assert (rig.seen, rig.finder.unparsable) == ([], 1)


async def test_its_own_echo_and_whoever_is_too_far_are_not_seen() -> None:
    async with running() as rig:
        rig.finder.show(shown := beacon())
        rig.hears(other(rid=shown.rid))
        rig.hears(other(), rssi=-99)
        assert rig.seen == []


async def test_a_replayed_advertisement_is_a_hint_that_dies_with_its_sighting() -> None:
    """Attack: whatever was shown in another place or epoch is shown again, by other devices. Each gives an address to dial
    (`test_relay` says what comes of it) for as long as it is heard, and nobody is near after that."""
    pair = pair_with(new_identity(), SECRET)
    rid = os.urandom(3)
    replayed = other(rid=rid, slots=(tags([pair], rid)[0][:3], os.urandom(3)))
    table = Table()
    async with running() as rig:
        for number in range(3):
            rig.hears(replayed, address=f"C0:00:00:00:00:0{number}")
        for sighting in rig.seen:
            table.put(sighting, 0)
    assert [len(device.addresses) for device in table.now(STALE_S)] == [3]
    assert table.now(STALE_S + 0.1) == []
    assert STALE_S < 30, "the promise: gone within 30 s"


async def test_a_flood_of_strangers_costs_bounded_memory() -> None:
    async with running(quiet=True) as rig:
        for number in range(5000):
            rig.hears(other(), address=f"C0:00:00:00:{number >> 8:02X}:{number & 255:02X}")
        assert len(rig.finder._told) <= module.MOST_TOLD
        assert len(rig.finder._presence._known) <= 256


async def test_a_flood_of_strangers_shown_twice_costs_bounded_memory() -> None:
    """What is no news waits for its batch."""
    async with running(quiet=True) as rig:
        for number in range(10_000):
            said, address = other(), f"C0:00:00:00:{number >> 8:02X}:{number & 255:02X}"
            for _ in range(2):
                rig.hears(said, address=address)
        assert len(rig.finder._batch) <= module.MOST_TOLD


async def test_the_radio_that_goes_ends_the_run_with_its_reason() -> None:
    rig = Rig()
    rig.peripheral.gone = Unavailable("the adapter was pulled", "plug it in")
    rig.finder.show(beacon())
    with pytest.raises(Unavailable, match="pulled"):
        await rig.finder.run(rig.seen.append)


async def shown_in_two_epochs(rotated: bool = True) -> tuple[list[bytes], list[bytes]]:
    """What one device shows in one epoch and in the next, with a pair and an open window in both."""
    pair = pair_with(new_identity(), SECRET)
    epochs: list[list[bytes]] = []
    async with running() as rig:
        first = beacon().rid
        for turn in range(2):
            rid = os.urandom(len(first)) if rotated else first
            rig.finder.show(Beacon(rid, 4000, tags([pair], rid), turn=turn, nameplate=None))
            await settle()
            rig.finder.show(Beacon(rid, 4000, tags([pair], rid), turn=turn, nameplate=37 if not turn else 61))
            await settle()
            epochs.append(rig.peripheral.data[:])
            rig.peripheral.data.clear()
    return epochs[0], epochs[1]


def common(one: list[bytes], other: list[bytes], size: int = 3) -> set[bytes]:
    """Strings of three bytes that both have."""
    cut = [{d[i : i + size] for d in shown for i in range(1, len(d) - size + 1)} for shown in (one, other)]
    return cut[0] & cut[1]


def alike(runs: list[tuple[list[bytes], list[bytes]]]) -> int:
    """In how many of the runs the counter took the step, from one epoch to the next, that it took most often."""
    steps = [(decode(b[0]).counter - decode(a[-1]).counter) % COUNTER for a, b in runs]  # type: ignore[union-attr]
    return max(steps.count(step) for step in set(steps))


async def test_two_epochs_of_one_device_have_no_more_in_common_than_two_devices() -> None:
    runs = [await shown_in_two_epochs() for _ in range(50)]
    same = sum(len(common(*run)) for run in runs)
    different = sum(len(common(one[0], other[1])) for one, other in itertools.pairwise(runs))
    assert same == different == 0
    assert alike(runs) < 15, "the counter does not count on"


async def test_a_rid_that_does_not_rotate_would_be_linked() -> None:
    """The mutation: the same rid in both epochs."""
    assert common(*await shown_in_two_epochs(rotated=False))


async def test_a_counter_that_counts_on_would_be_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: it is not drawn anew with a rid."""
    show = BleFinder.show

    def careless(self: BleFinder, beacon: Beacon) -> None:
        before = self._counter
        show(self, beacon)
        self._counter = before

    monkeypatch.setattr(BleFinder, "show", careless)
    runs = [await shown_in_two_epochs() for _ in range(50)]
    assert alike(runs) == len(runs)
