"""A link: an authenticated pipe over which both sides have said `welcome` (routing §12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .address import Address
from .clock import Clock, within
from .errors import BadMessage
from .frames import Caps, decode, encode
from .pieces import Pieces
from .pipe import BAD_MESSAGE, CLOSED, FORGOTTEN, Pipe, PipeClosed
from .reach import PEER, by_radio
from .seams import DeviceId, Envelope, LinkClosed
from .welcome import KIND, Welcome, common_version, parse

_OWN_KINDS = frozenset({KIND, "ping", "pong", "duplicate"})


class PeerLink:
    """A `Link` to a paired peer. Exactly one task reads it for as long as it lives: reading also answers the peer's probes."""

    def __init__(self, pipe: Pipe, caps: Caps, dialler: DeviceId, welcome: Welcome, versions: tuple[int, ...]) -> None:
        self.peer, self.dialler, self.welcome = pipe.peer, dialler, welcome
        self.version = common_version(versions, welcome.versions)
        self._pipe, self._caps = pipe, caps
        self._pong = asyncio.Event()
        self._reason: str | None = None
        self.forgotten = False
        """Whether the peer closed it because it has forgotten this device."""
        self.on_closed: Callable[[str], None] = lambda reason: None
        self.on_duplicate: Callable[[], None] = lambda: None

    @property
    def address(self) -> Address:
        """Where the peer listens: the host it was reached at, and the port it named; a radio has one port of its own."""
        return self._pipe.host, PEER if by_radio(self._pipe.host) else self.welcome.port

    @property
    def slow(self) -> bool:
        """Whether it is by radio."""
        return by_radio(self._pipe.host)

    @property
    def pieces(self) -> int:
        """How many pieces of long messages came by radio."""
        return self._pipe.pieces if isinstance(self._pipe, Pieces) else 0

    @property
    def rid(self) -> bytes:
        """The peer's rid, as it said last."""
        return bytes.fromhex(self.welcome.rid)

    @property
    def features(self) -> frozenset[str]:
        """What the peer's version can beyond the common major."""
        return frozenset(self.welcome.features)

    @property
    def closed(self) -> bool:
        """Whether the link is gone."""
        return self._reason is not None

    async def send(self, envelope: Envelope) -> None:
        """Queue one message and wait while the pipe is full; `LinkClosed` when gone, `BadMessage` when over its cap."""
        frame = encode(envelope, self._caps)
        if self._reason is not None:
            raise LinkClosed(self._reason)
        try:
            await self._pipe.send(frame)
        except PipeClosed as error:
            self._broken(error)
            raise

    async def receive(self) -> Envelope:
        """The next message of a kind that is not the link's own; `LinkClosed` after the last."""
        while True:
            try:
                envelope = decode(await self._pipe.receive(), self._caps)
                if envelope.kind not in _OWN_KINDS:
                    return envelope
                await self._handle(envelope)
            except PipeClosed as error:
                self._broken(error)
                raise LinkClosed(self._reason or str(error)) from error
            except BadMessage as error:
                self._ended(str(error))
                await self._pipe.close(BAD_MESSAGE, str(error))
                raise LinkClosed(str(error)) from error

    async def close(self, code: int = CLOSED, reason: str = "closed on this side") -> None:
        """Close both directions within half a second (idempotent)."""
        self._ended(reason)
        await self._pipe.close(code, reason if code != CLOSED else "")

    async def alive(self, clock: Clock, seconds: float = 1.0) -> bool:
        """Whether the peer answers on this link within `seconds`."""
        self._pong.clear()
        try:
            await within(clock, seconds, self._probe())
        except (TimeoutError, LinkClosed):
            return False
        return True

    async def _probe(self) -> None:
        await self.send(Envelope("ping", b"{}"))
        await self._pong.wait()

    async def _handle(self, envelope: Envelope) -> None:
        match envelope.kind:
            case "ping":
                await self.send(Envelope("pong", b"{}"))
            case "pong":
                self._pong.set()
            case "duplicate":
                self.on_duplicate()
            case _:
                self._renew(parse(envelope))

    def _renew(self, welcome: Welcome) -> None:
        if welcome.instance != self.welcome.instance or welcome.versions != self.welcome.versions:
            raise BadMessage("a later `welcome` may only change the rid")
        self.welcome = welcome

    def _broken(self, error: PipeClosed) -> None:
        self.forgotten |= error.code == FORGOTTEN
        self._ended(str(error))

    def _ended(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason or "connection lost"
            self.on_closed(self._reason)
