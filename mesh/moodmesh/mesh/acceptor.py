"""A TCP listener that bounds what strangers can cost: connections, handshake, and request head (pairing §3).

An asyncio TLS connection costs about 300 KiB before its handshake is done, so places are counted at `accept`, and one timer
from `accept` on closes a connection whose request head is late: aiohttp has none of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from .admission import Admission
from .binding import EVERYWHERE, bind
from .clock import Clock, SystemClock
from .reach import by_radio
from .tls import abort

QUEUE = 128  # as `listen` asks for
log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Patience:
    """Seconds from `accept` for the handshake and for the whole request head, and bytes of that head."""

    handshake_s: float = 5.0
    head_s: float = 10.0
    head_bytes: int = 8192


SLOW = Patience(30.0, 60.0)
"""With whoever comes by radio."""


class _Connection(asyncio.Protocol):
    """One accepted connection: passes everything on to aiohttp's protocol, and holds a place until settled or gone."""

    timer: asyncio.TimerHandle

    def __init__(
        self,
        sock: socket.socket,
        host: str,
        inner: asyncio.Protocol,
        head_bytes: int,
        left: Callable[[bool], None],
        gone: Callable[[], None],
    ) -> None:
        self.host = host
        self._sock, self._inner, self._room, self._left, self._gone = sock, inner, head_bytes, left, gone
        self._transport: asyncio.Transport | None = None
        self._placed, self._headed = True, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not self._headed:
            self._room -= len(data)
            if self._room < 0:
                return self.abort()
        self._inner.data_received(data)
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self.lost()
        self._inner.connection_lost(error)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def head_done(self) -> None:
        self._headed = True

    def head_late(self) -> None:
        if not self._headed:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            abort(self._transport)
        else:  # in its handshake, which this ends
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def release(self, failed: bool) -> None:
        if self._placed:
            self._placed = False
            self._left(failed)

    def lost(self) -> None:
        """Let go of everything: a timer or a cycle would keep 300 KiB of TLS buffers for a while."""
        self.timer.cancel()
        self._transport = None
        self.release(failed=True)
        self._gone()


class _Silent(web.RequestHandler):
    """Answers what is no request with a bare status, where aiohttp would name itself and log a traceback."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is on its way already")
        if status >= 500:
            log.error("a request failed", exc_info=exc)
        response = web.Response(status=status, headers={"Server": ""})
        response.force_close()
        return response


class Acceptor:
    """Serves an aiohttp application over TLS. A handler calls `settle(request)` once its caller is authenticated."""

    def __init__(
        self,
        app: web.Application,
        context: Callable[[], ssl.SSLContext],
        admission: Admission | None = None,
        clock: Clock | None = None,
        patience: Patience | None = None,
        address_key: Callable[[str], str] = str,
    ) -> None:
        self._context, self._admission = context, admission or Admission()
        self._clock, self._patience, self._key = clock or SystemClock(), patience or Patience(), address_key
        app[_ACCEPTOR] = self
        app.middlewares.insert(0, _note_head)
        app.on_response_prepare.append(_anonymous)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.5)
        self._connections: dict[Any, _Connection] = {}
        self._sockets: list[socket.socket] = []
        self._handshakes: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def strangers(self) -> int:
        """Connections that are not authenticated, now."""
        return self._admission.inside

    async def start(self, port: int = 0, hosts: Sequence[str] = EVERYWHERE) -> int:
        """Listen on the same port of every host and return it (0: the system chooses); `PortTaken` when it is not free."""
        self._sockets = bind(port, hosts)
        self.port = self._sockets[0].getsockname()[1]
        await self._runner.setup()
        for listener in self._sockets:
            self._listen(listener)
        return self.port

    async def close(self) -> None:
        """Stop listening and end every connection."""
        for listener in self._sockets:
            if listener.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(listener)
                listener.close()
        for connection in list(self._connections.values()):
            connection.abort()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        await self._runner.cleanup()

    def settle(self, request: web.Request) -> None:
        """The caller is authenticated: its connection no longer counts as a stranger's."""
        connection = self._connections.get(request.protocol)
        if connection is not None:
            connection.release(failed=False)

    def came_from(self, request: web.Request) -> str:
        """The host at the other end."""
        return self._connections[request.protocol].host

    def head_done(self, request: web.Request) -> None:
        """The request head of this connection is complete."""
        connection = self._connections.get(request.protocol)
        if connection is not None:
            connection.head_done()

    def _listen(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Empty the queue of the listener: while it is full, the system makes everybody wait a second or more."""
        loop = asyncio.get_running_loop()
        for _ in range(QUEUE):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:  # out of file descriptors: the queue waits, the node goes on
                log.warning("cannot accept a connection: %s", error.strerror)
                loop.remove_reader(listener)
                loop.call_later(1, self._listen, listener)
                return
            self.adopt(sock, peer[0])

    def adopt(self, sock: socket.socket, host: str) -> None:
        """Serve a connection from this host, if there is room for it."""
        address = self._key(host)
        if not self._admission.enter(address, self._clock.now()):
            sock.close()
            return
        sock.setblocking(False)
        patience = SLOW if by_radio(host) else self._patience
        task = asyncio.get_running_loop().create_task(self._serve(sock, self._connection(sock, host, address), patience))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _serve(self, sock: socket.socket, connection: _Connection, patience: Patience) -> None:
        loop = asyncio.get_running_loop()
        connection.timer = loop.call_later(patience.head_s, connection.head_late)
        try:
            await loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._context(),
                ssl_handshake_timeout=patience.handshake_s,
                ssl_shutdown_timeout=1.0,
            )
        except (OSError, TimeoutError) as error:
            error.__traceback__ = None  # it holds the frames that hold the TLS buffers, and asyncio's future holds the error
            connection.lost()
        except BaseException:
            connection.lost()
            sock.close()
            raise

    def _connection(self, sock: socket.socket, host: str, address: str) -> _Connection:
        assert self._runner.server is not None
        inner = _Silent(self._runner.server, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type]
        connection = _Connection(
            sock,
            host,
            inner,
            self._patience.head_bytes,
            left=lambda failed: self._admission.leave(address, self._clock.now(), failed),
            gone=lambda: self._forget(inner),
        )
        self._connections[inner] = connection
        return connection

    def _forget(self, inner: asyncio.Protocol) -> None:
        self._connections.pop(inner, None)


_ACCEPTOR = web.AppKey("acceptor", Acceptor)


def settle(request: web.Request) -> None:
    """Tell the acceptor of this request that its caller is authenticated."""
    request.app[_ACCEPTOR].settle(request)


def came_from(request: web.Request) -> str:
    """The host from which a request came to its acceptor."""
    return request.app[_ACCEPTOR].came_from(request)


@web.middleware
async def _note_head(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """The head is complete; one request a connection, so that no second head can be slow."""
    request.app[_ACCEPTOR].head_done(request)
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.force_close()
        raise
    if not response.prepared:
        response.force_close()
    return response


async def _anonymous(request: web.Request, response: web.StreamResponse) -> None:
    """Say nothing about the software of this device."""
    response.headers.popall("Server", None)
