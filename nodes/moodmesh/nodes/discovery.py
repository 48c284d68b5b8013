"""Discovery of one node: its finders under a supervisor, the beacon they show, and what is done with a sighting."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from moodmesh.mesh.address import Address, parse, show
from moodmesh.mesh.ble import finder as ble
from moodmesh.mesh.ble.finder import QUIET_S, BleFinder
from moodmesh.mesh.ble.platform import open_radio
from moodmesh.mesh.discovery.hello import ACTIVE_S, IDLE_S, HelloFinder
from moodmesh.mesh.discovery.interfaces import changed, usable
from moodmesh.mesh.discovery.mdns import MdnsFinder
from moodmesh.mesh.discovery.table import Seen, Table
from moodmesh.mesh.reach import PEER, ROOM, WINDOW
from moodmesh.mesh.rid import match, tags, whole
from moodmesh.mesh.seams import Beacon, DeviceId, Sighting, Unavailable
from moodmesh.mesh.tagslots import spare_slots
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.services import Part, Services

RETRY_S = (1.0, 60.0)
RADIO_RETRY_S = 10.0
Adopt = Callable[[socket.socket, str], None]
PROVEN_S = 1.0
log = logging.getLogger(__name__)


class Discovery:
    """Who is near. A sighting with a tag of a pair makes the links dial; nothing else follows from one."""

    def __init__(self, node: Services) -> None:
        self._node = node
        mesh = node.config.mesh
        self._finders: list[HelloFinder | MdnsFinder | BleFinder] = []
        self._configured = _configured(mesh.peers)
        if mesh.hello:
            self._finders.append(HelloFinder(mesh.interfaces, mesh.hello_port, node.clock))
        if mesh.mdns:
            self._finders.append(MdnsFinder(mesh.interfaces, node.clock))
        if mesh.bluetooth == "off":
            node.health["finder ble"] = Part("unavailable", "Bluetooth is switched off", "mesh.bluetooth = active turns it on")
        else:
            self._finders.append(BleFinder(lambda: open_radio(mesh.adapter), self._come, node.clock))
        self._table = Table()
        self._window: tuple[int, int, Adopt] | None = None
        self._rooms: tuple[tuple[bytes, ...], int | None, Adopt | None] = ((), None, None)
        self._news = asyncio.Event()
        self._turn, self._spare = 0, spare_slots()
        node.endpoint.rids.watch(self._rotated)
        node.pairs.watch(lambda peer, pair: self._show())

    async def run(self) -> None:
        """Look until cancelled; a finder that cannot work here is reported in health, and tried again."""
        self._show()
        async with asyncio.TaskGroup() as group:
            for finder in self._finders:
                group.create_task(self._supervise(finder))
            group.create_task(self._gears())
            group.create_task(self._seek_known())

    def open_window(self, nameplate: int, port: int, adopt: Adopt) -> None:
        """Show a pairing window; `adopt` gets who comes by radio."""
        self._window = (nameplate, port, adopt)
        self._show()

    def close_window(self) -> None:
        """Show it no longer."""
        self._window = None
        self._show()

    def show_rooms(self, tags: Sequence[bytes], port: int | None, adopt: Adopt | None = None) -> None:
        """Show the tags of the rooms this device is in, and where its open listener is; `adopt` gets who comes by radio."""
        self._rooms = (tuple(tags), port, adopt)
        self._show()

    def in_room(self, tag: bytes) -> list[tuple[bytes, Address]]:
        """Devices sighted with the tag of a room: rid, and the address of the open listener."""
        near = self._table.now(self._node.clock.now())
        return [(s.rid, s.rooms[0]) for s in near if s.rooms and any(tag[: len(shown)] == shown for shown in s.tags)]

    def open_listeners(self) -> list[Address]:
        """Where devices in rooms can be asked which of those are open."""
        return [s.rooms[0] for s in self._table.now(self._node.clock.now()) if s.rooms]

    def look_for(self, peer: DeviceId) -> None:
        """A new pair: dial what was sighted with its tag, and ask again who is there."""
        self._show()
        for seen in self._table.now(self._node.clock.now()):
            if any(pair.peer == peer for pair in match(seen.tags, seen.rid, self._node.pairs)):
                self._node.endpoint.links.seek(peer, seen.addresses, whole(seen.rid))

    async def windows(self, nameplate: int) -> AsyncGenerator[list[list[Address]], None]:
        """For every device that shows this nameplate the addresses of its window; again whenever there is news."""
        self._show()
        while True:
            self._news.clear()
            found = [list(s.windows) for s in self._table.now(self._node.clock.now()) if s.nameplate == nameplate and s.windows]
            if found:
                yield found
            await self._news.wait()

    def nearest(self) -> Seen | None:
        """Of the devices that pair now and are no pair of ours, the one with the strongest signal."""
        near = [s for s in self._table.now(self._node.clock.now()) if s.windows and s.signal is not None]
        strangers = [s for s in near if not match(s.tags, s.rid, self._node.pairs)]
        return max(strangers, key=lambda s: s.signal or 0.0, default=None)

    async def news(self) -> None:
        """Return when somebody is sighted."""
        self._news.clear()
        await self._news.wait()

    def addresses(self) -> list[str]:
        """This device's own addresses, for a QR code."""
        interfaces, _ = usable(self._node.config.mesh.interfaces)
        return [address for i in interfaces for address in (*i.v4, *(a for a in i.v6 if not a.startswith("fe80")))]

    def sighted(self) -> dict[str, int]:
        """How many devices each radio sees now."""
        seen = self._table.now(self._node.clock.now())
        return {finder.radio: sum(finder.radio in s.radios for s in seen) for finder in self._finders}

    def unparsable(self) -> int:
        """Datagrams on the hello port that were no hello."""
        return sum(finder.unparsable for finder in self._finders if isinstance(finder, HelloFinder | BleFinder))

    def near(self) -> dict[str, Any]:
        """Who is sighted or linked, as `moodmesh near` shows it."""
        linked = {p.id: p for p in self._node.peers.linked()}
        devices = [self._seen(seen) for seen in self._table.now(self._node.clock.now())]
        sighted = {d["device"] for d in devices}
        now = self._node.clock.now()
        for peer in linked.values():
            if peer.id not in sighted and peer.link is not None:
                devices.append(
                    _device(peer.name, peer.id, "linked", ["link"], now - peer.heard, [show(peer.link.address)], None)
                )
        radios = [
            {"radio": name.split()[1], "state": part.state, "reason": part.detail, "remedy": part.remedy}
            for name, part in self._node.health.items()
            if name.startswith("finder ")
        ]
        troubles = {pair.name: why for pair in self._node.pairs if (why := self._node.peers.trouble(pair.peer))}
        return {"devices": devices, "radios": radios, "troubles": troubles}

    def _seen(self, seen: Seen) -> dict[str, Any]:
        pairs = match(seen.tags, seen.rid, self._node.pairs)
        pair = pairs[0] if pairs else None
        linked = pair is not None and self._node.endpoint.links.get(pair.peer) is not None
        state = "linked" if linked else "known" if pair else "seen"
        at = [show(found) for found in seen.addresses]
        name, peer = (pair.name, pair.peer) if pair else (None, None)
        return _device(name, peer, state, list(seen.radios), seen.age_s, at, seen.nameplate, seen.signal)

    def _show(self) -> None:
        nameplate, port, _ = self._window or (None, None, None)
        shown, room_port, _ = self._rooms
        for finder in self._finders:
            rid = self._node.endpoint.rids.current[: finder.id_bytes]
            real = tags(self._node.pairs, rid)
            said = (self._node.endpoint.port, (*shown, *real), nameplate, port)
            finder.show(Beacon(rid, *said, self._spare, self._turn, room_port, len(shown)))

    def _come(self, host: str, port: int, sock: socket.socket) -> bool:
        """Somebody opened a stream by radio."""
        window = self._window[2] if self._window is not None else None
        adopt = {PEER: self._node.endpoint.acceptor.adopt, WINDOW: window, ROOM: self._rooms[2]}.get(port)
        if adopt is not None:
            adopt(sock, host)
        return adopt is not None

    def _rotated(self) -> None:
        self._turn, self._spare = self._turn + 1, spare_slots()
        self._rooms = ((), None, None)  # the new identifier never beside a tag or port of the old one
        self._show()

    def _sighted(self, sighting: Sighting) -> None:
        new = self._table.put(sighting, self._node.clock.now())
        if sighting.ttl_s > 0:
            for pair in match(sighting.tags, sighting.rid, self._node.pairs):
                self._node.endpoint.links.seek(pair.peer, [(sighting.host, sighting.port)], whole(sighting.rid), fresh=new)
        self._news.set()

    async def _seek_known(self) -> None:
        """At the start and after each change of network: dial and ask at the addresses that were good, and those configured."""
        mesh = self._node.config.mesh
        while True:
            interfaces, _ = usable(mesh.interfaces)
            for pair in list(self._node.pairs):
                known = [*self._node.book.addresses.get(pair.peer, []), *self._configured]
                if known:
                    self._node.endpoint.links.seek(pair.peer, known, fresh=True)
                for host in {host for host, _ in known}:
                    for finder in self._finders:
                        await finder.ask(host)
            await changed(mesh.interfaces, interfaces, self._node.clock)

    async def _gears(self) -> None:
        """Active while a window is open, a pair is away or work runs; idle otherwise."""
        while True:
            away = any(self._node.endpoint.links.get(pair.peer) is None for pair in self._node.pairs)
            active = self._window is not None or away or self._node.executor.busy()
            for finder in self._finders:
                if isinstance(finder, HelloFinder):
                    finder.interval_s = ACTIVE_S if active else IDLE_S
                if isinstance(finder, BleFinder):
                    quiet = not active or self._node.config.mesh.bluetooth == "quiet"
                    finder.interval_s = QUIET_S if quiet else ble.ACTIVE_S
                part = self._node.health.get(f"finder {finder.radio}")
                if part is not None and part.state == "ok":
                    part.detail = "; ".join(f"{where}: {why}" for where, why in finder.trouble.items())
            await asyncio.sleep(ACTIVE_S)

    async def _supervise(self, finder: HelloFinder | MdnsFinder | BleFinder) -> None:
        wait, name = RETRY_S[0], f"finder {finder.radio}"
        self._node.health[name] = Part("ok")
        while True:
            proof = asyncio.get_running_loop().call_later(PROVEN_S, self._found, name, Part("ok"))
            interfaces, _ = usable(self._node.config.mesh.interfaces)
            try:
                await finder.run(self._sighted)
            except Unavailable as missing:
                self._found(name, Part("unavailable", missing.reason, missing.remedy))
            except OSError as error:
                self._found(name, Part("failed", str(error), "see `moodmesh doctor`; it is tried again"))
            except Exception as error:  # a fault of ours: one finder less is not the end of the node
                log.exception("%s", name)
                self._found(name, Part("failed", f"{type(error).__name__}: {error}", "the log says where; it is tried again"))
            finally:
                proof.cancel()
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # a TaskGroup of Python 3.11 loses it when one of its tasks fails just then
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await changed(self._node.config.mesh.interfaces, interfaces, self._node.clock)
            wait = min(RADIO_RETRY_S if isinstance(finder, BleFinder) else RETRY_S[1], wait * 2)

    def _found(self, name: str, part: Part) -> None:
        """Keep how a finder is, and say so when that has changed."""
        before, self._node.health[name] = self._node.health[name], part
        if part.state == "ok" and before.state != "ok":
            log.info("%s works again", name)
        elif part.state != "ok" and part != before:
            log.warning("%s: %s; %s. Jobs on this device go on without it", name, part.detail, part.remedy)


def _configured(peers: Sequence[str]) -> list[Address]:
    try:
        return [parse(peer) for peer in peers]
    except ValueError as error:
        raise UsageError(f"mesh.peers: {error}") from None


def _device(
    name: str | None,
    device: str | None,
    state: str,
    radios: list[str],
    age_s: float,
    at: list[str],
    nameplate: int | None,
    signal: float | None = None,
) -> dict[str, Any]:
    return {
        "name": name, "device": device, "state": state, "radios": radios, "age_s": age_s, "addresses": at, "pairing": nameplate,
        "signal": signal,
    }  # fmt: skip
