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


class Store:
    """The node's database. `write` returns after the commit is on disk; a failed write changes nothing.

    `after_commit(step)` is called in the writer thread after each commit that holds the write named `step`.
    """

    def __init__(self, path: Path, after_commit: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._after_commit = after_commit
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="moodmesh-store")
        self.set_aside: Path | None = None

    def open(self) -> None:
        """Open or create the file and bring it to this version; raises `StoreError` with the next step."""
        try:
            self._db = _connect(self.path)
            migrate(self._db)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise StoreError(f"cannot open {self.path}: {error}; is the disk full, or the file not yours?") from error
            self.set_aside = set_aside(self.path)
            self._db = _connect(self.path)
            migrate(self._db)
        self._thread.start()

    async def write(self, step: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction and return its value once it is durable; `StoreError` when the disk refuses."""
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
        self._calls.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            batch: list[_Call | None] = [call]
            while batch[-1] is not None and not self._calls.empty():
                batch.append(self._calls.get())
            self._run([c for c in batch if c is not None])
            if any(c is not None and c.step == SCRUB for c in batch):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if batch[-1] is None:
                break
        self._db.close()

    def _run(self, calls: list[_Call]) -> None:
        """One transaction for the batch; each call in its own savepoint, so that one failure undoes only itself."""
        outcomes: list[tuple[_Call, Any, Exception | None]] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes = [(call, *self._try(call)) for call in calls]
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            failure = StoreError(f"cannot write {self.path}: {error}; free some disk space, nothing was lost")
            outcomes = [(call, None, failure) for call in calls]
        for call, value, problem in outcomes:
            if problem is None and call.step and self._after_commit is not None:
                self._after_commit(call.step)
            _answer(call, value, problem)

    def _try(self, call: _Call) -> tuple[Any, Exception | None]:
        self._db.execute("SAVEPOINT one")
        try:
            value = call.work(self._db)
        except sqlite3.OperationalError:
            raise  # a full disk or a broken file concerns the whole batch
        except Exception as error:  # noqa: BLE001 - handed to the caller
            self._db.execute("ROLLBACK TO one")
            return None, error
        finally:
            if self._db.in_transaction:
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


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    path.chmod(0o600)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA foreign_keys=ON")
    db.execute("PRAGMA secure_delete=ON")
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        db.close()
        raise sqlite3.DatabaseError(found)
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
        db.close()
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
