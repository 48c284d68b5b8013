"""The side that looks and connects: one scanner for the life of the radio, and one lane to each device (bleak)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.exc import BleakError

from .frames import LARGEST, NONCE, SMALLEST, Framed, Greeting, Kind, decode
from .lane import Lane, LaneClosed
from .payload import SERVICE
from .radio import LANE_UUIDS, Heard

CONNECT_S = 20.0
TRIES = 3
"""Connections fail now and then; BlueZ 5.66 also takes one for lost that was there before the kernel had told it so."""
GREETING_S = 5.0
IDLE_S = 10.0
"""A connection without a stream is kept so long: the next stream would pay for a new one."""


class Central:
    """One adapter as central. `scanner` and `client` replace bleak's backends for a platform."""

    def __init__(
        self,
        adapter: str,
        scanner: type[BaseBleakScanner] | None = None,
        client: type[BaseBleakClient] | None = None,
    ) -> None:
        self._adapter, self._scanner, self._client = adapter, scanner, client
        self._devices: dict[str, BLEDevice] = {}
        self._lanes: dict[str, tuple[BleakClient, Lane]] = {}
        self._connecting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._one = asyncio.Lock()  # BlueZ fails two connects of an adapter at once
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def scanning(self, heard: Callable[[Heard], None]) -> AsyncIterator[None]:
        """Pass on every advertisement with our service data until the block ends; OSError when there is no radio."""

        def detected(device: BLEDevice, shown: AdvertisementData) -> None:
            if (data := shown.service_data.get(SERVICE)) is not None:
                self._devices[device.address] = device
                heard(Heard(device.address, bytes(data), float(shown.rssi)))

        bluez: Any = {"adapter": self._adapter, "filters": {"DuplicateData": True}}
        scanner = BleakScanner(detected, bluez=bluez, backend=self._scanner)
        try:
            await scanner.start()
        except BleakError as error:
            raise OSError(str(error)) from error
        try:
            yield
        finally:
            with contextlib.suppress(BleakError, OSError, EOFError):
                await scanner.stop()
            await self._close()
            self._devices.clear()

    async def stream(self, address: str, port: int) -> socket.socket:
        """A stream to a listener of a device: our end of it. OSError says why there is none."""
        async with self._connecting[address]:
            held = self._lanes.get(address)
            lane = held[1] if held is not None else await self._connect(address)
            return await lane.open(port)

    def connected(self) -> tuple[str, ...]:
        """The devices with a lane now."""
        return tuple(self._lanes)

    async def _connect(self, address: str) -> Lane:
        device = self._devices.get(address)
        if device is None:
            raise LaneClosed("that device is not in range of Bluetooth now")
        for left in reversed(range(TRIES)):
            client = self._client_of(address, device)
            try:
                async with self._one:
                    await client.connect()
                lane = await self._greet(address, client)
                break
            except LaneClosed:
                await self._disconnect(client)
                raise
            except (BleakError, TimeoutError, EOFError) as error:
                await self._disconnect(client)
                if not left or isinstance(error, TimeoutError):
                    raise LaneClosed(str(error) or "the device did not answer over Bluetooth") from error
            except BaseException:
                await self._disconnect(client)
                raise
        self._lanes[address] = client, lane
        self._spawn(self._until_idle(address, client, lane))
        return lane

    def _client_of(self, address: str, device: BLEDevice) -> BleakClient:
        return BleakClient(
            device,
            lambda _: self._lost(address),
            services=[SERVICE],
            timeout=CONNECT_S,
            bluez={"adapter": self._adapter},
            backend=self._client,
        )

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
            elif isinstance(frame, Framed) and lane is not None:
                lane.received(frame)

        async def send(frame: bytes) -> None:
            try:
                await client.write_gatt_char(characteristic, frame, response=False)
            except (BleakError, EOFError) as error:
                raise LaneClosed(str(error)) from error

        most = max(SMALLEST, min(LARGEST, characteristic.max_write_without_response_size))
        await client.start_notify(characteristic, notified)
        await send(Greeting(Kind.HELLO, nonce, most).encode())
        async with asyncio.timeout(GREETING_S):
            greeting = await answer
        if greeting.kind is Kind.BUSY:
            await client.stop_notify(characteristic)
            return None
        lane = Lane(send, min(most, greeting.most), closed=lambda why: self._ended(address, client))
        return lane

    async def _until_idle(self, address: str, client: BleakClient, lane: Lane) -> None:
        idle = 0
        while idle < IDLE_S and lane.why is None:
            await asyncio.sleep(1)
            idle = 0 if lane.streams else idle + 1
        if lane.why is None:
            lane.close("nothing was said for a while")

    def _lost(self, address: str) -> None:
        if (held := self._lanes.get(address)) is not None:
            held[1].close("the device is out of reach of Bluetooth")

    def _ended(self, address: str, client: BleakClient) -> None:
        if (held := self._lanes.get(address)) is not None and held[0] is client:
            del self._lanes[address]
        self._spawn(self._disconnect(client))

    async def _disconnect(self, client: BleakClient) -> None:
        with contextlib.suppress(BleakError, OSError, EOFError, TimeoutError):
            await client.disconnect()

    async def _close(self) -> None:
        for _, lane in list(self._lanes.values()):
            lane.close("Bluetooth was switched off")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
