"""mDNS `_moodmesh._tcp` by zeroconf: random labels that rotate with the rid; a hint, never liveness (mesh-lessons §4)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from zeroconf import IPVersion, NonUniqueNameException, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from moodmesh.mesh.clock import Clock, SystemClock
from moodmesh.mesh.discovery.interfaces import usable
from moodmesh.mesh.rid import RID_BYTES, TAG_BYTES, slots
from moodmesh.mesh.seams import Beacon, Sighting, Unavailable

TYPE = "_moodmesh._tcp.local."
SLOTS = 16
LIFE_S = 120.0
RESOLVE_MS = 3000


class MdnsFinder:
    """Implements `Finder`."""

    radio = "mdns"

    def __init__(self, interfaces: Sequence[str] = (), clock: Clock | None = None) -> None:
        self._wanted, self._clock = interfaces, clock or SystemClock()
        self._beacon: Beacon | None = None
        self._changed = asyncio.Event()
        self._info: AsyncServiceInfo | None = None
        self._shown: bytes = b""
        self._names: dict[str, Sighting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen: Callable[[Sighting], None] = lambda sighting: None

    def show(self, beacon: Beacon) -> None:
        """Announce this from now on."""
        self._beacon = beacon
        self._changed.set()

    async def ask(self, host: str) -> None:
        """mDNS cannot ask one host."""

    async def run(self, seen: Callable[[Sighting], None]) -> None:
        """Register and browse until cancelled, then unregister."""
        self._seen = seen
        interfaces, _ = usable(self._wanted)
        addresses = [a for i in interfaces for a in i.v4]
        if not addresses:
            raise Unavailable("no interface with an IPv4 address is up", "connect to a network, or set mesh.interfaces")
        try:
            zeroconf = AsyncZeroconf(interfaces=addresses, ip_version=IPVersion.V4Only)
        except (OSError, RuntimeError) as error:
            raise Unavailable(f"mDNS cannot start: {error}", "is UDP port 5353 blocked? see `moodmesh doctor`") from None
        browser = AsyncServiceBrowser(zeroconf.zeroconf, [TYPE], handlers=[self._heard])
        try:
            while True:
                self._changed.clear()
                if self._beacon is not None:
                    await self._register(zeroconf, self._beacon, addresses)
                await self._changed.wait()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await browser.async_cancel()
            with contextlib.suppress(Exception):
                await zeroconf.async_unregister_all_services()
            await zeroconf.async_close()

    async def _register(self, zeroconf: AsyncZeroconf, beacon: Beacon, addresses: list[str]) -> None:
        """A new rid gets a new random label; within one only the TXT changes."""
        properties = txt(beacon)
        if self._info is not None and self._shown == beacon.rid:
            new = _info(self._info.name.removesuffix("." + TYPE), beacon.port, properties, addresses)
            await zeroconf.async_update_service(new)
        else:
            if self._info is not None:
                await zeroconf.async_unregister_service(self._info)
            new = _info(os.urandom(8).hex(), beacon.port, properties, addresses)
            with contextlib.suppress(NonUniqueNameException):
                await zeroconf.async_register_service(new, cooperating_responders=True)
        self._info, self._shown = new, beacon.rid

    def _heard(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if self._info is not None and name == self._info.name:
            return
        if state_change is ServiceStateChange.Removed:
            if (old := self._names.pop(name, None)) is not None:
                self._seen(Sighting(self.radio, old.rid, old.host, old.port, old.tags, self._clock.now(), 0.0))
            return
        self._spawn(self._resolve(zeroconf, service_type, name))

    async def _resolve(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        info = AsyncServiceInfo(service_type, name)
        if not await info.async_request(zeroconf, RESOLVE_MS):
            return
        for host in info.parsed_scoped_addresses()[:4]:
            sighting = read(info.properties, host, info.port or 0, self._clock.now())
            if sighting is not None and (self._beacon is None or sighting.rid != self._beacon.rid):
                if len(self._names) > 5000:
                    self._names.clear()
                self._names[name] = sighting
                self._seen(sighting)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def txt(beacon: Beacon) -> dict[str, str]:
    """The TXT record: version, rid, 16 tag slots; nameplate and window port while a window is open."""
    shown = {"v": "1", "r": beacon.rid.hex(), "t": b"".join(slots(beacon.tags, SLOTS)).hex()}
    if beacon.nameplate is not None:
        shown["p"] = f"{beacon.nameplate:02d},{beacon.window_port}"
    return shown


def read(properties: dict[bytes, bytes | None], host: str, port: int, now: float) -> Sighting | None:
    """The sighting in a TXT record; None for anything that is not of this protocol."""
    try:
        found = {key.decode("ascii"): (value or b"").decode("ascii") for key, value in properties.items()}
        rid, body = bytes.fromhex(found["r"]), bytes.fromhex(found["t"])
        plate, window = found["p"].split(",") if "p" in found else ("", "")
        nameplate, window_port = (int(plate), int(window)) if plate else (None, None)
    except (KeyError, ValueError):
        return None
    windows_ok = nameplate is None or (0 <= nameplate <= 99 and window_port is not None and 0 < window_port < 65536)
    if (
        found.get("v") != "1"
        or len(rid) != RID_BYTES
        or len(body) != SLOTS * TAG_BYTES
        or not 0 < port < 65536
        or not windows_ok
    ):
        return None
    tags = frozenset(body[i : i + TAG_BYTES] for i in range(0, len(body), TAG_BYTES))
    return Sighting("mdns", rid, host, port, tags, now, LIFE_S, nameplate, window_port)


def _info(label: str, port: int, properties: dict[str, str], addresses: list[str]) -> AsyncServiceInfo:
    packed = [socket.inet_aton(a) for a in addresses]
    return AsyncServiceInfo(
        TYPE, f"{label}.{TYPE}", addresses=packed, port=port, properties=properties, server=f"{label}.local."
    )
