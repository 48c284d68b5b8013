"""The UDP hello: its datagram, its limits, and finders that find each other over real sockets on loopback (mesh-lessons §4)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh.discovery import hello as module
from moodmesh.mesh.discovery.datagram import Hello, Kind, decode, slot_count
from moodmesh.mesh.discovery.hello import GROUP4, Answers, HelloFinder
from moodmesh.mesh.discovery.interfaces import Interface, usable
from moodmesh.mesh.discovery.table import Table
from moodmesh.mesh.memory import ManualClock
from moodmesh.mesh.rid import pair_tag
from moodmesh.mesh.seams import Beacon, Sighting, Unavailable
from moodmesh.nodes.bench.fuzz import mutants

LO = "lo"
RID = b"r" * 16


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def hello_of(**more: Any) -> Hello:
    fields: dict[str, Any] = {"kind": Kind.ANNOUNCE, "next_s": 4, "rid": RID, "port": 4000, "tags": tuple([b"tttt"] * 16)}
    return Hello(**fields | more)


class Near:
    """A finder that runs, what it saw, and who is fresh."""

    def __init__(self, port: int, beacon: Beacon) -> None:
        self.finder, self.beacon, self.table = HelloFinder([LO], port), beacon, Table()
        self.sightings: list[Sighting] = []
        self.finder.show(beacon)

    def seen(self, sighting: Sighting) -> None:
        self.sightings.append(sighting)
        self.table.put(sighting, sighting.at)

    def rids(self) -> set[bytes]:
        return {seen.rid for seen in self.table.now(self.finder._clock.now())}

    async def until(self, check: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not check():
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def near(count: int, port: int = 0, **more: Any) -> AsyncIterator[list[Near]]:
    port = port or free_udp_port()
    found = [Near(port, Beacon(os.urandom(16), 4000 + i, (), **more)) for i in range(count)]
    tasks = [asyncio.create_task(each.finder.run(each.seen)) for each in found]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# -- the datagram ------------------------------------------------------------------------------------------------------


@given(
    kind=st.sampled_from(list(Kind)), next_s=st.integers(1, 255), rid=st.binary(min_size=16, max_size=16),
    port=st.integers(1, 65535), slots=st.sampled_from([16, 64, 256]),
    window=st.none() | st.tuples(st.integers(0, 99), st.integers(1, 65535)),
)  # fmt: skip
def test_a_datagram_says_what_it_was_given_and_has_one_of_three_sizes(
    kind: Kind, next_s: int, rid: bytes, port: int, slots: int, window: tuple[int, int] | None
) -> None:
    tags = tuple(i.to_bytes(4, "big") for i in range(slots))
    hello = Hello(kind, next_s, rid, port, tags, *(window or ()))
    data = hello.encode()
    assert len(data) == {16: 93, 64: 285, 256: 1053}[slots]
    assert decode(data) == hello


@pytest.mark.parametrize(("pairs", "slots"), [(0, 16), (16, 16), (17, 64), (64, 64), (65, 256), (256, 256), (500, 256)])
def test_the_smallest_size_that_takes_every_pair(pairs: int, slots: int) -> None:
    assert slot_count(pairs) == slots


def test_ten_thousand_hostile_datagrams_are_refused_or_well_formed() -> None:
    samples = [hello_of().encode(), hello_of(nameplate=7, window_port=9).encode(), hello_of(tags=(b"abcd",) * 256).encode()]
    draw, parsed = random.Random(2), 0
    for data in [
        *mutants(samples, 8_000),
        *(draw.randbytes(draw.choice([0, 1, 29, 92, 93, 94, 285, 1053])) for _ in range(2_000)),
    ]:
        found = decode(data)
        if found is not None:
            parsed += 1
            assert found.encode() == data, "what is taken is exactly what is understood"
            assert (found.nameplate is None) == (found.window_port is None)
            assert found.port
            assert found.next_s
    assert 0 < parsed < 10_000


# -- finders over real sockets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
async def test_finders_on_loopback_find_each_other(count: int) -> None:
    async with near(count) as all_:
        rids = {each.beacon.rid for each in all_}
        for each in all_:
            await each.until(lambda each=each: each.rids() == rids - {each.beacon.rid})
            assert {s.port for s in each.sightings} == {o.beacon.port for o in all_ if o is not each}
            assert {s.host for s in each.sightings} == {"127.0.0.1"}


async def test_a_known_host_is_asked_by_unicast_where_multicast_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HelloFinder, "_multicast", lambda self, kind, beacon: None)
    port = free_udp_port()
    async with near(1, port) as (here,):
        await here.until(lambda: here.finder._open)
        asking = Near(free_udp_port(), Beacon(os.urandom(16), 4009, ()))  # listens elsewhere: only its ask can find anybody
        task = asyncio.create_task(asking.finder.run(asking.seen))
        try:
            await asking.until(lambda: asking.finder._open)
            asking.finder._port = port
            assert not asking.sightings
            await asking.finder.ask("127.0.0.1")
            await asking.until(lambda: asking.rids() == {here.beacon.rid})
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_host_named_before_the_sockets_are_bound_is_asked_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HelloFinder, "_multicast", lambda self, kind, beacon: None)
    port, asked = free_udp_port(), []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.setblocking(False)
        early = Near(port, Beacon(RID, 4009, ()))
        early.finder._port = other.getsockname()[1]
        await early.finder.ask("127.0.0.1")
        early.finder._receiver = lambda family, interfaces: socket.socket(family, socket.SOCK_DGRAM)  # type: ignore[method-assign]
        task = asyncio.create_task(early.finder.run(early.seen))
        async with asyncio.timeout(5):
            asked.append(decode(await asyncio.get_running_loop().sock_recv(other, 2000)))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert asked[0] is not None
    assert asked[0].kind is Kind.ASK


async def test_a_window_shows_only_while_it_is_open() -> None:
    async with near(2) as (host, guest):
        rid, port = host.beacon.rid, host.beacon.port

        def shown() -> Any:
            return next(((s.nameplate, s.windows) for s in guest.table.now(guest.finder._clock.now()) if s.rid == rid), None)

        await guest.until(lambda: shown() == (None, ()))
        host.finder.show(Beacon(rid, port, (), 37, 5555))
        await guest.until(lambda: shown() == (37, (("127.0.0.1", 5555),)))
        host.finder.show(Beacon(rid, port, ()))
        await guest.until(lambda: shown() == (None, ()))


async def test_a_new_rid_says_goodbye_to_the_old_one() -> None:
    async with near(2) as (one, other):
        await other.until(lambda: other.rids() == {one.beacon.rid})
        one.finder.show(Beacon(b"n" * 16, one.beacon.port, ()))
        await other.until(lambda: other.rids() == {b"n" * 16})


async def test_a_device_that_leaves_is_gone_at_once_and_one_that_dies_after_ten_seconds() -> None:
    port, clock = free_udp_port(), ManualClock()
    watcher = Near(port, Beacon(os.urandom(16), 4000, ()))
    watcher.finder._clock = clock
    task = asyncio.create_task(watcher.finder.run(watcher.seen))
    async with near(1, port) as (leaves,):
        await watcher.until(lambda: watcher.rids() == {leaves.beacon.rid})
    await watcher.until(lambda: watcher.rids() == set())
    async with near(1, port) as (dies,):
        await watcher.until(lambda: watcher.rids() == {dies.beacon.rid})
        dies.finder._beacon = None  # as if killed: no goodbye
    assert watcher.rids() == {dies.beacon.rid}
    await clock.advance(9.9)
    assert watcher.rids() == {dies.beacon.rid}
    await clock.advance(0.2)
    assert watcher.rids() == set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# -- attacks ---------------------------------------------------------------------------------------------------------------


def told(finder: HelloFinder, table: Table, hello: Hello, host: str) -> None:
    finder._seen = lambda sighting: table.put(sighting, sighting.at)
    finder._heard(hello.encode(), (host, 999))


def test_a_goodbye_from_another_address_hides_nothing() -> None:
    finder, table = HelloFinder(clock=ManualClock()), Table()
    told(finder, table, hello_of(), "192.0.2.1")
    told(finder, table, hello_of(kind=Kind.BYE), "192.0.2.66")
    assert [s.rid for s in table.now(0)] == [RID]
    told(finder, table, hello_of(), "192.0.2.66")  # nor when the spoofer announces the same rid first
    told(finder, table, hello_of(kind=Kind.BYE), "192.0.2.66")
    assert [s.addresses for s in table.now(0)] == [(("192.0.2.1", 4000),)]
    told(finder, table, hello_of(kind=Kind.BYE), "192.0.2.1")
    assert table.now(0) == []


def test_mutation_a_table_by_rid_alone_lets_anybody_hide_a_device() -> None:
    finder, table = HelloFinder(clock=ManualClock()), Table()

    def put(sighting: Sighting) -> None:
        Table.put(table, Sighting(**vars(sighting) | {"host": "any"}), sighting.at)

    for hello, host in ((hello_of(), "192.0.2.1"), (hello_of(kind=Kind.BYE), "192.0.2.66")):
        finder._seen = put
        finder._heard(hello.encode(), (host, 999))
    assert table.now(0) == []


def flood(answers: Answers, sources: int, seconds: int) -> int:
    return sum(answers.allow(f"192.0.2.{n % sources}", n / 1000) for n in range(1000 * seconds))


def test_answers_are_limited_per_source_and_in_all() -> None:
    assert flood(Answers(), 1, 10) == 20
    assert flood(Answers(), 200, 10) == 200
    busy = Answers()
    assert sum(busy.allow("127.0.0.1", 0) for _ in range(100)) == 20


async def asks_answered(asks: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes an attacker who sends small asks in another's name makes the device send there."""
    finder, sent = HelloFinder(clock=ManualClock()), []
    finder.show(Beacon(b"m" * 16, 4000, tuple(i.to_bytes(4, "big") for i in range(100))))
    monkeypatch.setattr(finder, "_unicast", lambda data, to: sent.append(len(data)))
    for n in range(asks):
        finder._heard(hello_of(kind=Kind.ASK, rid=n.to_bytes(16, "big")).encode(), ("192.0.2.9", 53))
    return sum(sent)


