"""Long frames in pieces over a pipe behind a radio: a heartbeat must not wait for a megabyte at ten kilobytes a second."""

from __future__ import annotations

import asyncio

from .errors import BadMessage
from .frames import CHUNK_BYTES, CHUNK_HEAD, Frame
from .pipe import CLOSED, Pipe
from .seams import DeviceId

PIECE = 4096
_MORE, _LAST = b"\x01", b"\x00"


class Pieces:
    """A `Pipe` over another one, both ends of which are such: a binary frame crosses in pieces, text frames between them."""

    def __init__(self, pipe: Pipe) -> None:
        self.peer: DeviceId = pipe.peer
        self.host = pipe.host
        self._pipe, self._turn, self._came = pipe, asyncio.Lock(), bytearray()

    async def send(self, frame: Frame) -> None:
        """Send one frame; `PipeClosed`."""
        if not frame.binary:
            await self._pipe.send(frame)
            return
        async with self._turn:
            for start in range(0, len(frame.data), PIECE):
                mark = _MORE if start + PIECE < len(frame.data) else _LAST
                await self._pipe.send(Frame(True, mark + frame.data[start : start + PIECE]))

    async def receive(self) -> Frame:
        """The next whole frame; `PipeClosed`, `BadMessage`."""
        while True:
            frame = await self._pipe.receive()
            if not frame.binary:
                return frame
            self._came += frame.data[1:]
            if frame.data[:1] not in (_MORE, _LAST) or len(self._came) > CHUNK_HEAD + CHUNK_BYTES:
                raise BadMessage("a piece of no chunk")
            if frame.data[:1] == _LAST:
                whole, self._came = bytes(self._came), bytearray()
                return Frame(True, whole)

    async def close(self, code: int = CLOSED, reason: str = "") -> None:
        """Close within half a second (idempotent)."""
        await self._pipe.close(code, reason)
