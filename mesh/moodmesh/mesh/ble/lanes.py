"""The side that is connected to: a few lanes, each held by one device at a time, whoever else listens in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from moodmesh.mesh.clock import Clock

from .frames import LARGEST, SMALLEST, Greeting, Kind, decode
from .lane import Lane

log = logging.getLogger(__name__)

LANES = 12
"""A room of ten, and whoever else is linked; how many connections there can be is for the adapter to say."""
IDLE_S = 20.0
"""A lane without a stream is anybody's after so long."""
_LATE = 4 * LANES  # answers that wait to be sent


@dataclass
class _Held:
    device: str
    lane: Lane
    used: float


class Lanes:
    """Who holds which lane. `notify(lane, frame)` sends on one; `accept(device, port, socket)` gets each opened stream."""

    def __init__(
        self,
        notify: Callable[[int, bytes], Awaitable[None]],
        accept: Callable[[str, int, socket.socket], bool],
        clock: Clock,
        most: int = LARGEST,
        drop: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """`drop`: disconnects a device; called when it broke the rules of its lane, or cannot be reached on it."""
        self._notify, self._accept, self._clock, self._most, self._drop = notify, accept, clock, most, drop
        self._held: dict[int, _Held] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._drops: dict[str, asyncio.Task[None]] = {}

    def written(self, number: int, device: str, value: bytes) -> None:
        """A device wrote to a lane; what is not from its holder is dropped."""
        frame = decode(value)
        if isinstance(frame, Greeting):
            if frame.kind is Kind.HELLO:
                self._greeted(number, device, frame)
        elif (held := self._held.get(number)) is not None and held.device == device:
            held.lane.received(frame)
            if held.lane.streams:
                held.used = self._clock.now()

    def gone(self, device: str) -> None:
        """A device is no longer connected."""
        for number, held in list(self._held.items()):
            if held.device == device:
                self._free(number, "the device is out of reach")

    def lane(self, device: str) -> Lane | None:
        """The one that a device holds, once it speaks on it: what came with the welcome, or before it, it would not hear."""
        return next((held.lane for held in self._held.values() if held.device == device and held.lane.heard), None)

    def close(self) -> None:
        """Free every lane."""
        for number in list(self._held):
            self._free(number, "Bluetooth was switched off")

    def _greeted(self, number: int, device: str, hello: Greeting) -> None:
        held = self._held.get(number)
        if held is not None and held.device != device and not self._idle(held):
            return self._answer(number, Greeting(Kind.BUSY, hello.nonce))
        self.gone(device)  # it begins anew
        self._free(number, "another device took the lane")
        most = max(SMALLEST, min(hello.most, self._most))

        async def send(frame: bytes) -> None:
            if (now := self._held.get(number)) is not None and now.lane is lane:
                now.used = self._clock.now()  # it may be we who end its last stream, after a long silence of its holder
            await self._notify(number, frame)

        def accept(port: int, sock: socket.socket) -> bool:
            return self._accept(device, port, sock)

        lane = Lane(send, most, accept, lambda why: self._ended(number, lane, why), central=False)
        self._held[number] = _Held(device, lane, self._clock.now())
        return self._answer(number, Greeting(Kind.WELCOME, hello.nonce, most))

    def _idle(self, held: _Held) -> bool:
        return held.lane.streams == 0 and self._clock.now() - held.used > IDLE_S

    def _ended(self, number: int, lane: Lane, why: str) -> None:
        """By itself: its central would speak on into nothing."""
        log.info("a connection that another device made by Bluetooth ended: %s", why)
        if (held := self._held.get(number)) is not None and held.lane is lane:
            del self._held[number]
            if self._drop is not None and held.device not in self._drops:
                task = self._drops[held.device] = asyncio.ensure_future(_quietly(self._drop(held.device)))
                task.add_done_callback(lambda _: self._drops.pop(held.device, None))

    def _free(self, number: int, why: str) -> None:
        if (held := self._held.pop(number, None)) is not None:
            held.lane.close(why)

    def _answer(self, number: int, greeting: Greeting) -> None:
        if len(self._answers) >= _LATE:
            return  # it greets without end; whoever gets no answer tries again
        task = asyncio.get_running_loop().create_task(self._say(number, greeting))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _say(self, number: int, greeting: Greeting) -> None:
        try:
            await self._notify(number, greeting.encode())
        except OSError:
            self._free(number, "the radio lost the device")


async def _quietly(work: Awaitable[None]) -> None:
    with contextlib.suppress(OSError):
        await work
