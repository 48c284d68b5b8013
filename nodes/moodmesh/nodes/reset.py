"""`identity reset`: a new device key; pairs, rules and what belonged to them are forgotten."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from moodmesh.mesh.identity import Identity
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.lock import locked
from moodmesh.nodes.store.store import opened

STORE_FILE = "moodmesh.db"
LEDGER_FILE = "ledger"


def reset_identity(home: Path) -> tuple[DeviceId, Path | None]:
    """Replace the key of a stopped node, and where a damaged store was set aside; `Refused` while its daemon runs.

    The pairs go first: a new key with old pairs would be worse than an old key without any. Jobs and results are kept.
    """
    with locked(home):
        kept = _forget_pairs(home / STORE_FILE) if (home / STORE_FILE).exists() else None
        return Identity.reset(home / "identity").id, kept


def _forget_pairs(store: Path) -> Path | None:
    db, kept = opened(store)
    try:
        with contextlib.closing(db):
            db.execute("BEGIN IMMEDIATE")
            for table in ("rule", "usage", "execution", "fence", "peer"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - names from this line
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise StoreError(f"cannot write {store}: {error}; free some disk space and run it again, the key is kept") from error
    return kept
