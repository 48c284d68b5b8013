"""Long frames in pieces over a pipe behind a radio: a heartbeat must not wait for a megabyte at ten kilobytes a second."""

from __future__ import annotations

import asyncio

from .errors import BadMessage
from .frames import CHUNK_BYTES, CHUNK_HEAD, Frame
from .pipe import CLOSED, Pipe
from .seams import DeviceId

PIECE = 4096
_MORE, _TEXT = 1, 2


class Pieces:
    """A `Pipe` over another one, both ends of which are such: what is longer than a piece crosses in binary frames that begin
    with a mark, and short text between them: it overtakes what is longer and was sent before."""

    def __init__(self, pipe: Pipe) -> None:
        self.peer: DeviceId = pipe.peer
        self.host = pipe.host
        self._pipe, self._turn, self._came = pipe, asyncio.Lock(), bytearray()
        self.pieces = 0
        """How many came."""

    async def send(self, frame: Frame) -> None:
        """Send one frame, all of it also when the caller gives up: half a frame would spoil the next; `PipeClosed`."""
        if frame.binary or len(frame.data) > PIECE:
            task = asyncio.ensure_future(self._in_pieces(frame))
            task.add_done_callback(_noted)
            await asyncio.shield(task)
        else:
            await self._pipe.send(frame)

    async def _in_pieces(self, frame: Frame) -> None:
        async with self._turn:
            for start in range(0, len(frame.data), PIECE):
                mark = _MORE * (start + PIECE < len(frame.data)) | _TEXT * (not frame.binary)
                await self._pipe.send(Frame(True, bytes((mark,)) + frame.data[start : start + PIECE]))

    async def receive(self) -> Frame:
        """The next whole frame; `PipeClosed`, `BadMessage`."""
        while True:
            frame = await self._pipe.receive()
            if not frame.binary:
                return frame
            self._came += frame.data[1:]
            self.pieces += 1
            if frame.data[:1] not in (b"\x00", b"\x01", b"\x02", b"\x03") or len(self._came) > CHUNK_HEAD + CHUNK_BYTES:
                raise BadMessage("a piece of no frame")
            if not frame.data[0] & _MORE:
                whole, self._came = bytes(self._came), bytearray()
                return Frame(not frame.data[0] & _TEXT, whole)

    async def close(self, code: int = CLOSED, reason: str = "") -> None:
        """Close within half a second (idempotent)."""
        await self._pipe.close(code, reason)


def _noted(task: asyncio.Task[None]) -> None:
    """Whoever gave up does not ask why it failed, and nobody else needs to know."""
    if not task.cancelled():
        task.exception()
