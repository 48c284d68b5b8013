"""Real bleak and our peripheral over virtual controllers: scan, connect, greet, streams, and who gets in the way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from bleak import BleakClient

from moodmesh.mesh.ble import central as centrals
from moodmesh.mesh.ble import lanes as held
from moodmesh.mesh.ble.central import Central
from moodmesh.mesh.ble.frames import NONCE, Framed, Greeting, Kind
from moodmesh.mesh.ble.lane import LaneClosed
from moodmesh.mesh.ble.lanes import LANES, Lanes
from moodmesh.mesh.ble.payload import Payload
from moodmesh.mesh.ble.radio import LANE_UUIDS, Heard, Hooks
from moodmesh.mesh.ble.turns import Turns
from moodmesh.mesh.clock import SystemClock
from moodmesh.nodes.bench.ble.air import Air
from moodmesh.nodes.bench.ble.bumble import MTU, Radio, radio

from .support import PORT, End, settle

SHOWN = Payload(b"rid", (b"abc", b"def")).encode()
OTHER = Payload(b"RID", (b"abc", b"def")).encode()
DATA = random.Random(3).randbytes(100_000)


@dataclass
class Device:
    """An adapter with both sides of it, and what its application was given."""

    radio: Radio
    heard: asyncio.Queue[Heard] = field(default_factory=asyncio.Queue)
    accepted: asyncio.Queue[tuple[str, socket.socket]] = field(default_factory=asyncio.Queue)
    lanes: Lanes = field(init=False)
    central: Central = field(init=False)

    def __post_init__(self) -> None:
        def accept(device: str, port: int, sock: socket.socket) -> bool:
            if port == PORT:
                self.accepted.put_nowait((device, sock))
            return port == PORT

        self.lanes = Lanes(self.radio.peripheral.notify, accept, SystemClock())
        self.central = Central("hci0", self.radio.scanner, self.radio.client, self.lanes.lane, accept)

    @contextlib.asynccontextmanager
    async def shown(self, data: bytes = SHOWN) -> AsyncIterator[None]:
        async with self.radio.peripheral.open(Hooks(self.lanes.written, self.lanes.gone)):
            await self.radio.peripheral.advertise(data)
            yield
            self.lanes.close()

    async def until_heard(self, data: bytes = SHOWN) -> str:
        """The address of whoever shows it from now on."""
        while not self.heard.empty():
            self.heard.get_nowait()
        while (heard := await self.heard.get()).data != data:
            pass
        return heard.address

    async def stream(self, other: Device) -> tuple[End, End]:
        """Both ends of a new stream to another device."""
        ours = await End.of(await self.central.stream(other.radio.address, PORT))
        device, theirs = await other.accepted.get()
        assert device == self.radio.address
        return ours, await End.of(theirs)

    async def raw(self, other: Device) -> BleakClient:
        """A bare connection to another device."""
        return await self.central.connect(other.radio.address)


@contextlib.asynccontextmanager
async def devices(count: int = 2, mtu: int = MTU, show: bool = True) -> AsyncIterator[list[Device]]:
    """Devices in one air that listen; the first is shown, and the others have heard it."""
    air = Air()
    async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
        found = []
        for number in range(1, count + 1):
            device = Device(await stack.enter_async_context(radio(air, f"F5:00:00:00:00:{number:02X}", mtu)))
            await stack.enter_async_context(device.central.scanning(device.heard.put_nowait))
            found.append(device)
        if show:
            await stack.enter_async_context(found[0].shown())
            for device in found[1:]:
                assert await device.until_heard() == found[0].radio.address
        yield found
        for device in found:
            while not device.accepted.empty():
                device.accepted.get_nowait()[1].close()
    await settle()


async def test_what_is_shown_is_heard_and_a_change_in_place_too() -> None:
    async with devices(3) as (ann, bob, cid):
        await ann.radio.peripheral.advertise(OTHER)
        for device in (bob, cid):
            assert await device.until_heard(OTHER) == ann.radio.address
        assert ann.heard.empty(), "nobody else shows anything"


@pytest.mark.parametrize("mtu", [23, 185, MTU])
async def test_a_hundred_kilobytes_each_way_in_two_streams_at_once(mtu: int) -> None:
    data = DATA if mtu > 23 else DATA[:10_000]
    async with devices(2, mtu) as (ann, bob):
        pairs = [await bob.stream(ann) for _ in range(2)]

        async def both_ways(ours: End, theirs: End) -> None:
            up, down, _, _ = await asyncio.gather(
                theirs.reader.readexactly(len(data)), ours.reader.readexactly(len(data)), ours.say(data), theirs.say(data[::-1])
            )
            assert (up, down) == (data, data[::-1])
            await ours.close()
            await theirs.close()

        await asyncio.gather(*[both_ways(*ends) for ends in pairs])
        assert bob.central._lanes.keys() == {ann.radio.address}


async def test_a_disconnect_in_the_middle_ends_both_ends_and_the_next_stream_connects_anew() -> None:
    async with devices() as (ann, bob):
        ours, theirs = await bob.stream(ann)
        ours.writer.write(DATA)
        assert await theirs.reader.read(5000)
        await ann.radio.peripheral.drop(bob.radio.address)
        came = await theirs.reader.read(-1)
        assert came in DATA
        assert await ours.ended()
        assert not bob.central._lanes
        await ours.close()
        await theirs.close()
        again = await bob.stream(ann)
        await again[0].say(b"again")
        assert await again[1].reader.readexactly(5) == b"again"
        for end in again:
            await end.close()


async def again_after_hanging_up(central: Callable[[Central], None]) -> bool:
    """Whether the next stream works when it is asked for before the old connection has ended."""
    async with devices() as (ann, bob):
        central(bob.central)
        for end in await bob.stream(ann):
            await end.close()
        bob.central._lanes[ann.radio.address].lane.close("no longer needed")
        assert not bob.central._lanes
        with contextlib.suppress(OSError):
            ours, theirs = await bob.stream(ann)
            await settle(500)  # for the old one to end
            ours.writer.write(b"x")
            went = not await theirs.ended()
            await ours.close()
            await theirs.close()
            return went
        return False


async def test_a_stream_right_after_hanging_up_has_a_connection_of_its_own() -> None:
    assert await again_after_hanging_up(lambda central: None)


async def test_mutation_without_waiting_it_is_cut_with_the_old_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centrals, "TRIES", 1)  # another try would hide it

    class Forgetful(dict[str, asyncio.Task[None]]):
        def get(self, key: str, default: object = None) -> Any:
            return None

    def forget(central: Central) -> None:
        central._ending = Forgetful()

    assert not await again_after_hanging_up(forget)


async def test_a_device_out_of_reach_ends_the_streams_of_the_other() -> None:
    async with devices() as (ann, bob):
        ours, theirs = await bob.stream(ann)
        ann.radio.leave()
        assert await ours.ended()
        assert not bob.central._lanes
        await ours.close()
        theirs.writer.transport.abort()


async def test_a_second_central_has_a_lane_of_its_own_while_the_first_is_busy() -> None:
    async with devices(3) as (ann, bob, cid):
        first, second = await bob.stream(ann), await cid.stream(ann)
        first[0].writer.write(DATA)
        second[0].writer.write(DATA[::-1])
        first[1].writer.write(DATA[:500])
        second[1].writer.write(DATA[500:1000])
        assert await first[1].reader.readexactly(len(DATA)) == DATA
        assert await second[1].reader.readexactly(len(DATA)) == DATA[::-1]
        assert await first[0].reader.readexactly(500) == DATA[:500]
        assert await second[0].reader.readexactly(500) == DATA[500:1000]
        for end in (*first, *second):
            await end.close()


async def test_when_all_lanes_are_taken_it_says_so_and_a_free_one_is_found() -> None:
    async with devices() as (ann, bob):
        for lane in range(LANES):
            ann.lanes.written(lane, f"holder {lane}", Greeting(Kind.HELLO, bytes(NONCE)).encode())
        with pytest.raises(LaneClosed, match="all its lanes are taken"):
            await bob.central.stream(ann.radio.address, PORT)
        ann.lanes.gone("holder 4")
        for end in await bob.stream(ann):
            await end.close()


async def test_a_lane_whose_holder_is_silent_for_long_is_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here there is one. Its central has let go of it by then, and asks anew."""
    monkeypatch.setattr(centrals, "LANE_UUIDS", LANE_UUIDS[:1])
    monkeypatch.setattr(centrals, "IDLE_S", 1)
    monkeypatch.setattr(held, "IDLE_S", 1.5)
    async with devices(3) as (ann, bob, cid):
        for end in await bob.stream(ann):
            await end.close()
        with pytest.raises(OSError, match="taken"):
            await cid.stream(ann)
        await asyncio.sleep(2)
        assert not bob.central._lanes
        ends = await cid.stream(ann)
        with pytest.raises(OSError, match="taken"):
            await bob.stream(ann)
        await ends[0].say(b"mine")
        assert await ends[1].reader.readexactly(4) == b"mine"
        for end in ends:
            await end.close()


