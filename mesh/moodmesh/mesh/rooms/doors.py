"""The open listener: where devices that were never paired meet as members of a room (pairing §3).

A new port, key and certificate each epoch. Nobody is known by it, and nothing is believed for where it came from.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import ClientError, ClientSession, DummyCookieJar, web

from moodmesh.mesh.acceptor import Acceptor, settle
from moodmesh.mesh.address import Address
from moodmesh.mesh.admission import Admission, Limits
from moodmesh.mesh.binding import EVERYWHERE
from moodmesh.mesh.certificates import epoch_credential
from moodmesh.mesh.clock import Clock
from moodmesh.mesh.errors import DialFailed
from moodmesh.mesh.frames import Frame
from moodmesh.mesh.pipe import WebSocketPipe, adopt, dial
from moodmesh.mesh.reach import ROOM, by_radio, connector, patience
from moodmesh.mesh.rid import EPOCH_S
from moodmesh.mesh.seams import DeviceId, LinkClosed
from moodmesh.mesh.tls import blind_context, window_context

from .wire import Malformed

PATH, LIST_PATH = "/room", "/rooms"
MOST_LISTED, LIST_BYTES = 20, 64 * 1024
STRANGERS = 256
"""Connections that have named no room yet, at a time."""
LARGEST = 1 << 20
"""Bytes of a message: the largest batch of a room of 1000 has less."""
UNREAD = 4 << 20
SILENCE_S = EPOCH_S + 60
NOBODY = DeviceId("")


class PipePlace:
    """A `Place` over a WebSocket: what is posted is written by a task of its own, so that one slow reader holds up nobody."""

    def __init__(self, pipe: WebSocketPipe, known: Callable[[], None] = lambda: None) -> None:
        """`known`: called once the other end has named a room that is held here; until then it counts as a stranger."""
        self._pipe, self.known, self.host = pipe, known, pipe.host
        self.slow = by_radio(pipe.host)
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0
        self._writer = asyncio.get_running_loop().create_task(self._write())

    def post(self, data: bytes) -> None:
        """Dropped, and the way closed, when the other end leaves 4 MiB unread."""
        self._waiting += len(data)
        self._queue.put_nowait(data if self._waiting <= UNREAD else None)

    async def receive(self) -> bytes:
        """`LinkClosed` after the last."""
        frame = await self._pipe.receive()
        if not frame.binary:
            self.close()
            raise LinkClosed("text where a room speaks bytes")
        return frame.data

    def close(self) -> None:
        """After what was posted."""
        self._queue.put_nowait(None)

    def address(self, door: bytes) -> bytes:
        """The port it named, at the host it came from."""
        if len(door) != 2:
            raise Malformed("a port has two bytes")
        return door + self._pipe.host.encode("ascii", "replace")[:62]

    async def _write(self) -> None:
        try:
            while (data := await self._queue.get()) is not None:
                await self._pipe.send(Frame(True, data))
                self._waiting -= len(data)
        except LinkClosed:
            pass
        finally:
            await self._pipe.close()


class Doors:
    """The open listener of one device in one epoch. `serve` gets whoever comes; `listing`: the open rooms, for whoever asks."""

    def __init__(
        self, rid: bytes, serve: Callable[[PipePlace], Awaitable[None]], listing: Callable[[], list[str]], clock: Clock
    ) -> None:
        self.rid, self._serve, self._listing = rid, serve, listing
        app = web.Application()
        app.router.add_get(PATH, self._room)
        app.router.add_get(LIST_PATH, self._list)
        context = window_context(epoch_credential(rid))
        self._acceptor = Acceptor(app, lambda: context, Admission(Limits(total=STRANGERS)), clock)

    async def open(self, hosts: Sequence[str] = EVERYWHERE) -> int:
        """Listen; the port, which the system chooses."""
        return await self._acceptor.start(0, hosts)

    def adopt(self, sock: socket.socket, host: str) -> None:
        """Serve whoever came another way than over TCP."""
        self._acceptor.adopt(sock, host)

    async def close(self) -> None:
        """End every connection."""
        await self._acceptor.close()

    async def _list(self, request: web.Request) -> web.Response:
        settle(request)
        return web.json_response(self._listing()[:MOST_LISTED])

    async def _room(self, request: web.Request) -> web.StreamResponse:
        async def serve(pipe: WebSocketPipe) -> None:
            await self._serve(PipePlace(pipe, lambda: settle(request)))

        return await adopt(request, NOBODY, LARGEST, serve, SILENCE_S)


async def enter(address: bytes) -> PipePlace:
    """A way to the open listener at an address as `PipePlace.address` tells it; `LinkClosed`."""
    port, host = int.from_bytes(address[:2], "little"), address[2:].decode("ascii", "replace")
    try:
        if by_radio(host):
            port = ROOM
        else:
            ipaddress.ip_address(host)
        pipe = await dial(NOBODY, (host, port), "room.moodmesh.invalid", PATH, blind_context(), LARGEST, SILENCE_S)
    except (ValueError, DialFailed) as error:
        raise LinkClosed(str(error)) from None
    return PipePlace(pipe)


async def ask(address: Address) -> list[str]:
    """What the open listener at an address says of open rooms: texts, unchecked; empty when it says nothing in time."""
    try:
        async with (
            asyncio.timeout(patience(address[0])),
            ClientSession(connector=await connector(address, blind_context()), cookie_jar=DummyCookieJar()) as session,
            session.get(f"https://room.moodmesh.invalid:{address[1]}{LIST_PATH}", allow_redirects=False) as response,
        ):
            found = json.loads(await response.content.read(LIST_BYTES))
    except (ClientError, OSError, TimeoutError, ValueError, RecursionError):
        return []
    return [text for text in found[:MOST_LISTED] if isinstance(text, str)] if isinstance(found, list) else []
