"""Frames to and from one paired device: a WebSocket inside pinned TLS, one dialled connection each (pairing §3)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import (
    ClientConnectorCertificateError,
    ClientError,
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    ClientWSTimeout,
    DummyCookieJar,
    WSMsgType,
    web,
)

from .acceptor import came_from, settle
from .address import Address
from .certificates import device_id
from .errors import CertificateRefused, DialFailed, NotPaired
from .frames import Caps, Frame
from .pairs import Pair, Pairs
from .reach import by_radio, connector, patience
from .seams import DeviceId, LinkClosed
from .tls import PeerTls, abort, read_rid

PATH = "/link"
SILENCE_S = 30.0
CLOSE_S = 0.5
_LOOK_S = 0.01

CLOSED = 1000
STOPPED = 1001
LOST = 1006
BAD_MESSAGE = 4000
DUPLICATE_LINK = 4001
DUPLICATE_IDENTITY = 4002
INCOMPATIBLE = 4003
FORGOTTEN = 4004
_WORDS = {
    CLOSED: "it closed the link",
    STOPPED: "it stopped",
    LOST: "connection lost",
    DUPLICATE_LINK: "replaced by another link",
    DUPLICATE_IDENTITY: "its identity runs in two places",
    INCOMPATIBLE: "no common protocol version",
    FORGOTTEN: "it has forgotten this device",
}


class PipeClosed(LinkClosed):
    """The pipe is gone; `code` is the close code (1006: without one)."""

    def __init__(self, reason: str, code: int = LOST) -> None:
        super().__init__(reason)
        self.code = code


class Pipe(Protocol):
    """Ordered frames to a peer whose certificate was verified, before `welcome`. One task reads, any may send."""

    peer: DeviceId
    host: str

    async def send(self, frame: Frame) -> None:
        """Send, waiting while the pipe is full; `PipeClosed`."""

    async def receive(self) -> Frame:
        """The next frame; `PipeClosed`, also after 30 s without a whole one."""

    async def close(self, code: int = CLOSED, reason: str = "") -> None:
        """Close within half a second (idempotent)."""


class Dialler(Protocol):
    """How pipes are opened."""

    async def open(self, pair: Pair, address: Address, rid: bytes) -> Pipe:
        """Connect to a pair under its rid; `CertificateRefused`, `DialFailed`, `NotPaired`."""

    async def ask(self, address: Address) -> bytes | None:
        """The rid of whoever listens there, None when nobody says."""


class WebSocketPipe:
    """A `Pipe` over either end of an aiohttp WebSocket."""

    def __init__(
        self,
        peer: DeviceId,
        host: str,
        socket_: web.WebSocketResponse[bool] | ClientWebSocketResponse[bool],
        transport: asyncio.Transport,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.peer, self.host = peer, host
        self._socket, self._transport, self._silence_s = socket_, transport, silence_s
        self.closed, self._slow = asyncio.Event(), by_radio(host)
        self._ending = False
        self._why = PipeClosed("closed")
        self._sending = asyncio.Lock()  # aiohttp's senders share one future: one that gives up would cancel the others

    async def send(self, frame: Frame) -> None:
        """Send one frame; `PipeClosed`."""
        try:
            async with self._sending:
                if self._ending:
                    raise PipeClosed(str(self._why), self._why.code)
                await self._socket.send_frame(frame.data, WSMsgType.BINARY if frame.binary else WSMsgType.TEXT)
                if self._slow:
                    await self._written()
        except PipeClosed:
            raise
        except (ClientError, OSError) as error:
            self._why = PipeClosed(str(error) or _WORDS[LOST])
            self._gone()
            raise self._why from error

    async def _written(self) -> None:
        """What waits in a buffer would make the next message late."""
        while _unwritten(self._transport) > 0 and not self._transport.is_closing():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_LOOK_S)

    async def receive(self) -> Frame:
        """The next frame; anything but text and binary ends the pipe, so pings cannot stretch the silence."""
        try:
            message = await self._socket.receive(self._silence_s)
        except TimeoutError:
            self._why = PipeClosed(f"no whole message for {self._silence_s:.0f} s", BAD_MESSAGE)
            await self.close(BAD_MESSAGE, "silence")
            raise self._why from None
        except (ClientError, OSError, RuntimeError) as error:
            self._why = PipeClosed(str(error) or _WORDS[LOST])
            self._gone()
            raise self._why from error
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            return Frame(message.type is WSMsgType.BINARY, message.data)
        code = self._socket.close_code or LOST
        said = message.extra if message.type is WSMsgType.CLOSE else message.data
        self._why = PipeClosed(in_words(code, str(said or "")), code)
        await self.close(BAD_MESSAGE, "unexpected frame")
        raise self._why

    async def close(self, code: int = CLOSED, reason: str = "") -> None:
        """Say why if the peer still listens, then drop the connection."""
        if self._ending:
            return
        self._ending = True
        try:
            if not self._sending.locked():  # a peer that does not read what we send will not read this either
                await self._say_goodbye(code, reason)
        finally:
            abort(self._transport)
            self._gone()  # only now: whoever waits for it takes the connection down, and the goodbye with it

    async def _say_goodbye(self, code: int, reason: str) -> None:
        with contextlib.suppress(TimeoutError, ClientError, OSError, RuntimeError):
            async with self._sending, asyncio.timeout(CLOSE_S):
                await self._socket.close(code=code, message=reason.encode()[:120])

    def _gone(self) -> None:
        self._ending = True
        self.closed.set()


def _unwritten(transport: asyncio.Transport) -> int:
    """Bytes that wait for a socket. TLS hands them to a transport below it, which holds 64 KiB more and which asyncio shows to
    nobody: seconds of a radio."""
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return transport.get_write_buffer_size() + (below.get_write_buffer_size() if below is not None else 0)


def in_words(code: int, said: str) -> str:
    """Why a pipe closed: our words for a code of ours, else what was said, without characters that move a terminal."""
    heard = "".join(c for c in said if c.isprintable())
    return _WORDS.get(code) or (f"it refused a message: {heard}" if code == BAD_MESSAGE else heard) or _WORDS[LOST]


class WebSocketDialler:
    """Opens pipes to paired devices."""

    def __init__(self, tls: PeerTls, caps: Caps) -> None:
        self._tls, self._caps = tls, caps

    async def open(self, pair: Pair, address: Address, rid: bytes) -> Pipe:
        """Connect, prove both certificates, and upgrade to a WebSocket in time."""
        context = self._tls.client(pair.peer)
        if context is None:
            raise NotPaired(f"not paired with {pair.name}")
        return await dial(pair.peer, address, self._tls.server_name(pair, rid), PATH, context, self._caps.largest)

    async def ask(self, address: Address) -> bytes | None:
        """The rid in the certificate that strangers are shown."""
        return await read_rid(address)


async def dial(
    peer: DeviceId, address: Address, name: str, path: str, context: ssl.SSLContext, largest: int, silence_s: float = SILENCE_S
) -> WebSocketPipe:
    """One connection, one pipe: no pool, no redirects, no proxy, no cookies. `name`: for the listener's eyes only.
    `CertificateRefused`, `DialFailed`."""
    guard, within_s = _Guard(), patience(address[0])
    session: ClientSession | None = None
    try:
        async with asyncio.timeout(within_s):
            session = ClientSession(
                connector=await connector(address, context),
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=None),
                middlewares=(guard,),
            )
            websocket = await session.ws_connect(
                f"https://{name}:{address[1]}{path}",
                max_msg_size=largest + 1,
                autoping=False,
                decode_text=False,
                timeout=ClientWSTimeout(ws_close=CLOSE_S),
            )
    except BaseException as error:
        if session is not None:
            await session.close()
        raise _explained(error, within_s) from error
    assert guard.transport is not None
    pipe = WebSocketPipe(peer, address[0], websocket, guard.transport, silence_s)
    task = asyncio.get_running_loop().create_task(_close_with(pipe, session))
    SESSIONS.add(task)
    task.add_done_callback(SESSIONS.discard)
    return pipe


SESSIONS: set[asyncio.Task[None]] = set()


async def _close_with(pipe: WebSocketPipe, session: ClientSession) -> None:
    try:
        await pipe.closed.wait()
    finally:
        await session.close()


async def adopt(
    request: web.Request,
    peer: DeviceId,
    largest: int,
    serve: Callable[[WebSocketPipe], Awaitable[None]],
    silence_s: float = SILENCE_S,
) -> web.StreamResponse:
    """The listener's end: upgrade a request, and serve its pipe until one of them closes it."""
    transport = request.transport
    assert isinstance(transport, asyncio.Transport)
    websocket = web.WebSocketResponse(
        timeout=CLOSE_S, autoping=False, compress=False, max_msg_size=largest + 1, decode_text=False
    )
    await websocket.prepare(request)
    pipe = WebSocketPipe(peer, came_from(request), websocket, transport, silence_s)
    try:
        await serve(pipe)
        await pipe.closed.wait()
    finally:
        await pipe.close()
    return websocket


