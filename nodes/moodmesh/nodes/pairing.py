"""`moodmesh pair` on both sides: one window at a time on the host, finding and joining it on the guest (pairing §5)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

from moodmesh.mesh.address import Address, parse, show
from moodmesh.mesh.discovery.table import Seen
from moodmesh.mesh.errors import MeshError, NoWindow
from moodmesh.mesh.pairing import code as codes
from moodmesh.mesh.pairing.flow import Me
from moodmesh.mesh.pairing.join import join
from moodmesh.mesh.pairing.window import WINDOW_S, Window
from moodmesh.mesh.pairs import Pair
from moodmesh.nodes.discovery import Discovery
from moodmesh.nodes.errors import Refused, UsageError
from moodmesh.nodes.services import Services
from moodmesh.nodes.store import Store

FAILURES_PER_DAY = 10
FIND_S = 10.0


class DailyBudget:
    """Wrong codes of this device per UTC day, kept across restarts."""

    def __init__(self, store: Store, wall: Any) -> None:
        self._store, self._wall = store, wall

    async def reserve(self) -> bool:
        """Count one in advance; False when ten are used up."""
        return await self._store.write("pairing.reserve", lambda db: self._add(db, 1))

    async def give_back(self) -> None:
        """It was none."""
        await self._store.write("pairing.give_back", lambda db: self._add(db, -1))

    def _add(self, db: sqlite3.Connection, change: int) -> bool:
        """The day is the latest ever seen, so that a clock set back refills nothing."""
        today = datetime.fromtimestamp(self._wall(), UTC).date().isoformat()
        row = db.execute("SELECT day, count FROM pairing_failure ORDER BY day DESC LIMIT 1").fetchone()
        day, used = (row["day"], row["count"]) if row and row["day"] >= today else (today, 0)
        if change > 0 and used >= FAILURES_PER_DAY:
            return False
        db.execute("DELETE FROM pairing_failure")
        db.execute("INSERT INTO pairing_failure VALUES (?, ?)", (day, max(0, used + change)))
        return True


class _Queue:
    """What the window says, as events for the user's screen."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def new_code(self) -> None:
        """A wrong code was typed."""
        self.events.put_nowait({"event": "wrong_code"})

    def locked(self, why: str) -> None:
        """No more tries."""
        self.events.put_nowait({"event": "locked", "message": why})

    def failed(self, why: str) -> None:
        """A pairing broke off."""
        self.events.put_nowait({"event": "failed", "message": why})


class Pairing:
    """Both roles, for one node."""

    def __init__(self, node: Services, discovery: Discovery) -> None:
        self._node, self._discovery = node, discovery
        self._open = False

    def _me(self) -> Me:
        return Me(self._node.identity, self._node.name, self._node.clock.wall())

    async def host(self) -> AsyncGenerator[dict[str, Any], None]:
        """Open a window and tell what happens: `open` with the code, `wrong_code` with the next, and at last `paired`,
        `locked` or `expired`. Closing the iterator closes the window."""
        if self._open:
            raise Refused("a pairing window is already open on this device: end that `moodmesh pair`, or use its code", "busy")
        self._open = True
        told = _Queue()
        try:
            window = Window(self._me, self._node.book.add, DailyBudget(self._node.store, self._node.clock.wall), told)
            async with window.open():
                self._discovery.open_window(int(window.nameplate), window.port, window.adopt)
                async for event in self._watch(window, told):
                    yield event
        finally:
            self._open = False
            self._discovery.close_window()

    async def _watch(self, window: Window, told: _Queue) -> AsyncGenerator[dict[str, Any], None]:
        end = self._node.clock.now() + WINDOW_S
        window.paired.add_done_callback(lambda done: told.events.put_nowait(self._paired(done.result())))
        yield self._shown(window, "open", WINDOW_S)
        while (left := end - self._node.clock.now()) > 0:
            try:
                async with asyncio.timeout(left):
                    event = await told.events.get()
            except TimeoutError:
                break
            yield self._shown(window, event["event"], left) if event["event"] == "wrong_code" else event
            if event["event"] in ("paired", "locked"):
                return
        yield {"event": "expired", "message": "nobody came within two minutes; run `moodmesh pair` again"}

    def _shown(self, window: Window, event: str, left: float) -> dict[str, Any]:
        addresses = [(host, window.port) for host in self._discovery.addresses()]
        qr = codes.qr_text(window.nameplate, window.spki, window.token, addresses)
        return {"event": event, "code": window.code, "qr": qr, "port": window.port, "left_s": left, "addresses": addresses}

    def _paired(self, pair: Pair) -> dict[str, Any]:
        pair = self._node.pairs.get(pair.peer) or pair
        self._discovery.look_for(pair.peer)
        return {
            "event": "paired",
            "name": pair.name,
            "device": pair.peer,
            "words": codes.words(self._node.identity.id, pair.peer),
        }

    async def join(self, text: str, at: str | None, near: bool = False) -> dict[str, Any]:
        """Pair with the window that shows this code, `near`: if it is that of the nearest device; `NoWindow`, `WrongCode`,
        `BadCode`."""
        code = codes.parse(text)
        if near:
            addresses = list((await self._nearest(int(code.nameplate))).windows)
        else:
            addresses = [_given(at)] if at else list(code.addresses) or await self._find(int(code.nameplate))
        problem: MeshError = NoWindow("no address to try")
        for address in addresses:
            try:
                pair = await join(self._me(), code, address, self._node.book.add)
            except NoWindow as error:
                problem = error
                continue
            return self._paired(pair)
        raise problem

    async def nearest(self) -> dict[str, Any]:
        """The nearest device by Bluetooth that pairs now: how its code begins, and its signal in dBm; `NoWindow`."""
        seen = await self._nearest()
        return {"nameplate": f"{seen.nameplate:02d}", "signal": seen.signal, "addresses": [show(at) for at in seen.windows]}

    async def _nearest(self, nameplate: int | None = None) -> Seen:
        """Looks for a while; `nameplate`: what its code has to begin with."""
        if (radio := self._node.health["finder ble"]).state == "unavailable":
            raise NoWindow(f"{radio.detail}; {radio.remedy}. Without --near the network is searched")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIND_S):
                while (seen := self._discovery.nearest()) is None:
                    await self._discovery.news()
        if (seen := self._discovery.nearest()) is None:
            raise NoWindow(
                "no device that pairs is in range of Bluetooth: run `moodmesh pair` there first, and hold the two together; "
                "`moodmesh near` tells whether Bluetooth works here"
            )
        if nameplate not in (None, seen.nameplate):
            raise NoWindow(
                f"the nearest device shows a code that begins with {seen.nameplate:02d}: type that, or leave out --near"
            )
        return seen

    async def _find(self, nameplate: int) -> list[Address]:
        """Where the window with this nameplate is; waits a while for discovery to see it."""
        async with contextlib.aclosing(self._discovery.windows(nameplate)) as found:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIND_S):
                    async for devices in found:
                        if len(devices) > 1:
                            raise NoWindow(
                                f"two devices show a code that begins with {nameplate:02d}: "
                                "close one of the windows and open it again"
                            )
                        return devices[0]
        raise NoWindow(
            f"no device nearby shows a code that begins with {nameplate:02d}. Is its window open? "
            "If the network hides it, add --at HOST:PORT as the other screen shows; `moodmesh doctor` tells more"
        )


def _given(at: str) -> Address:
    try:
        return parse(at)
    except ValueError as error:
        raise UsageError(f"--at: {error}, as the other device shows it") from None
