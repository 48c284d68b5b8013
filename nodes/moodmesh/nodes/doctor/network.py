"""Interfaces, address families, and whether what this device announces comes back to it (mesh-lessons §4, §5)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from moodmesh.mesh.binding import EVERYWHERE, bind
from moodmesh.mesh.discovery.hello import HelloFinder
from moodmesh.mesh.discovery.interfaces import usable
from moodmesh.mesh.discovery.mdns import MdnsFinder
from moodmesh.mesh.errors import PortTaken
from moodmesh.mesh.seams import Beacon, Sighting, Unavailable
from moodmesh.nodes.config import MeshSection
from moodmesh.nodes.doctor.finding import Finding, broken, missing, ok

MDNS_PORT = 5353
HEAR_S = 3.0
_DISCARD = 9  # the port that a probe announces: nobody listens there


async def network(mesh: MeshSection, status: dict[str, Any] | None) -> list[Finding]:
    """Everything about the network; `status` of the running daemon, None without one."""
    found = [*interfaces(mesh), *families(mesh), *peer_port(mesh, status), *mdns_port()]
    return [*found, *await asyncio.gather(_hello(mesh), _mdns(mesh))]


def interfaces(mesh: MeshSection) -> Iterator[Finding]:
    """Which interfaces discovery uses, which it skips, and why."""
    used, skipped = usable(mesh.interfaces)
    for interface in used:
        addresses = " ".join((*interface.v4, *interface.v6))
        alone = "; only devices on this host are found" if interface.loopback and len(used) == 1 else ""
        yield ok(f"interface {interface.name}", f"used: {addresses}{alone}")
    for name, why in sorted(skipped.items()):
        if "no such interface" in why:
            yield broken(f"interface {name}", why, "`ip link set dev NAME up`, or take it out of mesh.interfaces")
        else:
            yield ok(f"interface {name}", f"skipped: {why}; to use it, name it in mesh.interfaces")
    if not used:
        yield broken("interfaces", "no network interface is up", "connect to a network, or name one in mesh.interfaces")


def families(mesh: MeshSection) -> Iterator[Finding]:
    """Whether both address families are there."""
    used, _ = usable(mesh.interfaces)
    for family, addresses in (("IPv4", [a for i in used for a in i.v4]), ("IPv6", [a for i in used for a in i.v6])):
        if addresses:
            yield ok(family, " ".join(addresses))
        else:
            yield missing(family, f"no {family} address on the interfaces in use", "the other family is used; nothing to do")


def peer_port(mesh: MeshSection, status: dict[str, Any] | None) -> Iterator[Finding]:
    """Whether the peer listener has its port, or could have it."""
    if status is not None:
        yield ok("peer port", f"TCP {status['port']}, held by the daemon (pid {status['pid']})")
        return
    try:
        for sock in bind(mesh.port, EVERYWHERE):
            sock.close()
    except PortTaken:
        who = _holders("tcp", mesh.port) or "another program"
        remedy = f"stop that program, or choose another port: `moodmesh up --set mesh.port={mesh.port + 1}`"
        yield broken("peer port", f"TCP {mesh.port} is taken by {who}", remedy)
    else:
        yield ok("peer port", f"TCP {mesh.port} is free" if mesh.port else "any free one is chosen at the start")


def mdns_port() -> Iterator[Finding]:
    """Who else uses UDP 5353: sharing it is normal, holding it alone is not."""
    who = _holders("udp", MDNS_PORT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(AttributeError, OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock.bind(("", MDNS_PORT))
        except OSError as error:
            holder = f" by {who}" if who else ""
            remedy = "let that program share the port or stop it (`ss -ulpn 'sport = :5353'`); the hello goes on without mDNS"
            yield broken("UDP port 5353", f"held{holder} and not shared: {error.strerror}", remedy)
        else:
            yield ok("UDP port 5353", f"shared with {who}" if who else "nobody else uses it")


async def _hello(mesh: MeshSection) -> Finding:
    if not mesh.hello:
        return missing("hello", "switched off", "mesh.hello = true turns it on")
    finders = [HelloFinder(mesh.interfaces, mesh.hello_port) for _ in range(2)]
    remedy = f"allow UDP {mesh.hello_port}: `sudo ufw allow {mesh.hello_port}/udp`; `nft list ruleset` shows what drops it"
    heard = await _heard_back(*finders)
    trouble = "; ".join(f"{where}: {why}" for finder in finders for where, why in finder.trouble.items())
    if isinstance(heard, Unavailable):
        return broken("hello", heard.reason, heard.remedy)
    if not heard:
        return broken("hello", f"its own datagram does not come back on UDP {mesh.hello_port} {trouble}".strip(), remedy)
    return ok("hello", f"UDP {mesh.hello_port}: its own datagram is heard back" + (f" ({trouble})" if trouble else ""))


async def _mdns(mesh: MeshSection) -> Finding:
    if not mesh.mdns:
        return missing("mDNS", "switched off", "mesh.mdns = true turns it on")
    heard = await _heard_back(MdnsFinder(mesh.interfaces), MdnsFinder(mesh.interfaces))
    if isinstance(heard, Unavailable):
        return broken("mDNS", heard.reason, heard.remedy)
    remedy = "allow UDP 5353 in and out: `sudo ufw allow 5353/udp`; the hello finds devices without it"
    return ok("mDNS", "its own record is heard back") if heard else broken("mDNS", "its own record does not come back", remedy)


async def _heard_back(speaker: HelloFinder | MdnsFinder, listener: HelloFinder | MdnsFinder) -> bool | Unavailable:
    """Whether one finder hears another of this process; why not, if they cannot run at all."""
    rid, heard = os.urandom(16), asyncio.Event()

    def listen(sighting: Sighting) -> None:
        if sighting.rid == rid:
            heard.set()

    quiet: Callable[[Sighting], None] = lambda sighting: None  # noqa: E731
    speaker.show(Beacon(rid, _DISCARD, ()))
    running: list[asyncio.Task[Any]] = [asyncio.create_task(listener.run(listen)), asyncio.create_task(speaker.run(quiet))]
    hearing: asyncio.Task[Any] = asyncio.create_task(heard.wait())
    try:
        await asyncio.wait({*running, hearing}, timeout=HEAR_S, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            if task.done() and isinstance(problem := task.exception(), (Unavailable, OSError)):
                return problem if isinstance(problem, Unavailable) else Unavailable(str(problem), "see the lines above")
        return heard.is_set()
    finally:
        for task in (*running, hearing):
            task.cancel()
        await asyncio.gather(*running, hearing, return_exceptions=True)


def _holders(kind: str, port: int) -> str:
    """The other programs that have this port, as far as this user may see them."""
    with contextlib.suppress(psutil.Error, OSError):
        found = [c for c in psutil.net_connections(kind) if c.laddr and c.laddr.port == port and (kind == "udp" or not c.raddr)]
        names = {_name(c.pid) for c in found}
        return ", ".join(sorted(names))
    return ""


def _name(pid: int | None) -> str:
    if pid is None:
        return "a program of another user"
    with contextlib.suppress(psutil.Error):
        return f"{psutil.Process(pid).name()} (pid {pid})"
    return f"pid {pid}"