async def test_the_peripheral_off_and_on() -> None:
    async with devices(show=False) as (ann, bob):
        for shown in (SHOWN, OTHER):
            async with ann.shown(shown):
                await bob.until_heard(shown)
                ours, theirs = await bob.stream(ann)
                await ours.say(b"hello")
                assert await theirs.reader.readexactly(5) == b"hello"
            assert await ours.ended()
            await ours.close()
            await theirs.close()
            with pytest.raises(OSError, match="off"):
                await ann.radio.peripheral.notify(0, b"x")


async def test_two_devices_that_dial_each_other_at_once_share_one_connection_and_have_a_stream_each() -> None:
    async with devices() as (ann, bob), bob.shown(OTHER):
        await ann.until_heard(OTHER)
        for up, down in [
            await asyncio.gather(bob.stream(ann), ann.stream(bob)),
            await asyncio.gather(ann.stream(bob), bob.stream(ann)),
        ]:
            for ours, theirs in (up, down):
                ours.writer.write(DATA[:9000])
                assert await theirs.reader.readexactly(9000) == DATA[:9000]
            for end in (*up, *down):
                await end.close()
        assert len(ann.radio.links) == len(bob.radio.links) == 1


async def test_a_lane_carries_the_streams_that_either_end_opens() -> None:
    async with devices() as (ann, bob), bob.shown(OTHER):
        await ann.until_heard(OTHER)
        first = await bob.stream(ann)
        others = await asyncio.gather(*(one.stream(other) for one, other in ((ann, bob), (bob, ann)) * 3))
        for ours, theirs in (first, *others):
            await asyncio.gather(ours.say(DATA[:9000]), theirs.say(DATA[-9000:]))
            assert await theirs.reader.readexactly(9000) == DATA[:9000]
            assert await ours.reader.readexactly(9000) == DATA[-9000:]
        assert (len(bob.central._lanes), len(ann.central._lanes)) == (1, 0)
        for end in (*first, *itertools.chain.from_iterable(others)):
            await end.close()


