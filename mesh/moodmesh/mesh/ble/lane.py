"""Streams of bytes over one line of frames to one device: numbered, bounded by credit, each bridged to a socket pair.

Whoever holds the other end of the pair speaks TLS through it as through any connection; nothing here is trusted or secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from .frames import DATA_HEAD, Framed, Kind, credit

WINDOW = 4096
"""Bytes of a stream that may be on their way, or wait at the far end."""
STREAMS, HALF = 8, 128
"""Streams at once; whose number is below 128 was opened by the central, any other by the peripheral."""
EARLY, GAP_S = 64, 5.0
"""Frames that may come before their turn, and how long the missing one may take."""
_KERNEL = 4096  # what waits in a socket is late: a heartbeat comes after it
_LATE = 8 * STREAMS  # frames that wait to be sent: an honest far end never makes us say so much


class LaneClosed(ConnectionError):
    """The lane is gone."""


class _Stream:
    """One end of a stream: our end of its socket pair, what may be sent, what came and was not yet taken."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock: socket.socket | None = sock  # until the task has it
        self.task: asyncio.Task[None] | None = None
        self.credit = WINDOW
        self.more = asyncio.Event()
        self.came = bytearray()
        self.ended = False
        self.news = asyncio.Event()
        self.waiting = 0

    def cancel(self) -> None:
        """End it; a task that has not begun would never close its socket."""
        if self.task is not None:
            self.task.cancel()
        if self.sock is not None:
            self.sock.close()


