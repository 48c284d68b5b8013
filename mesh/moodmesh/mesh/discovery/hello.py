"""The UDP hello: multicast on every interface, unicast answers, the same port for all daemons of a host (mesh-lessons §4)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

from moodmesh.mesh.clock import Clock, SystemClock
from moodmesh.mesh.discovery.datagram import Hello, Kind, decode, slot_count
from moodmesh.mesh.discovery.interfaces import NO_INTERFACE, Interface, absent, changed, usable
from moodmesh.mesh.rid import RID_BYTES
from moodmesh.mesh.seams import Beacon, Sighting, Unavailable

PORT = 47077
GROUP4, GROUP6 = "239.255.77.77", "ff05::4d4d"
BURST_S = (0.2, 1.0, 3.0)
ACTIVE_S, IDLE_S = 4, 20
LIFE = 2.5
ANSWERS, ANSWERS_PER_SOURCE = 20, 2
ASKED = 64
_MULTICAST_ALL = 49  # IP_MULTICAST_ALL and IPV6_MULTICAST_ALL are 49 and 29 on Linux; the socket module names neither
_MULTICAST_ALL6 = 29
log = logging.getLogger(__name__)


class Answers:
    """At most 20 answers a second in all, and 2 to one address; a host's own daemons share 127.0.0.1 and get 20."""

    def __init__(self) -> None:
        self._all: deque[float] = deque(maxlen=ANSWERS)
        self._by_source: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=ANSWERS_PER_SOURCE))

    def allow(self, source: str, now: float) -> bool:
        """Whether one more may be sent now; counts it."""
        if len(self._by_source) > 1000:
            self._by_source.clear()
        mine = self._by_source[source]
        spared = source in ("127.0.0.1", "::1")
        if _full(self._all, now) or (not spared and _full(mine, now)):
            return False
        self._all.append(now)
        mine.append(now)
        return True


def _full(times: deque[float], now: float) -> bool:
    return len(times) == times.maxlen and now - times[0] < 1.0