class Hangs(list[BleakClient]):
    """What BlueZ makes of a connection to a device that connects to us at the same time; hanging up cuts the one there is."""

    def __init__(self, one: Device, other: Device) -> None:
        self._one, self._other = one, other
        self.cut = 0
        plain = one.radio.client

        async def connect(client: Any, pair: bool, **_: Any) -> None:
            self.append(client)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cut += bool(one.radio.links)
                await one.radio.peripheral.drop(other.radio.address)
                raise

        one.central._client = type("Hanging", (plain,), {"connect": connect})


async def at_once(monkeypatch: pytest.MonkeyPatch, change: Callable[[Device], None] = lambda device: None) -> tuple[bool, int]:
    """Whether a device whose connect hangs reaches the one that connects to it, and how often that connection was cut."""
    monkeypatch.setattr(centrals, "CONNECT_S", 1.0)
    async with devices() as (ann, bob), bob.shown(OTHER):
        await ann.until_heard(OTHER)
        hanging = Hangs(ann, bob)
        change(ann)
        asking = asyncio.ensure_future(ann.central.stream(bob.radio.address, PORT))
        while not hanging:
            await asyncio.sleep(0.01)
        ends = await bob.stream(ann)
        reached = False
        with contextlib.suppress(OSError):
            (await asking).close()
            (await bob.accepted.get())[1].close()
            reached = True
        cut = hanging.cut
        for end in ends:
            await end.close()
        await bob.central.hang_up(ann.radio.address)
    return reached, cut


