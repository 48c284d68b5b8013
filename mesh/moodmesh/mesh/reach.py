"""How an address is reached: by TCP, or through a radio that carries streams of bytes; the rest is the same for both.

The host of an address behind a radio is `RADIO/DEVICE`, like `ble/C0:FF:EE:00:00:01`; its port one of `PEER`, `WINDOW`, `ROOM`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Protocol

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from .address import Address

PEER, WINDOW, ROOM = 1, 2, 3
_NEAR_S, _RADIO_S = 5.0, 40.0


class Radio(Protocol):
    """What carries streams to the devices behind it."""

    async def stream(self, device: str, port: int) -> socket.socket:
        """A connected socket to a listener of a device; OSError says why there is none."""


_radios: dict[str, Radio] = {}


@contextlib.contextmanager
def reachable(name: str, radio: Radio) -> Iterator[None]:
    """Addresses behind the radio of this name are reached until the block ends."""
    _radios[name] = radio
    try:
        yield
    finally:
        if _radios.get(name) is radio:
            del _radios[name]


def by_radio(host: str) -> bool:
    """Whether a host is behind a radio: slow, and known only as long as it is in range."""
    return "/" in host


def patience(host: str) -> float:
    """Seconds within which a connection to a host is made and greeted."""
    return _RADIO_S if by_radio(host) else _NEAR_S


async def stream(address: Address) -> socket.socket | None:
    """The socket of a new stream to an address behind a radio, None for one that TCP reaches; OSError."""
    host, port = address
    if not by_radio(host):
        return None
    name, _, device = host.partition("/")
    if (radio := _radios.get(name)) is None:
        raise OSError(f"the radio {name} is off")
    return await radio.stream(device, port)


async def connector(address: Address, context: ssl.SSLContext) -> TCPConnector:
    """An aiohttp connector whose one connection leads to this address, whatever name a URL has; OSError."""
    made = await stream(address)
    if made is None:
        return TCPConnector(resolver=_Fixed(address[0]), ssl=context, force_close=True, use_dns_cache=False)
    joined = _Joined(fileno=made.detach())
    return TCPConnector(resolver=_Fixed(_NOWHERE), ssl=context, force_close=True, socket_factory=lambda info: joined)


_NOWHERE = "192.0.2.1"  # TEST-NET-1: nothing is ever sent there


class _Joined(socket.socket):
    """A socket that is connected already: connecting it again does nothing."""

    def connect(self, address: object, /) -> None:
        """It is."""


class _Fixed(AbstractResolver):
    """Resolves every name to one address: the name is for the listener's eyes only."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """The one address."""
        actual = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        return [ResolveResult(hostname=host, host=self._host, port=port, family=actual, proto=0, flags=socket.AI_NUMERICHOST)]

    async def close(self) -> None:
        """Nothing to close."""