def peer_app(pairs: Pairs, caps: Caps, accept: Callable[[Pipe], Awaitable[None]]) -> web.Application:
    """The route table of the peer listener: `accept` gets each pipe, which then lives until it is closed."""

    async def link(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        peer = device_id(transport.get_extra_info("ssl_object").getpeercert(binary_form=True))
        if pairs.get(peer) is None:
            raise web.HTTPForbidden
        settle(request)
        return await adopt(request, peer, caps.largest, accept)

    app = web.Application()
    app.router.add_get(PATH, link)
    return app


class _Guard:
    """Refuses redirects, which `ws_connect` would follow, and notes the transport, which it does not show."""

    transport: asyncio.Transport | None = None

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        response = await handler(request)
        if 300 <= response.status < 400:
            response.close()
            raise DialFailed("the peer tried to redirect the connection")
        if response.connection is not None and isinstance(response.connection.transport, asyncio.Transport):
            self.transport = response.connection.transport
        return response


def _explained(error: BaseException, within_s: float) -> BaseException:
    match error:
        case ClientConnectorCertificateError():
            return CertificateRefused("the far end did not show the paired certificate: another device, or its rid has changed")
        case TimeoutError():
            return DialFailed(f"no answer within {within_s:.0f} s")
        case ClientError() | OSError():
            return DialFailed(str(error) or "the far end closed the connection")
        case _:
            return error
