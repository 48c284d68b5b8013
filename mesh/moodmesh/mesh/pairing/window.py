"""A pairing window on the host: own port, own certificate, own limits, thrown away at its end (pairing §3, §5.3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import load_der_x509_certificate

from moodmesh.mesh.acceptor import Acceptor, settle
from moodmesh.mesh.binding import EVERYWHERE
from moodmesh.mesh.certificates import Credential, spki_hash, window_credential
from moodmesh.mesh.errors import PairingFailed, WrongCode
from moodmesh.mesh.pairing import spake2
from moodmesh.mesh.pairing.code import TOKEN_BYTES, fresh_digits, fresh_nameplate
from moodmesh.mesh.pairing.flow import NO_VERSION, Host, Me
from moodmesh.mesh.pairing.messages import LARGEST, P1, P3, P5, P7, Message, decode
from moodmesh.mesh.pairs import Pair
from moodmesh.mesh.tls import window_context

WINDOW_S = 120.0
STEP_S = 10.0
FAILURES_PER_WINDOW = 3
GREETINGS_PER_WINDOW = 10
M = TypeVar("M", bound=Message)


class Budget(Protocol):
    """Failures of this device per UTC day, kept across restarts."""

    async def reserve(self) -> bool:
        """Count one failure in advance; False when the day's are used up."""

    async def give_back(self) -> None:
        """It was none."""


class Told(Protocol):
    """What the window tells its user."""

    def new_code(self) -> None:
        """The code was burnt; there is another."""

    def locked(self, why: str) -> None:
        """No more guesses in this window."""

    def failed(self, why: str) -> None:
        """A pairing broke off."""


@dataclass
class Limits:
    """What is left in this window. Cumulative: only a new local command makes a new one."""

    failures: int = 0
    greetings: int = 0

    @property
    def locked(self) -> bool:
        """Whether the window takes nobody any more."""
        return self.failures >= FAILURES_PER_WINDOW or self.greetings >= GREETINGS_PER_WINDOW


class Window:
    """One open window. `store` makes the pair durable; `paired` resolves to it, once."""

    def __init__(
        self,
        me: Callable[[], Me],
        store: Callable[[Pair], Awaitable[None]],
        budget: Budget,
        told: Told,
        cost: int = spake2.SCRYPT_N,
    ) -> None:
        self._me, self._store, self._budget, self._told, self._cost = me, store, budget, told, cost
        self.credential: Credential = window_credential()
        self.spki = certificate_hash(self.credential.certificate)
        self.nameplate, self.digits, self.token = fresh_nameplate(), fresh_digits(), os.urandom(TOKEN_BYTES)
        self.limits = Limits()
        self.port = 0
        self.adopt: Callable[[socket.socket, str], None] = lambda sock, host: sock.close()
        """Takes a guest that came another way than over TCP, while the window is open."""
        self.paired: asyncio.Future[Pair] = asyncio.get_running_loop().create_future()
        self._busy = False

    @property
    def code(self) -> str:
        """As the host shows it."""
        return f"{self.nameplate}-{self.digits[:3]}{self.digits[3:]}"

    @contextlib.asynccontextmanager
    async def open(self, hosts: Sequence[str] = EVERYWHERE) -> AsyncIterator[None]:
        """Listen on a port of its own until the block ends."""
        app = web.Application()
        app.router.add_get("/pair", self._serve)
        context = window_context(self.credential)
        acceptor = Acceptor(app, lambda: context)
        self.port, self.adopt = await acceptor.start(0, hosts), acceptor.adopt
        try:
            yield
        finally:
            await acceptor.close()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=LARGEST, autoping=False, compress=False)
        await socket.prepare(request)
        try:
            await self._host(request, socket)
        except PairingFailed as error:
            if not isinstance(error, WrongCode):  # `new_code` or `locked` told that
                self._told.failed(str(error))
            await socket.close(code=4000, message=reason(error))
        except (TimeoutError, ConnectionError):
            self._told.failed("the other device stopped in the middle")
            await socket.close(code=4000, message=b"timeout")
        return socket

    async def _host(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        p1 = await receive(socket, P1)
        if self.paired.done() or self.limits.locked:
            raise PairingFailed("locked")
        if self._busy:
            raise PairingFailed("busy")
        self._busy = True
        try:
            await self._exchange(request, socket, p1)
        finally:
            self._busy = False

    async def _exchange(self, request: web.Request, socket: web.WebSocketResponse, p1: P1) -> None:
        """The attempt is reserved before any cryptography, and returned only if the guest leaves before P3 (§5.3)."""
        self.limits.greetings += 1
        self.limits.failures += 1
        reserved = await self._budget.reserve()
        if not reserved:
            self._lock("ten wrong codes today: pairing is closed until tomorrow (UTC)")
            raise PairingFailed("locked")
        host = Host(self._me(), self._password(request), self.nameplate, self.spki, self._cost)
        try:
            await socket.send_str((await asyncio.to_thread(host.answer, p1)).encode())
            p3 = await receive(socket, P3)
        except BaseException:
            await self._give_back()
            if self.limits.greetings >= GREETINGS_PER_WINDOW:
                self._lock("too many tries without an answer")
            raise
        try:
            p4 = host.check(p3)
        except PairingFailed:
            self._burn()
            raise
        settle(request)
        await self._give_back()
        await socket.send_str(p4.encode())
        await self._finish(host, socket)

    async def _finish(self, host: Host, socket: web.WebSocketResponse) -> None:
        p6 = host.accept(await receive(socket, P5))
        await socket.send_str(p6.encode())
        p8 = host.finish(await receive(socket, P7))
        await self._store(host.pair)
        if not self.paired.done():
            self.paired.set_result(host.pair)
        await socket.send_str(p8.encode())
        await socket.close()

    def _password(self, request: web.Request) -> bytes:
        return self.token if request.query.get("by") == "qr" else self.digits.encode()

    async def _give_back(self) -> None:
        self.limits.failures -= 1
        await self._budget.give_back()

    def _burn(self) -> None:
        """One guess per code."""
        self.digits, self.token = fresh_digits(), os.urandom(TOKEN_BYTES)
        if self.limits.locked:
            self._lock("three wrong codes: open a new window with `moodmesh pair`")
        else:
            self._told.new_code()

    def _lock(self, why: str) -> None:
        self.limits.failures = max(self.limits.failures, FAILURES_PER_WINDOW)
        self._told.locked(why)


async def receive(socket: web.WebSocketResponse, model: type[M]) -> M:
    """The message that is due, within ten seconds; `PairingFailed` for anything else."""
    async with asyncio.timeout(STEP_S):
        message = await socket.receive()
    if message.type is not WSMsgType.TEXT:
        raise PairingFailed("the other device left before the end")
    return decode(model, message.data)


def reason(error: PairingFailed) -> bytes:
    """What a guest is told: never more than these words."""
    if isinstance(error, WrongCode):
        return b"wrong code"
    return {NO_VERSION: b"version", "busy": b"busy", "locked": b"locked"}.get(str(error), b"failed")


def certificate_hash(certificate: bytes) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo of a window certificate (DER)."""
    public = load_der_x509_certificate(certificate).public_key()
    if not isinstance(public, Ed25519PublicKey):
        raise PairingFailed("that is no pairing window of Moodmesh")
    return spki_hash(public)
