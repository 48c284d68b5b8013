"""Devices as real BlueZ sees them: each adapter of this machine is one, shown by one side and looking with the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dbus_fast import Variant

from moodmesh.mesh.ble.adapters import Adapter, adapters
from moodmesh.mesh.ble.bluez import BluezPeripheral
from moodmesh.mesh.ble.central import Central
from moodmesh.mesh.ble.frames import Framed
from moodmesh.mesh.ble.lane import Lane
from moodmesh.mesh.ble.lanes import Lanes
from moodmesh.mesh.ble.radio import Heard, Hooks
from moodmesh.mesh.ble.systembus import ADAPTER, PROPERTIES, connected
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.seams import Unavailable

SIZE = 50_000
ECHO = 3
RADIOS = {port: Path(f"/run/radio-{port.name}.pid") for port in Path("/dev").glob("vport*")}


def up(*said: object) -> None:
    print(f"[{time.monotonic():.2f}]", *said, flush=True)


class Device:
    """Both sides of one adapter. Whoever opens a stream to it hears back what it sends."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.peripheral, self.central = BluezPeripheral(adapter.name), Central(adapter.name)
        self.lanes = Lanes(self.peripheral.notify, self._accept, SystemClock())
        self.gone: asyncio.Queue[str] = asyncio.Queue()
        self.heard: dict[str, bytes] = {}
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        hooks = Hooks(self.lanes.written, self._gone)
        async with self.peripheral.open(hooks), self.central.scanning(self._heard):
            yield

    async def hears(self, other: Device, data: bytes, within_s: float = 15) -> float:
        """How long it took until another's data was heard."""
        began = time.monotonic()
        async with asyncio.timeout(within_s), self._news:
            await self._news.wait_for(lambda: self.heard.get(other.adapter.address) == data)
        return time.monotonic() - began

    def _gone(self, device: str) -> None:
        self.lanes.gone(device)
        self.gone.put_nowait(device)

    def _heard(self, heard: Heard) -> None:
        self.heard[heard.address] = heard.data
        self._spawn(self._note())

    async def _note(self) -> None:
        async with self._news:
            self._news.notify_all()

    def _accept(self, device: str, port: int, sock: socket.socket) -> bool:
        if port == ECHO:
            self._spawn(self._echo(sock))
        return port == ECHO

    async def _echo(self, sock: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=sock)
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        writer.close()

    def _spawn(self, work: object) -> None:
        task = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def until(what: Callable[[tuple[Adapter, ...]], bool], within_s: float = 20) -> tuple[Adapter, ...]:
    """Wait until the adapters are so: all of them."""
    async with asyncio.timeout(within_s):
        while True:
            known: tuple[Adapter, ...] = ()
            with contextlib.suppress(Unavailable):
                known = await adapters()
            if what(known):
                up(*known)
                return known
            await asyncio.sleep(0.1)


def all_on(known: tuple[Adapter, ...]) -> bool:
    return len(known) == 3 and all(adapter.powered and adapter.peripheral for adapter in known)


@pytest.fixture
async def devices() -> list[Device]:
    """Three, all of them powered (which bluetoothd does by itself)."""
    return [Device(adapter) for adapter in await until(all_on, 30)]


async def echoed(device: Device, other: Device, size: int) -> float:
    """Bytes there and back through a stream, which must come as they went; seconds."""
    began = time.monotonic()
    sock = await device.central.stream(other.adapter.address, ECHO)
    up(device.adapter.name, "->", other.adapter.name, f"stream open after {time.monotonic() - began:.2f} s")
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(sock=sock)
    data = os.urandom(size)
    writer.write(data)
    back = bytearray()
    try:
        async with asyncio.timeout(30):
            while len(back) < size:
                back += await reader.read(4096)
    except TimeoutError:
        held = [held.lane for held in other.lanes._held.values()] + [lane for _, lane in device.central._lanes.values()]
        up(f"{len(back)} of {size} bytes came back", *({k: str(v)[:300] for k, v in vars(lane).items()} for lane in held))
        up(*({k: str(v) for k, v in vars(s).items()} for lane in held for s in lane._streams.values()))
        writer.close()
        raise
    assert back == data
    writer.close()
    return time.monotonic() - began


