"""The side that looks and connects: one scanner for the life of the radio, and one lane to each device (bleak)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.exc import BleakError

from .frames import LARGEST, NONCE, SMALLEST, Greeting, Kind, decode
from .lane import Lane, LaneClosed
from .payload import SERVICE
from .presence import STALE_S
from .radio import LANE_UUIDS, Heard
from .turns import Turns

log = logging.getLogger(__name__)

CONNECT_S, LONGEST_S = 10.0, 20.0
"""How long a connection may take, and how long after one that came to nothing."""
TRIES = 3
"""Connections fail now and then; BlueZ 5.66 also takes one for lost that was there before the kernel had told it so."""
GREETING_S, LOOK_S = 5.0, 0.1
GONE_S = 6.0
"""How long a hang-up is waited for; BlueZ may take none that comes while it ends something else."""
IDLE_S = 10.0
"""A connection without a stream is kept so long: the next stream would pay for a new one."""
KNOWN = 256
"""Devices that may be connected to: of more, those heard last."""


@dataclass
class _Device:
    """One that was heard: how often in a row it did not answer, and when it was heard last."""

    device: BLEDevice
    at: float = 0.0
    silent: int = 0


class _Came(LaneClosed):
    """The device connected to us while we connected to it."""


class _Unsteady(LaneClosed):
    """A connection that broke while it was made: the next may hold."""


@dataclass
class _Held:
    client: BleakClient
    lane: Lane
    watch: asyncio.Task[None]


class Central:
    """One adapter as central. `scanner` and `client` replace bleak's backends for a platform.

    `theirs(device)`: the lane that it has to us, which carries our streams as well. BlueZ has one connection for both, lets one
    of two hang that connect to each other at once, and cuts for both what either hangs up. `accept`: as of `Lane`, for
    streams that a device opens over a lane of ours.
    """

    def __init__(
        self,
        adapter: str,
        scanner: type[BaseBleakScanner] | None = None,
        client: type[BaseBleakClient] | None = None,
        theirs: Callable[[str], Lane | None] = lambda device: None,
        accept: Callable[[str, int, socket.socket], bool] = lambda device, port, sock: False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._adapter, self._scanner, self._client = adapter, scanner, client
        self.theirs, self.accept, self._now = theirs, accept, now
        self._devices: dict[str, _Device] = {}
        self._lanes: dict[str, _Held] = {}
        self._connecting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._turns = Turns()  # BlueZ fails two connects of an adapter at once
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: dict[str, asyncio.Task[None]] = {}

    @contextlib.asynccontextmanager
    async def scanning(self, heard: Callable[[Heard], None]) -> AsyncIterator[None]:
        """Pass on every advertisement with our service data until the block ends; OSError when there is no radio."""

        def detected(device: BLEDevice, shown: AdvertisementData) -> None:
            if (data := shown.service_data.get(SERVICE)) is not None:
                known = self._devices[device.address] = self._devices.pop(device.address, _Device(device))
                known.device, known.at = device, self._now()
                if len(self._devices) > KNOWN:
                    del self._devices[next(iter(self._devices))]
                heard(Heard(device.address, bytes(data), float(shown.rssi)))

        bluez: Any = {"adapter": self._adapter, "filters": {"DuplicateData": True}}
        scanner = BleakScanner(detected, bluez=bluez, backend=self._scanner)
        try:
            await scanner.start()
        except (BleakError, EOFError) as error:
            raise OSError(str(error) or "the D-Bus system bus is gone") from error
        try:
            yield
        finally:
            with contextlib.suppress(BleakError, OSError, EOFError):
                await scanner.stop()
            await self._close()
            self._devices.clear()

    async def stream(self, address: str, port: int) -> socket.socket:
        """A stream to a listener of a device: our end of it. OSError says why there is none."""
        async with self._connecting.setdefault(address, asyncio.Lock()):
            held = self._lanes.get(address)
            lane = held.lane if held is not None else self.theirs(address) or await self._connect(address)
            return await lane.open(port)

    async def connect(self, address: str) -> BleakClient:
        """A bare connection to a device; whoever asks for it ends it. `LaneClosed`, also when the device comes to us first."""
        known = self._devices.get(address)
        if known is None or self._now() - known.at > STALE_S:
            raise LaneClosed("that device is not in range of Bluetooth now")
        client = BleakClient(
            known.device,
            lambda gone: self._lost(address, gone),
            services=[SERVICE],
            timeout=math.inf,  # it would hang up
            bluez={"adapter": self._adapter},
            backend=self._client,
        )
        limit = LONGEST_S if known.silent else CONNECT_S
        await self._ended_before(address)
        async with self._or_none(address, client), self._turns.take(known.silent):
            try:
                await self._made(address, client, limit)
            except TimeoutError:
                known.silent += 1
                raise
        known.silent = 0
        return client

    async def _made(self, address: str, client: BleakClient, limit: float) -> None:
        """Connect, unless the device comes to us meanwhile: then the attempt is left to itself, for giving it up would hang up
        on both; `_Came`, TimeoutError."""
        if self.theirs(address) is not None:
            raise _Came
        connecting = asyncio.ensure_future(client.connect())
        end = time.monotonic() + limit
        try:
            while not connecting.done():
                if self.theirs(address) is not None:
                    self._spawn(self._left(address, connecting))
                    raise _Came
                if time.monotonic() > end:
                    raise TimeoutError
                await asyncio.wait({connecting}, timeout=LOOK_S)
            await connecting
        except _Came:
            raise
        except BaseException:
            await _given_up(connecting)
            raise

    async def _left(self, address: str, connecting: asyncio.Future[None]) -> None:
        """Until the lane of the device is gone, and with it the connection."""
        while self.theirs(address) is not None and not connecting.done():
            await asyncio.wait({connecting}, timeout=LOOK_S)
        await _given_up(connecting)

    async def hang_up(self, address: str) -> None:
        """End the lane to a device, and its streams, if there is one, and wait for the end of the connection."""
        if (held := self._lanes.get(address)) is not None:
            held.lane.close("no longer needed")
        await self._ended_before(address)

    async def _ended_before(self, address: str) -> None:
        """BlueZ would take the old connection for the new one, and then cut it."""
        if (ending := self._ending.get(address)) is not None:
            await asyncio.wait({ending})

    async def _connect(self, address: str) -> Lane:
        for tries in range(TRIES, 0, -1):
            try:
                return await self._once(address)
            except _Came:
                if (lane := self.theirs(address)) is not None:
                    return lane
            except _Unsteady:
                if tries == 1:
                    raise
        raise LaneClosed("it came, and was gone again")

    async def _once(self, address: str) -> Lane:
        client = await self.connect(address)
        async with self._or_none(address, client):
            lane = await self._greet(address, client)
            if lane.why is not None:
                raise LaneClosed(lane.why)
        self._lanes[address] = _Held(client, lane, self._spawn(self._until_idle(address, lane)))
        return lane

    @contextlib.asynccontextmanager
    async def _or_none(self, address: str, client: BleakClient) -> AsyncIterator[None]:
        """Hang up when the block fails."""
        try:
            yield
        except TimeoutError as error:
            await self._let_go(address, client)
            raise LaneClosed("the device did not answer over Bluetooth") from error
        except (BleakError, EOFError) as error:
            await self._let_go(address, client)
            raise _Unsteady(str(error) or "the connection broke") from error
        except _Came:
            raise
        except BaseException:
            await self._let_go(address, client)
            raise

    async def _greet(self, address: str, client: BleakClient) -> Lane:
        """The first free lane, tried in an order of chance."""
        found = {c.uuid: c for service in client.services for c in service.characteristics if service.uuid == SERVICE}
        lanes = [found[uuid] for uuid in LANE_UUIDS if uuid in found]
        random.shuffle(lanes)
        for lane in lanes:
            if (greeted := await self._try(address, client, lane)) is not None:
                return greeted
        raise LaneClosed("all its lanes are taken: try again in a while" if lanes else "that device takes no connections")

    async def _try(self, address: str, client: BleakClient, characteristic: BleakGATTCharacteristic) -> Lane | None:
        nonce = os.urandom(NONCE)
        answer: asyncio.Future[Greeting] = asyncio.get_running_loop().create_future()
        lane: Lane | None = None

        def notified(_: BleakGATTCharacteristic, value: bytearray) -> None:
            frame = decode(bytes(value))
            if isinstance(frame, Greeting):
                if frame.nonce == nonce and frame.kind is not Kind.HELLO and not answer.done():
                    answer.set_result(frame)
            elif lane is not None:
                lane.received(frame)

        async def send(frame: bytes) -> None:
            try:
                await client.write_gatt_char(characteristic, frame, response=False)
            except (BleakError, EOFError) as error:
                raise LaneClosed(str(error)) from error

        most = max(SMALLEST, min(LARGEST, characteristic.max_write_without_response_size))
        # By D-Bus: of sockets (AcquireNotify) BlueZ before 5.87 may crash when their owner ends, or a connection as it begins.
        await client.start_notify(characteristic, notified)
        await send(Greeting(Kind.HELLO, nonce, most).encode())
        async with asyncio.timeout(GREETING_S):
            greeting = await answer
        if greeting.kind is Kind.BUSY:
            await client.stop_notify(characteristic)
            return None
        lane = Lane(
            send,
            min(most, greeting.most),
            lambda port, sock: self.accept(address, port, sock),
            lambda why: self._ended(address, client, characteristic, why),
        )
        return lane

    async def _until_idle(self, address: str, lane: Lane) -> None:
        idle = 0
        while idle < IDLE_S:
            await asyncio.sleep(1)
            idle = 0 if lane.streams else idle + 1
        lane.close("nothing was said for a while")

    def _lost(self, address: str, client: BleakClient) -> None:
        if (held := self._lanes.get(address)) is not None and held.client is client:
            held.lane.close("the device is out of reach of Bluetooth")

    def _ended(self, address: str, client: BleakClient, characteristic: BleakGATTCharacteristic, why: str) -> None:
        if (held := self._lanes.get(address)) is not None and held.client is client:
            held.watch.cancel()
            del self._lanes[address]
        log.info("a connection that this device made by Bluetooth ended: %s", why)
        ending = self._ending[address] = self._spawn(self._let_go(address, client, characteristic))
        ending.add_done_callback(lambda _: self._ending.pop(address) if self._ending.get(address) is ending else None)

    async def _let_go(self, address: str, client: BleakClient, lane: BleakGATTCharacteristic | None = None) -> None:
        """Hang up, but not from under streams that the device has to us: then listen no more on a lane, for it may be another's
        soon."""
        theirs = self.theirs(address)
        with contextlib.suppress(BleakError, OSError, EOFError, TimeoutError):
            async with asyncio.timeout(GONE_S):
                if theirs is None or theirs.streams == 0:
                    await client.disconnect()
                elif lane is not None:
                    await client.stop_notify(lane)

    async def _close(self) -> None:
        for held in list(self._lanes.values()):
            held.lane.close("Bluetooth was switched off")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _given_up(connecting: asyncio.Future[None]) -> None:
    """Cancel an attempt, and wait while it hangs up."""
    connecting.cancel()
    connecting.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait({connecting}, timeout=GONE_S)
