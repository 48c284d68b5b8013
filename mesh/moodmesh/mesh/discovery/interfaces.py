"""Which network interfaces discovery uses, and why the others are left out (mesh-lessons §4)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from moodmesh.mesh.clock import Clock

POLL_S = 5.0
_SETTLE_S = 0.2
_LINK_AND_ADDRESSES = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR of rtnetlink(7)
CONTAINERS = ("docker", "veth", "br-", "virbr", "lxc", "podman", "cni", "ifb")
POINT_TO_POINT = ("tun", "tap", "wg", "ppp", "utun", "tailscale", "zt")


@dataclass(frozen=True)
class Interface:
    """One usable interface: its name, index, IPv4 addresses, and one IPv6 address with scope."""

    name: str
    index: int
    v4: tuple[str, ...]
    v6: tuple[str, ...]

    @property
    def loopback(self) -> bool:
        """Whether only this host hears it."""
        return any(ipaddress.ip_address(a.split("%")[0]).is_loopback for a in (*self.v4, *self.v6))


def usable(wanted: Sequence[str] = ()) -> tuple[list[Interface], dict[str, str]]:
    """The interfaces to use, and the reason for each one skipped. `wanted` overrides the choice; names that are absent are
    reported. Loopback only when it is wanted, or nothing else is up."""
    found = {interface.name: interface for interface in _all()}
    skipped = {name: reason for name in found if (reason := _skip(name, found[name], wanted))}
    skipped |= {name: "there is no such interface, or it is down" for name in wanted if name not in found}
    chosen = [interface for name, interface in found.items() if name not in skipped]
    if not chosen and not wanted:
        chosen = [interface for interface in found.values() if interface.loopback]
        skipped = {name: why for name, why in skipped.items() if name not in {i.name for i in chosen}}
    return sorted(chosen, key=lambda i: i.name), skipped


def absent(wanted: Sequence[str]) -> str:
    """Why there is no interface to use."""
    named = f" named in mesh.interfaces ({', '.join(wanted)})" if wanted else ""
    return f"no network interface{named} is up"


NO_INTERFACE = "connect to a network, or name another interface in mesh.interfaces; it is used as soon as it is there"


async def changed(wanted: Sequence[str], known: Sequence[Interface], clock: Clock) -> None:
    """Return once `usable(wanted)` is no longer what is `known`: told by the kernel on Linux, else looked up every 5 s."""
    with contextlib.closing(_watcher()) as watcher:
        while usable(wanted)[0] == list(known):
            if watcher.fileno() < 0:
                await clock.sleep(POLL_S)
                continue
            await asyncio.get_running_loop().sock_recv(watcher, 65536)
            await clock.sleep(_SETTLE_S)  # addresses come one by one


def _watcher() -> socket.socket:
    """A netlink socket that becomes readable on each change; a closed one where there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.close()
    with contextlib.suppress(OSError, AttributeError):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        sock.bind((0, _LINK_AND_ADDRESSES))
    return sock


def _skip(name: str, interface: Interface, wanted: Sequence[str]) -> str:
    if wanted:
        return "" if name in wanted else "not in mesh.interfaces"
    if interface.loopback:
        return "loopback: only this host hears it"
    if name.startswith(CONTAINERS):
        return "a container's or a bridge"
    if name.startswith(POINT_TO_POINT):
        return "a VPN or point-to-point link"
    return ""


def _all() -> list[Interface]:
    stats, indexes = psutil.net_if_stats(), {name: index for index, name in socket.if_nameindex()}
    found = []
    for name, addresses in psutil.net_if_addrs().items():
        v4 = tuple(a.address for a in addresses if a.family == socket.AF_INET)
        v6 = tuple(a.address for a in addresses if a.family == socket.AF_INET6)
        if name in stats and stats[name].isup and name in indexes and (v4 or v6):
            found.append(Interface(name, indexes[name], v4, v6))
    return found
