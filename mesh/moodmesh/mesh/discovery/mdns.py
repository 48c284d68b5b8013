"""mDNS `_moodmesh._tcp` by zeroconf: random labels that rotate with the rid; a hint, never liveness (mesh-lessons §4)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Sequence

from zeroconf import Error, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from moodmesh.mesh.clock import Clock, SystemClock
from moodmesh.mesh.discovery.interfaces import NO_INTERFACE, Interface, absent, changed, usable
from moodmesh.mesh.rid import EPOCH_S, RID_BYTES
from moodmesh.mesh.seams import Beacon, Sighting, Unavailable
from moodmesh.mesh.tagslots import TAG_BYTES

TYPE = "_moodmesh._tcp.local."
SLOTS = 16
LIFE_S = EPOCH_S + 60  # a label lives for one epoch; a peer that fell silent is missed by the hello
RESOLVE_MS = 3000
RESOLVING, NAMES, ADDRESSES = 64, 1000, 4


class MdnsFinder:
    """Implements `Finder`."""

    radio = "mdns"
    id_bytes = RID_BYTES

    def __init__(self, interfaces: Sequence[str] = (), clock: Clock | None = None) -> None:
        self._wanted, self._clock = interfaces, clock or SystemClock()
        self._beacon: Beacon | None = None
        self._news = asyncio.Event()
        self._info: AsyncServiceInfo | None = None
        self._shown: bytes = b""
        self._names: dict[str, list[Sighting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen: Callable[[Sighting], None] = lambda sighting: None
        self.trouble: dict[str, str] = {}

    def show(self, beacon: Beacon) -> None:
        """Announce this from now on."""
        self._beacon = beacon
        self._news.set()

    async def ask(self, host: str) -> None:
        """mDNS cannot ask one host."""

    async def run(self, seen: Callable[[Sighting], None]) -> None:
        """Register and browse until cancelled, then unregister; starts anew when the interfaces change."""
        self._seen = seen
        while True:
            interfaces, _ = usable(self._wanted)
            serving = asyncio.create_task(self._serve(interfaces))
            moving = asyncio.create_task(changed(self._wanted, interfaces, self._clock))
            try:
                await asyncio.wait({serving, moving}, return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    serving.result()
            finally:
                for task in (serving, moving):
                    task.cancel()
                await asyncio.gather(serving, moving, return_exceptions=True)

    async def _serve(self, interfaces: Sequence[Interface]) -> None:
        zeroconf, addresses = self._open(interfaces)
        self._info, self._shown = None, b""
        browser = AsyncServiceBrowser(zeroconf.zeroconf, [TYPE], handlers=[self._heard])
        try:
            while True:
                self._news.clear()
                if self._beacon is not None:
                    await self._register(zeroconf, self._beacon, addresses)
                await self._news.wait()
        except Error as error:
            raise Unavailable(f"mDNS cannot announce: {error!r}", "it is tried again; see `moodmesh doctor`") from None
        finally:
            for task in list(self._tasks):
                task.cancel()
            await browser.async_cancel()
            with contextlib.suppress(Error, OSError):
                await zeroconf.async_unregister_all_services()
            await zeroconf.async_close()

    def _open(self, interfaces: Sequence[Interface]) -> tuple[AsyncZeroconf, list[str]]:
        """Over every interface and family that works, and the addresses to announce; `Unavailable` when none does."""
        self.trouble.clear()
        four = [a for i in interfaces if i.v4 and self._works(i, socket.AF_INET) for a in i.v4]
        six = [i for i in interfaces if i.v6 and not i.loopback and self._works(i, socket.AF_INET6)]
        if not four and not six:
            raise Unavailable("; ".join(self.trouble.values()) or absent(self._wanted), NO_INTERFACE)
        family = IPVersion.All if four and six else IPVersion.V4Only if four else IPVersion.V6Only
        try:
            opened = AsyncZeroconf(interfaces=[*four, *(i.index for i in six)], ip_version=family)
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"mDNS cannot start: {error}", "is UDP port 5353 blocked? see `moodmesh doctor`") from None
        return opened, [*four, *(a.partition("%")[0] for i in six for a in i.v6)]

    def _works(self, interface: Interface, family: socket.AddressFamily) -> bool:
        """Whether this interface takes the group of mDNS: one that does not would stop all the others in zeroconf."""
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                if family == socket.AF_INET:
                    group = socket.inet_aton("224.0.0.251") + socket.inet_aton(interface.v4[0])
                    probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
                else:
                    group = socket.inet_pton(family, "ff02::fb") + struct.pack("@I", interface.index)
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        except OSError as error:
            self.trouble[f"{interface.name} {family.name}"] = f"{interface.name}: {error.strerror}"
            return False
        return True

    async def _register(self, zeroconf: AsyncZeroconf, beacon: Beacon, addresses: list[str]) -> None:
        """A new rid gets a new random label; within one only the TXT changes."""
        properties = txt(beacon)
        if self._info is not None and self._shown == beacon.rid:
            new = _info(self._info.name.removesuffix("." + TYPE), beacon.port, properties, addresses)
            await zeroconf.async_update_service(new)
        else:
            if self._info is not None:
                await zeroconf.async_unregister_service(self._info)
            new = _info(new_label(), beacon.port, properties, addresses)
            await zeroconf.async_register_service(new, cooperating_responders=True)
        self._info, self._shown = new, beacon.rid

    def _heard(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if self._info is not None and name == self._info.name:
            return
        if state_change is ServiceStateChange.Removed:
            self._replace(name, [])
        elif len(self._tasks) < RESOLVING:  # a flood of names costs no more than this
            task = asyncio.get_running_loop().create_task(self._resolve(zeroconf, service_type, name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _resolve(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        info = AsyncServiceInfo(service_type, name)
        if not await info.async_request(zeroconf, RESOLVE_MS):
            return
        hosts = [host for host in info.parsed_scoped_addresses() if _reachable(host)][:ADDRESSES]
        found = [read(info.properties, host, info.port or 0, self._clock.now()) for host in hosts]
        mine = self._beacon.rid if self._beacon is not None else None
        self._replace(name, [sighting for sighting in found if sighting is not None and sighting.rid != mine])

    def _replace(self, name: str, new: list[Sighting]) -> None:
        """What a name stands for now; what it stood for before and does no longer is gone."""
        keys = {(sighting.rid, sighting.host) for sighting in new}
        for old in self._names.pop(name, []):
            if (old.rid, old.host) not in keys:
                self._seen(Sighting(self.radio, old.rid, old.host, old.port, old.tags, self._clock.now(), 0.0))
        if new:
            if len(self._names) >= NAMES:
                self._names.pop(next(iter(self._names)))
            self._names[name] = new
        for sighting in new:
            self._seen(sighting)


def _reachable(host: str) -> bool:
    """An IPv6 link-local address heard over IPv4 comes without its interface: nothing can be sent there."""
    address = ipaddress.ip_address(host)
    return address.version == 4 or not address.is_link_local or "%" in host


def new_label() -> str:
    """A random instance and host label, good for one epoch."""
    return os.urandom(8).hex()


def txt(beacon: Beacon) -> dict[str, str]:
    """The TXT record: version, rid, 16 tag slots; nameplate and window port while a window is open, the
    port of the open listener while in a room."""
    shown = {"v": "1", "r": beacon.rid.hex(), "t": b"".join(beacon.slots(SLOTS)).hex()}
    if beacon.nameplate is not None:
        shown["p"] = f"{beacon.nameplate:02d},{beacon.window_port}"
    if beacon.room_port is not None:
        shown["o"] = str(beacon.room_port)
    return shown


def read(properties: dict[bytes, bytes | None], host: str, port: int, now: float) -> Sighting | None:
    """The sighting in a TXT record; None for anything that is not of this protocol."""
    try:
        found = {key.decode("ascii"): (value or b"").decode("ascii") for key, value in properties.items()}
        rid, body = bytes.fromhex(found["r"]), bytes.fromhex(found["t"])
        plate, window = found["p"].split(",") if "p" in found else ("", "")
        nameplate, window_port = (int(plate), int(window)) if plate else (None, None)
        room = int(found["o"]) if "o" in found else None
    except (KeyError, ValueError):
        return None
    windows_ok = nameplate is None or (0 <= nameplate <= 99 and window_port is not None and 0 < window_port < 65536)
    if (
        found.get("v") != "1"
        or len(rid) != RID_BYTES
        or len(body) != SLOTS * TAG_BYTES
        or not 0 < port < 65536
        or not windows_ok
        or (room is not None and not 0 < room < 65536)
    ):
        return None
    tags = frozenset(body[i : i + TAG_BYTES] for i in range(0, len(body), TAG_BYTES))
    return Sighting("mdns", rid, host, port, tags, now, LIFE_S, nameplate, window_port, room_port=room)


def _info(label: str, port: int, properties: dict[str, str], addresses: list[str]) -> AsyncServiceInfo:
    return AsyncServiceInfo(
        TYPE, f"{label}.{TYPE}", parsed_addresses=addresses, port=port, properties=properties, server=f"{label}.local."
    )