@pytest.fixture
def out_of_turn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How far from its turn each frame came that did."""
    received, found = Lane.received, list[int]()

    def counted(lane: Lane, frame: Framed) -> None:
        if ahead := (frame.seq - lane._heard) % 256:
            found.append(ahead)
        received(lane, frame)

    ended = Lane.close

    def told(lane: Lane, why: str) -> None:
        if lane.why is None:
            up("a lane ends:", why, "sent", lane._sent, "heard", lane._heard, "early", sorted(lane._early))
        ended(lane, why)

    monkeypatch.setattr(Lane, "received", counted)
    monkeypatch.setattr(Lane, "close", told)
    return found


async def test_two_devices_see_each_other_and_talk(devices: list[Device], out_of_turn: list[int]) -> None:
    one, two, three = devices
    async with one.running(), two.running(), three.central.scanning(three._heard):
        await one.peripheral.advertise(b"one-------")
        await two.peripheral.advertise(b"two-------")
        up("seen after", [f"{await one.hears(two, b'two-------'):.2f}", f"{await two.hears(one, b'one-------'):.2f}"])
        for turn in range(3):
            data = b"two----%02d-" % turn
            await two.peripheral.advertise(data)
            up("in-place update seen after", f"{await one.hears(two, data):.2f}")
        took = await echoed(one, two, SIZE)
        up("frames before their turn:", len(out_of_turn), "at most ahead by", max(out_of_turn, default=0))
        up(f"{SIZE} bytes there and back in {took:.1f} s: {2 * SIZE / took / 1000:.1f} kB/s")
        await two.peripheral.advertise(b"two-inside")
        up("seen by a third while connected after", f"{await three.hears(two, b'two-inside'):.2f}")
        took = await echoed(two, one, 5000)
        up(f"and the other way 5000 bytes in {took:.1f} s")
        await two.peripheral.drop(one.adapter.address)
        async with asyncio.timeout(10):
            assert await two.gone.get() == one.adapter.address
        async with asyncio.timeout(10):
            while one.central._lanes:
                await asyncio.sleep(0.1)
        up("dropped")


async def test_a_device_that_was_dropped_comes_back(devices: list[Device]) -> None:
    one, two, _ = devices
    async with one.running(), two.running():
        await two.peripheral.advertise(b"two-------")
        await one.hears(two, b"two-------")
        await echoed(one, two, 1000)
        await two.peripheral.drop(one.adapter.address)
        async with asyncio.timeout(10):
            while one.central._lanes:
                await asyncio.sleep(0.1)
        took = await echoed(one, two, 1000)
        up(f"again: 1000 bytes in {took:.1f} s")


@asynccontextmanager
async def shown(device: Device) -> AsyncIterator[asyncio.Task[None]]:
    """A device that shows itself, in a task that ends as its block does."""
    opened = asyncio.Event()

    async def serve() -> None:
        async with device.peripheral.open(Hooks(device.lanes.written, device._gone)):
            await device.peripheral.advertise(b"0123456789")
            opened.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(serve())
    waiting = asyncio.create_task(opened.wait())
    await asyncio.wait((task, waiting), timeout=10, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            await task
        assert opened.is_set()
        yield task
    finally:
        task.cancel()
        waiting.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)


async def ending(block: asyncio.Task[None]) -> Unavailable:
    with pytest.raises(Unavailable) as why:
        async with asyncio.timeout(15):
            await asyncio.shield(block)
    up(why.value)
    return why.value


async def test_power_goes_and_comes_back(devices: list[Device]) -> None:
    """By the switch of a desktop, and as in airplane mode."""
    (rfkill,) = Path("/sys/class/bluetooth/hci0").glob("rfkill*/soft")
    for off, on, remedy in (
        (lambda: power(False), lambda: power(True), "bluetoothctl"),
        (lambda: asyncio.to_thread(rfkill.write_text, "1"), lambda: asyncio.to_thread(rfkill.write_text, "0"), "rfkill"),
    ):
        async with shown(devices[0]) as block:
            await off()
            assert remedy in (await ending(block)).remedy
        await until(lambda known: [adapter.powered for adapter in known] == [False, True, True])
        with pytest.raises(Unavailable, match="switched off"):
            async with shown(devices[0]):
                pass
        await on()
        if remedy == "rfkill":  # BlueZ 5.66 leaves it off when the block is lifted
            await power(True)
        await until(lambda known: len(known) == 3 and all(adapter.powered for adapter in known))
    async with shown(devices[0]):
        pass


async def test_adapters_are_pulled_and_plugged(devices: list[Device]) -> None:
    """Each ends with the process that passes on what it says."""
    async with shown(devices[0]) as block:
        for pid in RADIOS.values():
            os.kill(int(pid.read_text()), signal.SIGKILL)
        assert "not there" in (await ending(block)).reason
    await until(lambda known: known == ())
    for port, pid in RADIOS.items():
        radio = await asyncio.create_subprocess_exec(sys.executable, "/run/guest/radio.py", str(port))
        pid.write_text(str(radio.pid))
    await until(all_on)
    async with shown(devices[0]):
        pass


async def test_the_service_restarts(devices: list[Device]) -> None:
    pid = Path("/run/bluetoothd.pid")
    async with shown(devices[0]) as block:
        os.kill(int(pid.read_text()), signal.SIGTERM)
        assert "not running" in (await ending(block)).reason
    with pytest.raises(Unavailable, match="not running"):
        await adapters()
    service = await asyncio.create_subprocess_exec("bluetoothd", "-n")
    pid.write_text(str(service.pid))
    await until(all_on)
    async with shown(devices[0]):
        pass


async def power(on: bool) -> None:
    """What the switch of a desktop does, which BlueZ may refuse while it is busy."""
    async with asyncio.timeout(15), connected(lambda message: None) as bus:
        while True:
            try:
                return await bus.call("/org/bluez/hci0", PROPERTIES, "Set", "ssv", ADAPTER, "Powered", Variant("b", on))
            except Unavailable as why:
                if "busy" not in why.reason:
                    raise
                await asyncio.sleep(0.5)