async def test_of_two_that_connect_at_once_one_may_hang_and_uses_the_connection_of_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await at_once(monkeypatch) == (True, 0)


async def test_mutation_without_looking_for_it_the_connection_of_the_other_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(device: Device) -> None:
        device.central.theirs = lambda address: None

    assert await at_once(monkeypatch, blind) == (False, 1)


async def idle_is_cut(shared: bool, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a device with an idle lane cuts the one connection while the other has a stream over it."""
    monkeypatch.setattr(centrals, "IDLE_S", 1)
    async with devices() as (ann, bob), bob.shown(OTHER):
        await ann.until_heard(OTHER)
        idle, used = await asyncio.gather(bob.stream(ann), ann.stream(bob))
        assert len(ann.central._lanes) == len(bob.central._lanes) == 1, "at once: neither could wait for the other's"
        if not shared:
            bob.central.theirs = lambda device: None
        for end in idle:
            await end.close()
        read = asyncio.create_task(used[1].reader.read(1))
        await asyncio.wait({read}, timeout=2.5)
        cut = read.done()
        used[0].writer.write(b"x")
        assert await read == (b"" if cut else b"x")
        for end in used:
            await end.close()
    return cut


async def test_an_idle_lane_does_not_cut_the_connection_under_a_stream_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not await idle_is_cut(True, monkeypatch)


async def test_mutation_without_asking_the_idle_lane_cuts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await idle_is_cut(False, monkeypatch)


# -- somebody else with a radio ----------------------------------------------------------------------------------------


async def lane_of(device: Device, holder: Device) -> int:
    (number,) = [n for n, held in device.lanes._held.items() if held.device == holder.radio.address]
    return number


async def test_a_listener_on_the_lane_of_another_hears_it_and_can_add_nothing() -> None:
    async with devices(3) as (ann, bob, eve):
        ours, theirs = await bob.stream(ann)
        number = await lane_of(ann, bob)
        wire = await eve.raw(ann)
        overheard: asyncio.Queue[bytes] = asyncio.Queue()
        await wire.start_notify(LANE_UUIDS[number], lambda _, value: overheard.put_nowait(bytes(value)))
        await theirs.say(b"to bob")
        assert b"to bob" in await overheard.get(), "who speaks TLS over it has no harm of this"
        assert await ours.reader.readexactly(6) == b"to bob"
        for forged in (Framed(Kind.DATA, 1, 1, b"forged"), Framed(Kind.CLOSE, 1, 1), Greeting(Kind.HELLO, bytes(NONCE))):
            await wire.write_gatt_char(LANE_UUIDS[number], forged.encode(), response=False)
        await wire.write_gatt_char(LANE_UUIDS[number], b"no frame", response=False)
        assert (await overheard.get())[0] == Kind.BUSY
        await ours.say(b"to ann")
        assert await theirs.reader.readexactly(6) == b"to ann"
        await wire.disconnect()
        for end in (ours, theirs):
            await end.close()


async def test_a_device_that_greets_every_lane_leaves_the_others_theirs() -> None:
    async with devices(3) as (ann, bob, eve):
        wire = await eve.raw(ann)
        for uuid in LANE_UUIDS:
            await wire.write_gatt_char(uuid, Greeting(Kind.HELLO, bytes(NONCE)).encode(), response=False)
        for end in await bob.stream(ann):
            await end.close()
        assert sum(held.device == eve.radio.address for held in ann.lanes._held.values()) == 1
        await wire.disconnect()


async def test_a_device_that_answers_no_greeting_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centrals, "GREETING_S", 0.2)
    async with devices() as (ann, bob):
        monkeypatch.setattr(ann.lanes, "_answer", lambda number, greeting: None)
        with pytest.raises(LaneClosed, match="did not answer"):
            await bob.central.stream(ann.radio.address, PORT)
        await settle()
        assert not bob.central._lanes


async def test_who_was_never_heard_is_not_in_range() -> None:
    async with devices() as (ann, bob):
        with pytest.raises(LaneClosed, match="not in range"):
            await ann.central.stream(bob.radio.address, PORT)


async def overtaken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was connected to or given up, in order, when a device that answers is asked for after six that never did."""
    async with devices(8) as (ann, bob, *gone):
        for device in gone:
            await walked_away(device, bob)
        ended: list[str] = []

        async def ask(name: str, address: str) -> None:
            with contextlib.suppress(OSError):
                (await bob.central.stream(address, PORT)).close()
            ended.append(name)

        silent, made, limit_s = [device.radio.address for device in gone], bob.central._made, 0.01

        async def connect(address: str, client: BleakClient, limit: float) -> None:
            if address in silent:  # as after all the time it has
                await asyncio.sleep(limit_s)
                raise TimeoutError
            await made(address, client, limit)

        monkeypatch.setattr(bob.central, "_made", connect)
        await asyncio.gather(*(ask("silent", address) for address in silent))
        assert bob.central._devices[silent[0]].silent == 1
        ended.clear()
        limit_s = 0.15  # longer than it takes to ask, also on a machine that is busy
        again = [asyncio.ensure_future(ask("silent", address)) for address in silent]
        await asyncio.sleep(0)
        await ask("ann", ann.radio.address)
        await asyncio.gather(*again)
        (await ann.accepted.get())[1].close()
        return ended


async def walked_away(device: Device, to: Device) -> None:
    """It is heard, and walks away."""
    data = Payload(device.radio.address.encode()[-3:], (b"abc", b"def")).encode()
    await device.radio.peripheral.advertise(data)
    await to.until_heard(data)
    device.radio.leave()


async def test_who_did_not_answer_before_lets_others_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await overtaken(monkeypatch) == ["silent", "ann", *["silent"] * 5]


async def test_mutation_first_come_first_served_the_silent_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Turns.take
    monkeypatch.setattr(Turns, "take", lambda turns, place: take(turns, 0))
    assert await overtaken(monkeypatch) == [*["silent"] * 6, "ann"]


@pytest.mark.parametrize("bounded", [True, False], ids=["bounded", "mutation"])
async def test_a_hang_up_that_never_ends_does_not_keep_the_radio_from_ending(
    bounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centrals, "GONE_S", 0.1 if bounded else 60.0)
    async with devices() as (ann, bob):
        ours, theirs = await bob.stream(ann)
        held = bob.central._lanes[ann.radio.address]

        async def never() -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(held.client, "disconnect", never)
        closing = asyncio.create_task(bob.central._close())
        await asyncio.wait({closing}, timeout=3.0)
        assert closing.done() == bounded
        for task in bob.central._tasks:
            task.cancel()
        await closing
        await ours.close()
        await theirs.close()


async def test_who_was_silent_for_hours_is_reached_all_the_same() -> None:
    async with devices() as (ann, bob):
        bob.central._devices[ann.radio.address].silent = 5000
        for end in await bob.stream(ann):
            await end.close()
        assert bob.central._devices[ann.radio.address].silent == 0
