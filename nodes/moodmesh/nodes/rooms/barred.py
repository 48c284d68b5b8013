"""Who was found out cheating in a room, by device or by network address: left out here for a day (room-mood §5.1)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from moodmesh.mesh.clock import Clock
from moodmesh.nodes.store import Store

DAY_S = 86_400.0


class Barred:
    """Durable: a restart forgives nobody. A stranger comes back under a new key, but hardly from a new address."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._until: dict[str, float] = {}

    async def load(self) -> None:
        """What earlier runs of the node found out."""
        now = self._clock.wall()

        def read(db: sqlite3.Connection) -> dict[str, float]:
            db.execute("DELETE FROM room_barred WHERE until<=?", (now,))
            return {row["who"]: row["until"] for row in db.execute("SELECT who, until FROM room_barred")}

        self._until = await self._store.write("room.barred", read)

    async def add(self, whom: Iterable[str]) -> None:
        """From now on, for a day."""
        found = dict.fromkeys(whom, self._clock.wall() + DAY_S)
        if found:
            self._until |= found
            query = "INSERT OR REPLACE INTO room_barred (who, until) VALUES (?, ?)"
            await self._store.write("room.bar", lambda db: db.executemany(query, found.items()))

    def __contains__(self, who: object) -> bool:
        return isinstance(who, str) and self._until.get(who, 0.0) > self._clock.wall()
