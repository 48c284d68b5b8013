"""Jobs of other devices, kept here so that they can be looked at when their owner is gone: bounded, seven days (routing §8)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.background import Background
from moodmesh.nodes.messages import Seen
from moodmesh.nodes.store import Store

KEPT_S = 7 * 86400.0
MOST_JOBS, MOST_BYTES = 500, 8 * 2**20
GAP_S, BURST_BYTES = 0.2, 2**20
"""What one owner may have written here each time the disk is used, and how often that is."""


@dataclass(frozen=True)
class Elsewhere:
    """A job of another device: what its owner said of it, and when (wall seconds here); `live`: just now, when asked. `stop`:
    since when this device waits for the owner to hear of a cancel, `words` what came of that meanwhile; `ended`: the devices
    where what ran of it was ended since."""

    owner: DeviceId
    job: Seen
    at: float
    live: bool = False
    stop: float | None = None
    words: str = ""
    ended: frozenset[str] = frozenset()


class Replicas:
    """What other devices told of their jobs. An owner fills its own share alone: the newest it said stays."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._waiting: dict[DeviceId, dict[str, str]] = {}
        self._background = Background()

    def put(self, owner: DeviceId, job: Seen) -> None:
        """Keep it, soon; what an owner says faster than it may write is dropped, and said again when it changes."""
        waiting, body = self._waiting.setdefault(owner, {}), job.model_dump_json(exclude_none=True)
        if sum(map(len, waiting.values())) + len(body) > BURST_BYTES:
            return
        if not any(self._waiting.values()):
            self._background.spawn(self._write())
        waiting[job.id] = body

    async def _write(self) -> None:
        await self._clock.sleep(GAP_S)
        waiting, self._waiting, at = self._waiting, {}, self._clock.wall()

        def write(db: sqlite3.Connection) -> None:
            for owner, jobs in waiting.items():
                for job, body in jobs.items():
                    db.execute(_PUT, (owner, job, body, len(body), at, at, owner))
                db.execute(_SURPLUS, (owner, owner, MOST_JOBS, MOST_BYTES))

        await self._store.write("replica.put", write)

    async def newest(self, limit: int) -> list[Elsewhere]:
        """What was heard last, at most `limit` of each owner: none hides the jobs of another one. A part is shown with its
        parent."""
        query = """SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY owner ORDER BY at DESC, job) AS n FROM replica
                   WHERE first > ? AND json_extract(body, '$.parent') IS NULL) WHERE n <= ?"""
        return await self._read(query, self._oldest(), limit)

    async def find(self, prefix: str) -> list[Elsewhere]:
        """Jobs whose id begins with `prefix`, at most two: one, none, or ambiguous."""
        query = "SELECT * FROM replica WHERE first > ? AND job >= ? AND job < ? LIMIT 2"
        return await self._read(query, self._oldest(), prefix, prefix + "g")

    async def stop(self, owner: DeviceId, job: str) -> bool:
        """A cancel waits for the owner; False when nothing is kept of that job."""
        query, at = "UPDATE replica SET stop=ifnull(stop, ?) WHERE owner=? AND job=?", self._clock.wall()
        return await self._store.write("replica.stop", lambda db: db.execute(query, (at, owner, job)).rowcount > 0)

    async def ended(self, owner: DeviceId, jobs: Iterable[str], device: DeviceId) -> None:
        """What ran of some jobs on a device has been ended; shown until their owner says more of them."""
        query = "UPDATE replica SET ended = ended || ' ' || ? WHERE owner=? AND job=?"
        rows = [(device, owner, job) for job in jobs]
        await self._store.write("replica.ended", lambda db: db.executemany(query, rows))

    async def stops(self, owner: DeviceId) -> list[str]:
        """The jobs of an owner whose cancel it has not answered."""
        query = "SELECT job FROM replica WHERE owner=? AND stop IS NOT NULL ORDER BY stop"
        return await self._store.read(lambda db: [row["job"] for row in db.execute(query, (owner,))])

    async def answered(self, owner: DeviceId, job: str) -> None:
        """The owner has decided about a cancel."""
        query = "UPDATE replica SET stop=NULL WHERE owner=? AND job=?"
        await self._store.write("replica.answered", lambda db: db.execute(query, (owner, job)))

    async def forget(self, owner: DeviceId) -> None:
        """Nothing of an owner is left: not in memory, not in the file."""
        self._waiting.pop(owner, None)
        query = "DELETE FROM replica WHERE owner=?"
        if await self._store.write("replica.forget", lambda db: db.execute(query, (owner,)).rowcount):
            await self._store.scrub()

    async def expire(self) -> None:
        """Delete what is older than seven days."""
        await self._store.write(
            "replica.expire", lambda db: db.execute("DELETE FROM replica WHERE first <= ?", (self._oldest(),))
        )

    async def close(self) -> None:
        """Drop what waits."""
        await self._background.finish(cancel=True)

    def _oldest(self) -> float:
        return self._clock.wall() - KEPT_S

    async def _read(self, query: str, *values: object) -> list[Elsewhere]:
        rows = await self._store.read(lambda db: db.execute(query, values).fetchall())
        return [found for row in rows if (found := _elsewhere(row)) is not None]


# An owner that was forgotten meanwhile has no row to refer to; what is told again is kept no longer for that.
_PUT = """INSERT INTO replica (owner, job, body, size, first, at)
    SELECT ?,?,?,?,?,? WHERE EXISTS (SELECT 1 FROM peer WHERE device=?)
    ON CONFLICT (owner, job) DO UPDATE SET body=excluded.body, size=excluded.size, at=excluded.at, ended=''"""
_SURPLUS = """DELETE FROM replica WHERE owner=? AND job IN (
    SELECT job FROM (SELECT job, row_number() OVER newest AS n, sum(size) OVER newest AS bytes FROM replica WHERE owner=?
                     WINDOW newest AS (ORDER BY at DESC, job ROWS UNBOUNDED PRECEDING)) WHERE n > ? OR bytes > ?)"""


def _elsewhere(row: sqlite3.Row) -> Elsewhere | None:
    """None for a row of another version of Moodmesh."""
    try:
        job, ended = Seen.model_validate_json(row["body"]), frozenset(row["ended"].split())
        return Elsewhere(DeviceId(row["owner"]), job, row["at"], stop=row["stop"], ended=ended)
    except ValidationError:
        return None
