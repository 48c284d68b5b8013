"""Rooms in the store: which this device is in, what their epochs told, and which epochs are closed for good."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict

from pydantic import ValidationError

from moodmesh.nodes.errors import Refused
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
        """All joined ones, oldest first; those that another version made, and that cannot be any more, are left."""

        def sort_out(db: sqlite3.Connection) -> list[Room]:
            found = []
            for row in db.execute("SELECT * FROM room WHERE joined > 0 ORDER BY joined").fetchall():
                if (descriptor := _readable(row)) is not None:
                    found.append(_room(row, descriptor))
                else:
                    log.warning("a room that another version made cannot be any more, and is left: join it anew")
                    _leave(db, row["id"])
            return found

        return await self._store.write("room.rooms", sort_out)

    async def fits(self, new: Descriptor) -> None:
        """`Refused` for a room that this device has known under other conditions: whoever makes a code picks its id, and
        consent to one room is none to another."""
        await self._store.read(lambda db: _fits(db, new))

    async def join(self, room: Room) -> Room:
        """What was closed in it before stays closed. `Refused` as `fits` does."""
        d = room.descriptor

        def write(db: sqlite3.Connection) -> Room:
            _fits(db, d)
            db.execute(
                "INSERT INTO room (id, descriptor, trust, joined, every) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET descriptor=excluded.descriptor, trust=excluded.trust, joined=excluded.joined, every=excluded.every",
                (d.room, d.model_dump_json(), room.trust, room.joined, room.every),
            )
            return _room(db.execute("SELECT * FROM room WHERE id=?", (d.room,)).fetchone(), d)

        return await self._store.write("room.join", write)

    async def leave(self, room: str) -> None:
        """Its readings go; which epochs are closed stays, should it be joined again in one of them."""
        await self._store.write("room.leave", lambda db: _leave(db, room))

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


def _readable(row: sqlite3.Row) -> Descriptor | None:
    try:
        return Descriptor.model_validate_json(row["descriptor"])
    except ValidationError:
        return None


def _room(row: sqlite3.Row, descriptor: Descriptor) -> Room:
    return Room(descriptor, row["trust"], row["joined"], row["closed"], row["size"], row["every"])


def _fits(db: sqlite3.Connection, new: Descriptor) -> None:
    row = db.execute("SELECT * FROM room WHERE id=?", (new.room,)).fetchone()
    known = None if row is None else _readable(row)
    if known is not None and known != new:
        about = f"{known.kind} room {known.name}" if known.kind != "circle" else f"circle {known.name}"
        raise Refused(
            f"this device knows the room of this code as the {about}, with other conditions: ask for a new room", "other"
        )


def _leave(db: sqlite3.Connection, room: str) -> None:
    db.execute("DELETE FROM reading WHERE room=?", (room,))
    db.execute("UPDATE room SET joined=0, size=0 WHERE id=?", (room,))
