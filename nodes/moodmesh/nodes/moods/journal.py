"""The journal of moods in the store: what was told, for some days; what a day was like, until it is erased (systems S2)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from moodmesh.nodes.moods.state import Told
from moodmesh.nodes.store import Store

DAY_S = 86400.0
SELECT = "SELECT at, source, valence, arousal, valence_sd, arousal_sd FROM told ORDER BY at"
INSERT = "INSERT INTO told (at, source, valence, arousal, valence_sd, arousal_sd) VALUES (?, ?, ?, ?, ?, ?)"
ROLL_UP = (
    "INSERT INTO mood_day (at, valence, arousal, count) VALUES (?1, ?2, ?3, 1) ON CONFLICT (at) DO UPDATE SET"
    " valence = (valence * count + ?2) / (count + 1), arousal = (arousal * count + ?3) / (count + 1), count = count + 1"
)


class Day(NamedTuple):
    """One day (UTC, by its first second): means and how many observations."""

    at: float
    valence: float
    arousal: float
    heard: int


class MoodJournal:
    """Append only, but for what its owner erases. No words are kept, only what they came to."""

    def __init__(self, store: Store, keep_days: float) -> None:
        self._store, self._keep_s = store, keep_days * DAY_S
        self.told: list[Told] = []

    async def load(self) -> None:
        """What is kept."""
        self.told = await self._store.read(lambda db: [Told(*row) for row in db.execute(SELECT)])

    async def add(self, one: Told) -> None:
        """Durable before it counts. What is older than the retention goes, rolled up into its day."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(INSERT, one)
            db.execute(ROLL_UP, (one.at - one.at % DAY_S, one.valence, one.arousal))
            db.execute("DELETE FROM told WHERE at < ?", (one.at - self._keep_s,))

        await self._store.write("mood.add", write)
        self.told = [t for t in (*self.told, one) if t.at >= one.at - self._keep_s]

    async def days(self, since: float) -> Sequence[Day]:
        """Oldest first."""
        query = "SELECT at, valence, arousal, count FROM mood_day WHERE at >= ? ORDER BY at"
        return await self._store.read(lambda db: [Day(*row) for row in db.execute(query, (since,))])

    async def erase(self) -> int:
        """All of it, overwritten on the disk; how many observations and days there were."""

        def write(db: sqlite3.Connection) -> int:
            gone: int = db.execute("DELETE FROM told").rowcount + db.execute("DELETE FROM mood_day").rowcount
            return gone

        gone = await self._store.write("mood.erase", write)
        self.told = []
        await self._store.scrub()
        return gone
