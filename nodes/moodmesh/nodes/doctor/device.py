"""The node's own files: home, identity, token, store, run directory, disk; and the clock (pairing §2, §9.12)."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moodmesh.mesh.errors import MeshError
from moodmesh.mesh.identity import KEY_FILE, Identity
from moodmesh.nodes import probe
from moodmesh.nodes.api.guard import TOKEN_FILE
from moodmesh.nodes.doctor.finding import Finding, broken, missing, ok
from moodmesh.nodes.pool.rundir import RunDirRefused, run_dir
from moodmesh.nodes.reset import LEDGER_FILE, STORE_FILE
from moodmesh.nodes.store import times
from moodmesh.nodes.store.store import migrations
from moodmesh.privacy.release.budget import EPOCH_S, epoch_of
from moodmesh.privacy.release.ledger import Closed, Ledger

FREE_MB = 1000
EPOCH_2026 = 1_767_225_600.0


def device(home: Path, status: dict[str, Any] | None, wall: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Everything about the files and the clock of this node."""
    if status is not None:
        yield ok("daemon", f"pid {status['pid']}, up {status['uptime_s']:.0f} s")
    else:
        yield missing("daemon", "not running", "`moodmesh up`")
    yield from _files(home)
    yield _identity(home, status)
    yield from _store(home, wall())
    yield from _ledger(home, wall())
    yield _run_dir(home)
    yield _disk(home)
    yield _clock(wall())


def _files(home: Path) -> Iterator[Finding]:
    if not home.exists():
        yield missing("home", f"{home} does not exist yet", "`moodmesh up` makes it")
        return
    for path, allowed in ((home, 0o700), (home / TOKEN_FILE, 0o600), (home / STORE_FILE, 0o600)):
        if path.exists() and (path == home or path.name == TOKEN_FILE or _open_to_others(home)):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & ~allowed & 0o777:
                yield broken(f"mode of {path.name}", f"others may read it (mode {mode:04o})", f"`chmod {allowed:o} '{path}'`")
            else:
                yield ok(f"mode of {path.name}", f"{mode:04o}")


def _open_to_others(home: Path) -> bool:
    return bool(stat.S_IMODE(home.stat().st_mode) & 0o077)


def _identity(home: Path, status: dict[str, Any] | None) -> Finding:
    for copied in status["duplicate"] if status is not None else ():
        who = "this device" if copied["us"] else copied["name"]
        return broken("identity", f"{who} runs in two places", "`moodmesh identity reset` on the copy, then pair that one anew")
    if not (home / "identity" / KEY_FILE).exists():
        return missing("identity", "no device key yet", "`moodmesh up` makes one")
    try:
        return ok("identity", Identity.load_or_create(home / "identity").id)
    except (MeshError, OSError) as error:
        return broken("identity", str(error), "see the sentence before")


def _store(home: Path, wall: float) -> Iterator[Finding]:
    path = home / STORE_FILE
    for kept in sorted(home.glob("*.damaged-*")) if home.exists() else ():
        if not kept.name.endswith(("-wal", "-shm")):
            yield missing(
                "old store",
                f"a damaged store was set aside as {kept}; pairs, rules and the journal of jobs were in it",
                "pair again (`moodmesh pair`), then delete it",
            )
    if not path.exists():
        yield missing("store", "none yet", "`moodmesh up` makes one")
        return
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as db:
            yield _checked(db)
            if behind := times.set_back(db, wall):
                yield broken("clock", behind, times.REMEDY)
    except sqlite3.Error as error:
        remedy = f"`moodmesh up` sets it aside and starts a new one; or restore {path} from a backup"
        yield broken("store", f"it cannot be read: {error}", remedy)


def _checked(db: sqlite3.Connection) -> Finding:
    have, know = db.execute("PRAGMA user_version").fetchone()[0], migrations()[-1][0]
    if have > know:
        remedy = "install that version again, or set MOODMESH_HOME to another directory"
        return broken("store", f"written by a newer Moodmesh (schema {have}, this one knows {know})", remedy)
    said = db.execute("PRAGMA quick_check").fetchone()[0]
    return ok("store", f"schema {have}") if said == "ok" else broken("store", said, "`moodmesh up` sets it aside")


def _ledger(home: Path, wall: float) -> Iterator[Finding]:
    """Nothing of it before there is one: whether one is missing, the daemon knows and says."""
    path, now = home / LEDGER_FILE, epoch_of(wall)
    if not path.exists():
        return
    try:
        ledger = Ledger(path, begun=True)
        ahead = [line.epoch for line in ledger.lines()[-1:] if line.epoch > now]
        hour, _ = ledger.spent(now)
    except Closed as error:
        yield broken("privacy ledger", str(error), "rooms send nothing until then")
        return
    if ahead:
        late = (ahead[0] - now) * EPOCH_S / 3600
        yield broken("privacy ledger", f"its last entry is {late:.1f} h ahead of the clock: rooms send nothing", times.REMEDY)
    else:
        yield ok("privacy ledger", f"rooms were told epsilon {hour.room:.1f} in the last hour")


def _run_dir(home: Path) -> Finding:
    try:
        return ok("run directory", str(run_dir(home, create=False)))
    except RunDirRefused as error:
        return broken("run directory", str(error), "see the sentence before")
    except OSError as error:
        return broken("run directory", str(error), "set XDG_RUNTIME_DIR to a private directory that you may write")


def _disk(home: Path) -> Finding:
    where = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(where, os.W_OK):
        return broken("disk", f"{where} cannot be written", "set MOODMESH_HOME to a directory of yours")
    free = probe.free_disk_mb(where)
    if free < FREE_MB:
        return broken("disk", f"{free} MB are free at {where}", f"free some space: `du -xh '{where}' | sort -h | tail`")
    return ok("disk", f"{free} MB are free")


def _clock(wall: float) -> Finding:
    if wall < EPOCH_2026:
        when = time.strftime("%Y-%m-%d", time.gmtime(wall))
        return broken("clock", f"it says {when}, before this program was written", "`sudo timedatectl set-ntp true`")
    return ok("clock", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(wall)))
