"""mDNS by zeroconf on loopback: labels that rotate, TXT that follows a window, and hostile records (mesh-lessons §4)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh.discovery import mdns as module
from moodmesh.mesh.discovery.interfaces import Interface, usable
from moodmesh.mesh.discovery.mdns import NAMES, RESOLVING, TYPE, MdnsFinder, read, txt
from moodmesh.mesh.discovery.table import Table
from moodmesh.mesh.rid import pair_tag
from moodmesh.mesh.seams import Beacon, Sighting, Unavailable
from moodmesh.nodes.bench.fuzz import mutants


class Near:
    """A finder that runs on loopback, what it saw, and who is listed."""

    def __init__(self) -> None:
        self.beacon = Beacon(os.urandom(16), random.randint(1, 65535), ())
        self.finder, self.table = MdnsFinder(["lo"]), Table()
        self.sightings: list[Sighting] = []
        self.show(self.beacon)

    def show(self, beacon: Beacon) -> None:
        self.beacon = beacon
        self.finder.show(beacon)

    def seen(self, sighting: Sighting) -> None:
        self.sightings.append(sighting)
        self.table.put(sighting, sighting.at)

    def sees(self, other: Near) -> Any:
        """The row of the other one; None when it is not listed. Other devices of this machine do not matter."""
        return next((s for s in self.table.now(self.finder._clock.now()) if s.rid == other.beacon.rid), None)

    async def until(self, check: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not check():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(*found: Near) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.finder.run(each.seen)) for each in found]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_finders_their_window_their_rotation_and_their_goodbye() -> None:
    one, other = Near(), Near()
    async with running(one):
        async with running(other):
            await one.until(lambda: one.sees(other) and other.sees(one))
            assert one.sees(other).addresses == (("127.0.0.1", other.beacon.port),)
            label = other.finder._info.name if other.finder._info else ""

            other.show(Beacon(other.beacon.rid, other.beacon.port, (), 42, 4242))
            await one.until(lambda: one.sees(other).nameplate == 42)
            assert one.sees(other).windows == (("127.0.0.1", 4242),)
            other.show(Beacon(other.beacon.rid, other.beacon.port, ()))
            await one.until(lambda: one.sees(other).nameplate is None)
            assert other.finder._info is not None
            assert other.finder._info.name == label, "a window changes the TXT alone"

            old = Near.__new__(Near)
            old.beacon = other.beacon
            other.show(Beacon(os.urandom(16), other.beacon.port, ()))
            await one.until(lambda: one.sees(other) and not one.sees(old))
            assert other.finder._info.name != label
            assert other.finder._info.server != label
        await one.until(lambda: not one.sees(other))
    assert one.finder._info is not None
    assert one.beacon.rid not in {s.rid for s in one.sightings}, "a finder does not see itself"


def test_two_epochs_of_one_device_look_like_two_devices() -> None:
    keys, rids = [os.urandom(32) for _ in range(5)], [os.urandom(16) for _ in range(3)]
    first, second, stranger = (announced(rid, tuple(pair_tag(k, rid) for k in keys)) for rid in rids)
    assert first[0] == second[0] == stranger[0]
    assert not common(first[1], second[1])


def test_mutation_a_label_that_stays_links_the_epochs() -> None:
    first, second = (announced(os.urandom(16), (), "0123456789abcdef") for _ in range(2))
    assert bytes.fromhex("01234567") in common(first[1], second[1])


def announced(rid: bytes, tags: tuple[bytes, ...], label: str = "") -> tuple[bytes, bytes]:
    """One record, taken apart: the constant text around, and all the bytes that its hex digits stand for."""
    info = module._info(label or module.new_label(), 4000, txt(Beacon(rid, 4000, tags)), ["127.0.0.1"])
    whole = b"|".join([info.name.encode(), (info.server or "").encode(), info.text])
    digits = re.compile(rb"[0-9a-f]{16,}")
    return digits.sub(b"", whole), b"".join(bytes.fromhex(run.decode()) for run in digits.findall(whole))


def common(one: bytes, other: bytes) -> set[bytes]:
    """Every string of four bytes that both hold."""
    return {one[i : i + 4] for i in range(len(one) - 3)} & {other[i : i + 4] for i in range(len(other) - 3)}


def properties(**changes: str) -> dict[bytes, bytes | None]:
    shown = txt(Beacon(b"r" * 16, 4000, (), 7, 4242)) | changes
    return {key.encode(): value.encode() for key, value in shown.items()}


def test_a_record_says_what_was_shown() -> None:
    found = read(properties(), "192.0.2.1", 4000, 5.0)
    assert found is not None
    assert (found.rid, found.host, found.port, found.nameplate, found.window_port) == (b"r" * 16, "192.0.2.1", 4000, 7, 4242)
    assert len(found.tags) == 16


@pytest.mark.parametrize(
    "changes",
    [{"v": "2"}, {"r": "00"}, {"r": "zz" * 16}, {"t": "00"}, {"p": "7"}, {"p": "100,1"}, {"p": "-1,1"}, {"p": "7,0"},
     {"p": "7,65536"}, {"p": "7,1,2"}, {"p": "٣,1"}, {"p": ""}],
)  # fmt: skip
def test_what_is_not_of_this_protocol_is_refused(changes: dict[str, str]) -> None:
    assert read(properties(**changes), "192.0.2.1", 4000, 0) is None


def test_no_port_is_no_device() -> None:
    assert read(properties(), "192.0.2.1", 0, 0) is None
    assert read(properties(), "192.0.2.1", 65536, 0) is None


@given(st.dictionaries(st.binary(max_size=4), st.none() | st.binary(max_size=200), max_size=6), st.integers(-1, 70_000))
def test_any_record_is_refused_or_well_formed(found: dict[bytes, bytes | None], port: int) -> None:
    assert read(found, "192.0.2.1", port, 0) is None


def test_ten_thousand_hostile_records() -> None:
    samples = [b"&".join(key + b"=" + (value or b"") for key, value in properties().items())]
    taken = 0
    for data in mutants(samples, 10_000):
        parts = [part.partition(b"=") for part in data.split(b"&")]
        sighting = read({key: value for key, _, value in parts}, "192.0.2.1", 4000, 0)
        if sighting is not None:
            taken += 1
            assert len(sighting.rid) == 16
            assert sighting.nameplate is None or 0 <= sighting.nameplate <= 99
    assert 0 < taken < 10_000


async def test_a_flood_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = MdnsFinder(["lo"])
    monkeypatch.setattr(finder, "_resolve", lambda *_: asyncio.sleep(60))
    for n in range(1_000):
        finder._heard(None, TYPE, f"{n}.{TYPE}", module.ServiceStateChange.Added)  # type: ignore[arg-type]
    assert len(finder._tasks) == RESOLVING
    for n in range(5_000):
        finder._replace(str(n), [Sighting("mdns", n.to_bytes(16, "big"), "192.0.2.1", 1, frozenset(), 0, 1)])
    assert len(finder._names) == NAMES
    for task in finder._tasks:
        task.cancel()
    await asyncio.gather(*finder._tasks, return_exceptions=True)


async def test_no_interface_is_said() -> None:
    with pytest.raises(Unavailable, match=r"mesh\.interfaces"):
        await MdnsFinder(["nonesuch0"]).run(lambda sighting: None)


async def test_one_failing_interface_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    (lo,), _ = usable(["lo"])
    gone = Interface("gone0", 9999, ("192.0.2.99",), ())
    monkeypatch.setattr(module, "usable", lambda wanted: ([gone, lo], {}))
    monkeypatch.setattr(module, "changed", lambda *_: asyncio.Event().wait())
    one, other = Near(), Near()
    async with running(one, other):
        await one.until(lambda: one.sees(other))
        assert set(one.finder.trouble) == {"gone0 AF_INET"}


@pytest.mark.parametrize(
    ("host", "yes"), [("10.0.0.1", True), ("169.254.1.1", True), ("fe80::1", False), ("fe80::1%3", True), ("2001:db8::1", True)]
)
def test_an_address_without_its_interface_is_no_address(host: str, yes: bool) -> None:
    assert module._reachable(host) is yes
