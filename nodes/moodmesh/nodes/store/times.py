"""A clock that was set back: what is stored then has times that have not come yet."""

from __future__ import annotations

import sqlite3

AHEAD_S = 60.0
REMEDY = "`sudo timedatectl set-ntp true`; nothing is lost, and quotas are not refilled meanwhile"
_TIMES = {"job": "max(created)", "peer": "max(max(paired, coalesce(last_seen, 0)))", "rate": "max(measured)"}


def set_back(db: sqlite3.Connection, wall: float) -> str:
    """How far a clock is behind what was stored, in words; empty within a minute."""
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    times = [db.execute(f"SELECT {time} FROM {table}").fetchone()[0] for table, time in _TIMES.items() if table in tables]  # noqa: S608
    behind = max((t for t in times if t is not None), default=0.0) - wall
    return f"it is {behind / 3600:.1f} h behind what this node has stored" if behind > AHEAD_S else ""
