"""`Store`: SQLite in WAL mode behind one writer thread; several writes share one fsync when they arrive together."""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from moodmesh.nodes.errors import StoreError

T = TypeVar("T")
SCRUB = "store.scrub"
log = logging.getLogger(__name__)


@dataclass
class _Call:
    work: Callable[[sqlite3.Connection], Any]
    step: str
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


_Outcome = tuple[_Call, Any, Exception | None]


class Store:
    """The node's database. `write` returns after the commit is on disk; a failed write changes nothing.

    `after_commit(step)` is called in the writer thread after each commit that holds the write named `step`.
    """

    def __init__(self, path: Path, after_commit: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._after_commit = after_commit
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="moodmesh-store")
        self._closed = False
        self.set_aside: Path | None = None
        self.trouble = ""
        """Why the last write failed; empty when it did not."""

    def open(self) -> None:
        """Open or create the file and bring it to this version; raises `StoreError` with the next step."""
        self._db, self.set_aside = opened(self.path)
        self._thread.start()

    async def write(self, step: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction and return its value once it is durable; `StoreError` when the disk refuses."""
        if self._closed:
            raise StoreError(f"{self.path} is closed: the daemon is stopping")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put(_Call(work, step, loop, future))
        return await future

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query after every write that was asked for before it."""
        return await self.write("", work)

    async def scrub(self) -> None:
        """Overwrite what was deleted: nothing of it is left in the file or its log after this."""
        await self.write(SCRUB, lambda db: None)

    def close(self) -> None:
        """Finish what was asked for, then close the file."""
        self._closed = True
        self._calls.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            batch: list[_Call | None] = [call]
            while batch[-1] is not None and not self._calls.empty():
                batch.append(self._calls.get())
            self._run([c for c in batch if c is not None])
            if batch[-1] is None:
                break
        self._db.close()

    def _run(self, calls: list[_Call]) -> None:
        """One transaction for the batch; each call in its own savepoint, so that one failure undoes only itself.

        When the disk refuses the batch, each call gets a transaction of its own: a small one may still fit.
        """
        outcomes: list[_Outcome] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes = [(call, *self._try(call)) for call in calls]
            self._db.execute("COMMIT")
            if any(call.step for call in calls):
                self.trouble = ""
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if len(calls) > 1:
                for call in calls:
                    self._run([call])
                return
            outcomes = [(call, None, self._refused(error, call.step)) for call in calls]
        if any(call.step == SCRUB for call in calls):
            outcomes = self._scrubbed(outcomes)
        for call, value, problem in outcomes:
            if problem is None and call.step and self._after_commit is not None:
                self._after_commit(call.step)
            _answer(call, value, problem)

    def _scrubbed(self, outcomes: list[_Outcome]) -> list[_Outcome]:
        """Fold the log, with what was deleted in it, into the file; when that fails, whoever asked for it is told."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            return [(c, v, self._refused(error, SCRUB) if c.step == SCRUB else problem) for c, v, problem in outcomes]
        return outcomes

    def _refused(self, error: sqlite3.Error, step: str) -> StoreError:
        said = f"cannot {'write' if step else 'read'} {self.path}: {error}; {_remedy(error)}"
        self.trouble = said if step else self.trouble
        return StoreError(said)

    def _try(self, call: _Call) -> tuple[Any, Exception | None]:
        self._db.execute("SAVEPOINT one")
        try:
            value = call.work(self._db)
        except Exception as error:
            if _of_the_disk(error):
                raise  # it concerns the whole batch
            self._db.execute("ROLLBACK TO one")
            self._db.execute("RELEASE one")
            return None, error
        self._db.execute("RELEASE one")
        return value, None


def _answer(call: _Call, value: Any, problem: Exception | None) -> None:
    def settle() -> None:
        if call.future.cancelled():
            return
        if problem is None:
            call.future.set_result(value)
        else:
            call.future.set_exception(problem)

    if not call.loop.is_closed():
        call.loop.call_soon_threadsafe(settle)


def opened(path: Path) -> tuple[sqlite3.Connection, Path | None]:
    """The sound file at `path`, made or brought to this version, and where a damaged one was set aside; `StoreError`."""
    try:
        return _ready(path), None
    except sqlite3.OperationalError as error:
        raise StoreError(f"cannot open {path}: {error}; {_remedy(error)}") from error
    except sqlite3.DatabaseError:
        kept = set_aside(path)
        return _ready(path), kept


def _of_the_disk(error: Exception) -> bool:
    """Whether the disk or the file refused, and not what was asked for: SQLite calls both an operational error."""
    asked = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(error, sqlite3.OperationalError) and not asked


def _remedy(error: sqlite3.Error) -> str:
    """What helps, by SQLite's primary result code."""
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_FULL) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "another program has it open: end that one, nothing was lost"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return "make it and its directory yours to write (`ls -l` shows whose they are), nothing was lost"
        case sqlite3.SQLITE_IOERR:
            return "free some disk space; where there is enough, the disk may be failing (`dmesg`)"
    return "free some disk space, nothing was lost"


def _ready(path: Path) -> sqlite3.Connection:
    """A connection to a sound file of this version; a log left by a crash is folded in, so no deleted byte stays."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        path.chmod(0o600)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            db.execute(f"PRAGMA {pragma}")
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
        migrate(db)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except BaseException:
        db.close()
        raise
    return db


def migrations() -> list[tuple[int, str]]:
    """The numbered scripts of the package, in order."""
    files = (f for f in resources.files("moodmesh.nodes.store").joinpath("migrations").iterdir() if f.name.endswith(".sql"))
    return sorted((int(f.name.split("_")[0]), f.read_text()) for f in files)


def migrate(db: sqlite3.Connection) -> None:
    """Apply what is missing; a store of a newer version is refused."""
    scripts = migrations()
    have: int = db.execute("PRAGMA user_version").fetchone()[0]
    if have > scripts[-1][0]:
        raise StoreError(
            f"this store was written by a newer Moodmesh (schema {have}, this one knows {scripts[-1][0]}); "
            "install that version again, or set MOODMESH_HOME to another directory"
        )
    for number, script in scripts:
        if number > have:
            db.executescript(f"BEGIN;\n{script}\nPRAGMA user_version={number};\nCOMMIT;")


def set_aside(path: Path) -> Path:
    """Move a damaged store out of the way, keeping every byte; returns where it went."""
    number = next(n for n in range(1, 10_000) if not path.with_suffix(f".damaged-{n}").exists())
    kept = path.with_suffix(f".damaged-{number}")
    path.rename(kept)
    for suffix in ("-wal", "-shm"):
        extra = Path(str(path) + suffix)
        if extra.exists():
            extra.rename(Path(str(kept) + suffix))
    return kept
