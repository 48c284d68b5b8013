"""Rooms in the store: which this device is in, what their epochs told, and which epochs are closed for good."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict

from pydantic import ValidationError

from moodmesh.nodes.rooms.model import Descriptor, Reading, Room
from moodmesh.nodes.store import Store

log = logging.getLogger(__name__)
KEPT = 1008
"""Readings of a room that are kept: a week of epochs."""


class RoomBook:
    """Every change is durable before it takes effect."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def rooms(self) -> list[Room]:
        """All joined ones, oldest first; without those that another version made, and that cannot be any more."""

        def read(db: sqlite3.Connection) -> list[Room]:
            found = []
            for r in db.execute("SELECT * FROM room WHERE joined > 0 ORDER BY joined"):
                try:
                    descriptor = Descriptor.model_validate_json(r["descriptor"])
                except ValidationError as error:
                    log.warning("a room is left out, join it anew: %s", error.errors()[0]["msg"])
                    continue
                found.append(Room(descriptor, r["trust"], r["joined"], r["closed"], r["size"], r["every"]))
            return found

        return await self._store.read(read)

    async def join(self, room: Room) -> None:
        """What was closed in it before stays closed."""
        d = room.descriptor
        await self._store.write(
            "room.join",
            lambda db: db.execute(
                "INSERT INTO room (id, descriptor, trust, joined, every) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET trust=excluded.trust, joined=excluded.joined, every=excluded.every",
                (d.room, d.model_dump_json(), room.trust, room.joined, room.every),
            ),
        )

    async def leave(self, room: str) -> None:
        """Its readings go; which epochs are closed stays, should it be joined again in one of them."""

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM reading WHERE room=?", (room,))
            db.execute("UPDATE room SET joined=0, size=0 WHERE id=?", (room,))

        await self._store.write("room.leave", write)

    async def pace(self, room: str, every: int) -> None:
        """It takes part in one epoch of so many."""
        await self._store.write("room.pace", lambda db: db.execute("UPDATE room SET every=? WHERE id=?", (every, room)))

    async def close(self, room: str, epoch: int) -> None:
        """This epoch's right was used."""
        query = "UPDATE room SET closed=max(closed, ?) WHERE id=?"
        await self._store.write("room.close", lambda db: db.execute(query, (epoch, room)))

    async def told(self, room: str, reading: Reading, size: int) -> None:
        """One epoch, and how many were there."""

        def write(db: sqlite3.Connection) -> None:
            row = (room, reading.epoch, json.dumps(asdict(reading)))
            db.execute("INSERT OR REPLACE INTO reading (room, epoch, reading) VALUES (?, ?, ?)", row)
            db.execute("DELETE FROM reading WHERE room=? AND epoch<=?", (room, reading.epoch - KEPT))
            db.execute("UPDATE room SET size=? WHERE id=?", (size, room))

        await self._store.write("room.told", write)

    async def readings(self, room: str) -> Sequence[Reading]:
        """Oldest first."""

        def read(db: sqlite3.Connection) -> list[Reading]:
            rows = db.execute("SELECT reading FROM reading WHERE room=? ORDER BY epoch", (room,))
            return [Reading(**json.loads(row["reading"])) for row in rows]

        return await self._store.read(read)
