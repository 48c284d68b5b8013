"""`identity reset`: a new device key; pairs, rules and what belonged to them are forgotten."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from moodmesh.mesh.identity import Identity
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.lock import locked

STORE_FILE = "moodmesh.db"


def reset_identity(home: Path) -> DeviceId:
    """Replace the key of a stopped node; `Refused` while its daemon runs. Jobs and their results are kept."""
    with locked(home):
        identity = Identity.reset(home / "identity")
        if (home / STORE_FILE).exists():
            with sqlite3.connect(home / STORE_FILE) as db:
                db.execute("PRAGMA foreign_keys=ON")
                for table in ("rule", "usage", "execution", "fence", "peer"):
                    db.execute(f"DELETE FROM {table}")  # noqa: S608 - names from this line
    return identity.id
