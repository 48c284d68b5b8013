"""Listening sockets on one port of several addresses, IPv4 and IPv6."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence

from .errors import PortTaken

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - a peer port is for the whole network; what answers there is pairing §3


def bind(port: int, hosts: Sequence[str]) -> list[socket.socket]:
    """Listening sockets on one port of every host that this machine has; `PortTaken` when one is not free."""
    for attempt in range(16):
        with contextlib.ExitStack() as undo:
            sockets: list[socket.socket] = []
            try:
                for host in hosts:
                    chosen = port or (sockets[0].getsockname()[1] if sockets else 0)
                    sock = _listen(host, chosen)
                    if sock is not None:
                        undo.callback(sock.close)
                        sockets.append(sock)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                if port or attempt == 15:
                    raise PortTaken(port) from error
                continue  # the port the system chose is taken in the other family: let it choose again
            if not sockets:
                raise OSError(errno.EADDRNOTAVAIL, f"none of {', '.join(hosts)} is an address of this machine")
            undo.pop_all()
            return sockets
    raise AssertionError("unreachable")


def _listen(host: str, port: int) -> socket.socket | None:
    """A listening socket, None when this machine lacks the address family or the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(128)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise
    return sock