class Lane:
    """One end of a lane once it is greeted. `send` passes one frame on; `most`: bytes of a frame that both ends take.

    `accept` gets the socket of a stream that the far end opens, and the port it names; it says whether there is a listener.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        most: int,
        accept: Callable[[int, socket.socket], bool] = lambda port, sock: False,
        closed: Callable[[str], None] = lambda why: None,
        central: bool = True,
    ) -> None:
        self._first = 0 if central else HALF
        self._send, self._most, self._accept, self._on_closed = send, most, accept, closed
        self._streams: dict[int, _Stream] = {}
        self._turn = asyncio.Lock()
        self._sent = self._heard = self._last = 0
        self._early: dict[int, Framed] = {}
        self._gap: asyncio.TimerHandle | None = None
        self._late: set[asyncio.Task[str | None]] = set()
        self.why: str | None = None

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._streams)

    @property
    def heard(self) -> bool:
        """Whether the far end has said something: it knows by then that the lane is there."""
        return self._heard > 0

    async def open(self, port: int) -> socket.socket:
        """A new stream to a listener of the far end: our end of it; `LaneClosed`."""
        if self.why is not None:
            raise LaneClosed(self.why)
        if self.streams >= STREAMS:
            raise LaneClosed("too many streams to that device at once")
        turn = (self._first + (self._last + 1 + step) % HALF for step in range(HALF))
        number = self._last = next(number for number in turn if number not in self._streams)
        ours, theirs = _pair()
        stream = self._streams[number] = _Stream(theirs)
        try:
            await self._frame(Kind.OPEN, number, bytes((port,)))
        except BaseException:
            stream.cancel()
            ours.close()
            self._forget(number)
            raise
        stream.task = asyncio.get_running_loop().create_task(self._serve(number, stream))
        return ours

    def received(self, frame: Framed | None) -> None:
        """What the far end sent; a frame that was lost, doubled or cut short, or is beyond its credit, ends the lane.

        BlueZ spreads the frames over the channels that two devices share (EATT), so that a few come before their turn.
        """
        if self.why is not None:
            return None
        if frame is None:
            return self.close("a frame was cut short on the way")
        if (frame.seq - self._heard) % 256 >= EARLY or frame.seq in self._early:
            return self.close("a frame was lost or doubled on the way")
        self._early[frame.seq], heard = frame, self._heard
        while (due := self._early.pop(self._heard % 256, None)) is not None and self.why is None:
            self._heard += 1
            self._take(due)
        if self._gap is not None and (heard != self._heard or self.why is not None):
            self._gap.cancel()
            self._gap = None
        if self._early and self._gap is None and self.why is None:
            lost = "a frame was lost on the way"
            self._gap = asyncio.get_running_loop().call_later(GAP_S, self.close, lost)
        return None

    def _take(self, frame: Framed) -> None:
        stream = self._streams.get(frame.stream)
        match frame.kind:
            case Kind.OPEN:
                self._opened(frame, stream)
            case Kind.DATA if stream is not None and not stream.ended:
                stream.waiting += len(frame.body)
                if stream.waiting > WINDOW:
                    return self.close("the far end sent more than it may")
                stream.came += frame.body
                stream.news.set()
            case Kind.CREDIT if stream is not None:
                stream.credit += frame.amount
                if stream.credit > WINDOW:
                    return self.close("the far end gave more credit than it has")
                stream.more.set()
            case Kind.CLOSE if stream is not None:
                stream.ended = True
                stream.news.set()
        return None

    def close(self, why: str) -> None:
        """End every stream (idempotent)."""
        if self.why is None:
            self.why = why
            if self._gap is not None:
                self._gap.cancel()
            for stream in self._streams.values():
                stream.cancel()
            self._streams.clear()
            self._on_closed(why)

    def _opened(self, frame: Framed, stream: _Stream | None) -> None:
        if stream is not None or self._first <= frame.stream < self._first + HALF:
            return self.close("a stream was opened twice, or with a number of this end")
        if self.streams >= STREAMS:
            self._note(Kind.CLOSE, frame.stream)
            return None
        ours, theirs = _pair()
        if not self._accept(frame.body[0], ours):
            ours.close()
            theirs.close()
            self._note(Kind.CLOSE, frame.stream)
            return None
        stream = self._streams[frame.stream] = _Stream(theirs)
        stream.task = asyncio.get_running_loop().create_task(self._serve(frame.stream, stream))
        return None

    async def _serve(self, number: int, stream: _Stream) -> None:
        """Both directions of one stream, until either end closes it."""
        sock, stream.sock = stream.sock, None
        reader, writer = await asyncio.open_connection(sock=sock, limit=self._most)
        writer.transport.set_write_buffer_limits(high=0)
        outward = asyncio.create_task(self._outward(number, stream, reader))
        inward = asyncio.create_task(self._inward(number, stream, writer))
        try:
            await asyncio.wait((outward, inward), return_when=asyncio.FIRST_COMPLETED)
        finally:
            outward.cancel()
            inward.cancel()
            writer.close()
            self._forget(number)
            await asyncio.gather(outward, inward, return_exceptions=True)

    def _forget(self, number: int) -> None:
        if self.why is None:
            del self._streams[number]
            self._note(Kind.CLOSE, number)

    async def _outward(self, number: int, stream: _Stream, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(LaneClosed, OSError):
            while True:
                while stream.credit == 0:
                    stream.more.clear()
                    await stream.more.wait()
                data = await reader.read(min(self._most - DATA_HEAD, stream.credit))
                if not data:
                    return
                stream.credit -= len(data)
                await self._frame(Kind.DATA, number, data)

    async def _inward(self, number: int, stream: _Stream, writer: asyncio.StreamWriter) -> None:
        taken = 0
        with contextlib.suppress(LaneClosed, OSError):
            while stream.came or not stream.ended:
                await stream.news.wait()
                stream.news.clear()
                data = bytes(stream.came)
                stream.came.clear()
                writer.write(data)
                await writer.drain()
                taken += len(data)
                if taken >= WINDOW // 2:
                    stream.waiting -= taken
                    await self._frame(Kind.CREDIT, number, credit(taken))
                    taken = 0

    async def _frame(self, kind: Kind, number: int, body: bytes = b"") -> None:
        """Send one; it goes out also when whoever waits here is cancelled: the next one has the next number."""
        if (why := await asyncio.shield(self._note(kind, number, body))) is not None:
            raise LaneClosed(why)

    def _note(self, kind: Kind, number: int, body: bytes = b"") -> asyncio.Task[str | None]:
        """Send a frame in its turn; the task ends with why the lane is closed, if it is."""
        task = asyncio.get_running_loop().create_task(self._pass(kind, number, body))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        if len(self._late) > _LATE:
            self.close("the far end asks for more than it reads")
        return task

    async def _pass(self, kind: Kind, number: int, body: bytes) -> str | None:
        async with self._turn:
            if self.why is None:
                seq, self._sent = self._sent % 256, self._sent + 1
                try:
                    await self._send(Framed(kind, seq, number, body).encode())
                except OSError as error:
                    self.close(str(error) or "the radio lost the device")
            return self.why


def _pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets that hold little."""
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _KERNEL)
    return pair