async def test_small_asks_in_anothers_name_bring_no_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await asks_answered(1000, monkeypatch) == 2 * 1053


async def test_mutation_without_limits_asks_are_amplified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "allow", lambda self, source, now: True)
    assert await asks_answered(1000, monkeypatch) > 10 * 1000 * 93


def test_unparsable_datagrams_are_counted_and_the_sources_remembered_are_bounded() -> None:
    finder = HelloFinder(clock=ManualClock())
    for n in range(5):
        finder._heard(bytes(n), ("192.0.2.1", 1))
    assert finder.unparsable == 5
    answers = Answers()
    for n in range(10_000):
        answers.allow(str(n), n)
    assert len(answers._by_source) <= 1001


# -- interfaces --------------------------------------------------------------------------------------------------------------


async def test_no_interface_is_said() -> None:
    with pytest.raises(Unavailable, match=r"no network interface.*mesh\.interfaces"):
        await HelloFinder(["nonesuch0"]).run(lambda sighting: None)


async def test_one_failing_interface_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    (lo,), _ = usable([LO])
    gone = Interface("gone0", 9999, ("192.0.2.99",), ())
    monkeypatch.setattr(module, "usable", lambda wanted: ([gone, lo], {}))
    monkeypatch.setattr(module, "changed", lambda *_: asyncio.Event().wait())
    async with near(2) as (one, other):
        await one.until(lambda: one.rids() == {other.beacon.rid})
        assert any(where.startswith("gone0") for where in one.finder.trouble)


