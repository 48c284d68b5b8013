"""HOST:PORT as people write it; an IPv6 host in brackets, with its interface where it means nothing without it."""

from __future__ import annotations

Address = tuple[str, int]


def parse(text: str) -> Address:
    """The address in HOST:PORT or [HOST]:PORT; ValueError that says how to write one."""
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare and bare == host) or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no HOST:PORT, like 192.168.1.7:40100 or [fe80::1%eth0]:40100")
    return bare, int(port)


def show(address: Address) -> str:
    """The text that `parse` reads."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