class HelloFinder:
    """Implements `Finder`. `interval_s` is the gear: 4 s while somebody waits, 20 s when idle."""

    radio = "hello"
    id_bytes = RID_BYTES

    def __init__(self, interfaces: Sequence[str] = (), port: int = PORT, clock: Clock | None = None) -> None:
        self._wanted, self._port, self._clock = interfaces, port, clock or SystemClock()
        self._beacon: Beacon | None = None
        self._again = asyncio.Event()
        self._open = False
        self._senders: list[tuple[asyncio.DatagramTransport, Any]] = []
        self._receivers: list[asyncio.DatagramTransport] = []
        self._answers = Answers()
        self._seen: Callable[[Sighting], None] = lambda sighting: None
        self._asked: deque[str] = deque(maxlen=ASKED)
        self.interval_s = ACTIVE_S
        self.unparsable = 0
        self.trouble: dict[str, str] = {}

    def show(self, beacon: Beacon) -> None:
        """Announce this from now on, at once and a few times more."""
        old, self._beacon = self._beacon, beacon
        if old is not None and old.rid != beacon.rid and self._open:
            self._multicast(Kind.BYE, old)
        self._again.set()

    async def ask(self, host: str) -> None:
        """Ask the daemons at an address, over the hello port: now, and whenever this finder starts or binds anew."""
        with contextlib.suppress(OSError):
            if host not in self._asked:
                self._asked.append(host)
            if self._beacon is not None:
                await self._ask_at(host, self._encode(Kind.ASK, self._beacon))

    async def _ask_at(self, host: str, data: bytes) -> None:
        found = await asyncio.get_running_loop().getaddrinfo(host, self._port, type=socket.SOCK_DGRAM)
        self._unicast(data, found[0][4])

    async def run(self, seen: Callable[[Sighting], None]) -> None:
        """Announce and listen until cancelled; binds anew when the interfaces change."""
        self._seen = seen
        try:
            while True:
                interfaces, _ = usable(self._wanted)
                await self._bind(interfaces)
                announcing = asyncio.create_task(self._announce())
                try:
                    await changed(self._wanted, interfaces, self._clock)
                finally:
                    announcing.cancel()
                    await asyncio.gather(announcing, return_exceptions=True)
                self._close()
        finally:
            if self._beacon is not None and self._open:
                self._multicast(Kind.BYE, self._beacon)
            self._close()

    async def _announce(self) -> None:
        """Ask at once, repeat soon, then announce at every interval; each new beacon starts this anew."""
        for host in list(self._asked):
            await self.ask(host)
        while True:
            self._again.clear()
            self._send(Kind.ASK)
            before = 0.0
            for at in BURST_S:
                if await self._pause(at - before):
                    break
                before = at
                self._send(Kind.ASK)
            else:
                while not await self._pause(self.interval_s):
                    self._send(Kind.ANNOUNCE)

    async def _pause(self, seconds: float) -> bool:
        """Whether a new beacon came within so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._again.wait()
                return True
        return False

    def _send(self, kind: Kind) -> None:
        if self._beacon is not None:
            self._multicast(kind, self._beacon)

    def _multicast(self, kind: Kind, beacon: Beacon) -> None:
        data = self._encode(kind, beacon)
        for transport, group in self._senders:
            transport.sendto(data, group)

    def _encode(self, kind: Kind, b: Beacon) -> bytes:
        tags = b.slots(slot_count(len(b.tags)))
        return Hello(kind, int(self.interval_s), b.rid, b.port, tags, b.nameplate, b.window_port, b.room_port).encode()

    # -- sockets ------------------------------------------------------------------------------------------------------------

    async def _bind(self, interfaces: list[Interface]) -> None:
        self.trouble.clear()
        if not interfaces:
            raise Unavailable(absent(self._wanted), NO_INTERFACE)
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                self._receivers.append(await self._open_socket(self._receiver(family, interfaces)))
            except OSError as error:
                self.trouble[f"port {self._port} {family.name}"] = str(error)
        for interface in interfaces:
            for sock, group in self._sender_sockets(interface):
                self._senders.append((await self._open_socket(sock), group))
        self._open = bool(self._senders)
        if not self._senders:
            raise Unavailable("; ".join(self.trouble.values()), "allow UDP multicast for this program")

    def _receiver(self, family: socket.AddressFamily, interfaces: list[Interface]) -> socket.socket:
        """Bound to the shared port; joined to the group on every interface; hears unicast asks too."""
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "SO_REUSEPORT"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("::" if family == socket.AF_INET6 else "", self._port))
            joined = sum(self._join(sock, family, interface) for interface in interfaces)
            if not joined:
                raise OSError(f"no interface takes {family.name} multicast")
            with contextlib.suppress(OSError):
                six = family == socket.AF_INET6
                sock.setsockopt(*((socket.IPPROTO_IPV6, _MULTICAST_ALL6, 0) if six else (socket.IPPROTO_IP, _MULTICAST_ALL, 0)))
        except OSError:
            sock.close()
            raise
        return sock

    def _join(self, sock: socket.socket, family: socket.AddressFamily, interface: Interface) -> bool:
        try:
            if family == socket.AF_INET6:
                if not interface.v6:
                    return False
                group = socket.inet_pton(family, GROUP6) + struct.pack("@I", interface.index)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
            else:
                if not interface.v4:
                    return False
                group = struct.pack("=4s4si", socket.inet_aton(GROUP4), socket.inet_aton(interface.v4[0]), interface.index)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        except OSError as error:
            self.trouble[f"{interface.name} {family.name}"] = str(error)
            return False
        return True

    def _sender_sockets(self, interface: Interface) -> list[tuple[socket.socket, Any]]:
        """One ephemeral socket a family: this process sends from it and is answered on it."""
        found: list[tuple[socket.socket, Any]] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            addresses = interface.v6 if family == socket.AF_INET6 else interface.v4
            if not addresses or (family == socket.AF_INET6 and interface.loopback):  # ENETUNREACH on lo
                continue
            sock = socket.socket(family, socket.SOCK_DGRAM)
            try:
                group = _aim(sock, family, interface)
                found.append((sock, (*group[:1], self._port, *group[1:])))
            except OSError as error:
                sock.close()
                self.trouble[f"{interface.name} {family.name}"] = str(error)
        return found

    async def _open_socket(self, sock: socket.socket) -> asyncio.DatagramTransport:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(self._heard), sock=sock)
        return transport

    def _close(self) -> None:
        for transport in (*self._receivers, *(sender for sender, _ in self._senders)):
            transport.close()
        self._receivers, self._senders, self._open = [], [], False

    # -- hearing --------------------------------------------------------------------------------------------------------------

    def _heard(self, data: bytes, source: tuple[Any, ...]) -> None:
        hello = decode(data)
        if hello is None:
            self.unparsable += 1
            return
        if self._beacon is not None and hello.rid == self._beacon.rid:
            return
        host = _host(source)
        if hello.kind is Kind.BYE:  # the table drops what was sighted at that very address, and nothing else
            self._seen(self._sighting(hello, host, 0.0))
            return
        self._seen(self._sighting(hello, host, LIFE * min(hello.next_s, IDLE_S)))
        if hello.kind is Kind.ASK and self._beacon is not None and self._answers.allow(host, self._clock.now()):
            self._answer(source)

    def _answer(self, source: tuple[Any, ...]) -> None:
        assert self._beacon is not None
        self._unicast(self._encode(Kind.ANNOUNCE, self._beacon), source)

    def _unicast(self, data: bytes, to: Any) -> None:
        """From an ephemeral socket: its answer comes back to this process, not to any of those that share the port."""
        family = socket.AF_INET6 if len(to) == 4 else socket.AF_INET
        sender = next((s for s, _ in self._senders if s.get_extra_info("socket").family == family), None)
        if sender is not None:
            sender.sendto(data, to)

    def _sighting(self, hello: Hello, host: str, ttl_s: float) -> Sighting:
        tags = frozenset(hello.tags)
        return Sighting(
            self.radio, hello.rid, host, hello.port, tags, self._clock.now(), ttl_s, hello.nameplate, hello.window_port,
            room_port=hello.room_port,
        )  # fmt: skip


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[bytes, tuple[Any, ...]], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._heard(data, addr)

    def error_received(self, exc: Exception) -> None:
        log.debug("hello: %s", exc)


def _host(source: tuple[Any, ...]) -> str:
    """Where a datagram came from, with its interface where the address means nothing without it."""
    scope = source[3] if len(source) == 4 else 0
    return f"{source[0]}%{scope}" if scope and "%" not in source[0] else str(source[0])


def _aim(sock: socket.socket, family: socket.AddressFamily, interface: Interface) -> tuple[Any, ...]:
    """Send multicast through this interface alone, one hop; the group, without its port."""
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface.index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
        sock.bind(("::", 0))
        return GROUP6, 0, interface.index
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface.v4[0]))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    sock.bind(("", 0))  # a unicast answer then leaves by the interface that leads there
    return (GROUP4,)