async def test_it_binds_anew_when_the_interfaces_change(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = asyncio.Event()

    async def changed(*_: Any) -> None:
        await moved.wait()
        moved.clear()

    monkeypatch.setattr(module, "changed", changed)
    async with near(1) as (one,):
        await one.until(lambda: one.finder._open)
        before = [s for s, _ in one.finder._senders]
        moved.set()
        await one.until(lambda: one.finder._open and not any(s in before for s, _ in one.finder._senders))
        assert all(s.is_closing() is False for s, _ in one.finder._senders)


@contextlib.contextmanager
def tapped(port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tap:
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        tap.bind(("", port))
        tap.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP4) + socket.inet_aton("127.0.0.1"))
        tap.setblocking(False)
        yield tap


async def announced(beacons: Sequence[Beacon]) -> list[bytes]:
    """All that one device sends while it shows one beacon after the other."""
    port, found = free_udp_port(), []
    with tapped(port) as tap:
        async with near(1, port) as (one,):
            for beacon in beacons:
                one.finder.show(beacon)
                async with asyncio.timeout(5):
                    while True:
                        data = await asyncio.get_running_loop().sock_recv(tap, 2000)
                        if data[6:22] == beacon.rid and data[4] == Kind.ASK:
                            break
                found.append(data)
    return found


async def test_two_epochs_of_one_device_look_like_two_devices() -> None:
    """No string of four bytes or more in common that two strangers would not have in common too (mesh-lessons §6)."""
    keys = [os.urandom(32) for _ in range(5)]
    rids = [os.urandom(16) for _ in range(3)]
    beacons = [Beacon(rid, 4000, tuple(pair_tag(key, rid) for key in keys)) for rid in rids]
    first, second = await announced(beacons[:2])
    (stranger,) = await announced([Beacon(rids[2], 4000, ())])
    assert constant(first) == constant(second) == constant(stranger)
    assert not common(varying(first), varying(second))
    assert len(first) == len(second) == len(stranger)


async def test_mutation_tags_that_do_not_depend_on_the_rid_link_the_epochs() -> None:
    fixed = tuple(pair_tag(b"k" * 32, bytes(16)) for _ in range(1))
    first, second = await announced([Beacon(os.urandom(16), 4000, fixed), Beacon(os.urandom(16), 4000, fixed)])
    assert fixed[0] in common(varying(first), varying(second))


def constant(data: bytes) -> bytes:
    """Magic, kind and interval; peer port; no window."""
    return data[:6] + data[22:27]


def varying(data: bytes) -> bytes:
    """All the rest: the rid and the slots."""
    return data[6:22] + data[27:]


def common(one: bytes, other: bytes) -> set[bytes]:
    """Every string of four bytes that both hold."""
    return {one[i : i + 4] for i in range(len(one) - 3)} & {other[i : i + 4] for i in range(len(other) - 3)}
