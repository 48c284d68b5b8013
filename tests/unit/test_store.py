"""The store: durable or an error, one failure undoes one write, nothing is ever silently replaced (design §4)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.store import Store
from moodmesh.nodes.store.store import migrate, migrations


@contextlib.asynccontextmanager
async def opened(path: Path, **more: Any) -> AsyncIterator[Store]:
    store = Store(path, **more)
    store.open()
    try:
        yield store
    finally:
        store.close()


def note(key: str, value: str = "x") -> Callable[[sqlite3.Connection], None]:
    return lambda db: (db.execute("INSERT INTO note VALUES (?, ?)", (key, value)), None)[1]


def keys(db: sqlite3.Connection) -> list[str]:
    return [row[0] for row in db.execute("SELECT key FROM note ORDER BY key")]


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as store:
        await store.write("note", note("a"))
    assert (tmp_path / "db").stat().st_mode & 0o777 == 0o600
    async with opened(tmp_path / "db") as store:
        assert await store.read(keys) == ["a"]


async def test_writes_that_arrive_together_share_a_commit_and_keep_their_order(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as store:
        blocked = asyncio.Event()
        loop = asyncio.get_running_loop()
        go = threading.Event()

        def wait(db: sqlite3.Connection) -> None:
            loop.call_soon_threadsafe(blocked.set)
            go.wait(5)

        first = asyncio.create_task(store.read(wait))
        await blocked.wait()
        commits: list[str] = []
        many = [asyncio.create_task(store.write(f"n{n:02}", note(f"n{n:02}"))) for n in range(20)]
        await asyncio.sleep(0)
        store._db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        go.set()
        await asyncio.gather(first, *many)
        assert len(commits) == 2
        assert await store.read(keys) == [f"n{n:02}" for n in range(20)]


async def test_a_failing_write_undoes_only_itself(tmp_path: Path) -> None:
    def half(db: sqlite3.Connection) -> None:
        note("half")(db)
        raise RuntimeError("no")

    async with opened(tmp_path / "db") as store:
        done = await asyncio.gather(
            store.write("a", note("a")), store.write("b", half), store.write("c", note("a")), store.write("d", note("d")),
            return_exceptions=True,
        )  # fmt: skip
        assert [type(x).__name__ for x in done] == ["NoneType", "RuntimeError", "IntegrityError", "NoneType"]
        assert await store.read(keys) == ["a", "d"]


async def test_a_hook_is_told_of_each_commit_and_of_no_failure(tmp_path: Path) -> None:
    told: list[str] = []
    async with opened(tmp_path / "db", after_commit=told.append) as store:
        await store.write("one", note("a"))
        with pytest.raises(sqlite3.IntegrityError):
            await store.write("two", note("a"))
        await store.read(keys)
    assert told == ["one"]


@pytest.mark.parametrize("damage", [lambda b: b"not a database" * 100, lambda b: b[:5000] + b"\xff" * 4000 + b[9000:]])
async def test_a_damaged_file_is_set_aside_whole_and_said(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "moodmesh.db"
    async with opened(path) as store:
        for n in range(50):
            await store.write("note", note(f"{n}", "v" * 500))
    broken = damage(path.read_bytes())
    path.write_bytes(broken)
    async with opened(path) as store:
        assert store.set_aside is not None
        assert store.set_aside.read_bytes() == broken
        assert await store.read(keys) == []
        first = store.set_aside
    path.write_bytes(broken)
    async with opened(path) as store:
        assert store.set_aside not in (None, first)
    assert first.read_bytes() == broken


async def test_a_newer_store_is_refused_untouched_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "moodmesh.db"
    async with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer Moodmesh \(schema 99.*MOODMESH_HOME"):
        Store(path).open()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if "damaged" in p.name] == []


def test_migrations_are_numbered_from_one_and_applying_them_twice_changes_nothing() -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        migrate(db)
        schema = db.execute("SELECT * FROM sqlite_master").fetchall()
        migrate(db)
        assert db.execute("SELECT * FROM sqlite_master").fetchall() == schema


async def test_a_full_disk_is_said_and_loses_nothing_and_a_small_write_still_fits(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as store:
        await store.write("a", note("a"))
        pages = await store.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await store.read(lambda db: db.execute(f"PRAGMA max_page_count={pages + 4}").fetchone())
        done = await asyncio.gather(
            store.write("big", note("big", "v" * 200_000)), store.write("b", note("b")), return_exceptions=True
        )
        assert isinstance(done[0], StoreError)
        assert "free some disk space" in str(done[0])
        assert done[1] is None
        await store.read(lambda db: db.execute("PRAGMA max_page_count=1000000").fetchone())
        await store.write("c", note("c"))
        assert await store.read(keys) == ["a", "b", "c"]


LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    store = Store(Path(sys.argv[1])); store.open()
    await store.write("a", lambda db: db.execute("INSERT INTO note VALUES ('a', 'x')"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    try:
        for n in range(10):
            await store.write("big", lambda db: db.execute("INSERT INTO note VALUES (?, ?)", (f"big{n}", "v" * 100_000)))
    except StoreError as error:
        print("refused:", error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.write("b", lambda db: db.execute("INSERT INTO note VALUES ('b', 'x')"))
    print(await store.read(lambda db: [r[0] for r in db.execute("SELECT key FROM note WHERE key IN ('a', 'b')")]))
    store.close()
asyncio.run(main())
"""


def test_a_disk_that_refuses_to_grow_the_file_is_said_and_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "db")], capture_output=True, text=True, timeout=60, check=False
    )
    assert "refused: cannot write" in done.stdout, done.stderr
    assert "['a', 'b']" in done.stdout


async def test_the_last_refusal_is_known_until_a_write_succeeds(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as store:
        pages = await store.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await store.read(lambda db: db.execute(f"PRAGMA max_page_count={pages}").fetchone())
        with pytest.raises(StoreError):
            await store.write("big", note("big", "v" * 200_000))
        await store.read(keys)
        assert "free some disk space" in store.trouble
        await store.read(lambda db: db.execute("PRAGMA max_page_count=1000000").fetchone())
        await store.write("c", note("c"))
        assert store.trouble == ""


def test_a_store_that_another_program_holds_is_not_called_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "db")
    store.open()
    store.close()
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: real(*args, timeout=0.05, **more))
    with contextlib.closing(real(tmp_path / "db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("INSERT INTO note VALUES ('a', 'b')")
        with pytest.raises(StoreError, match="another program has it open"):
            Store(tmp_path / "db").open()
    assert [p.name for p in tmp_path.iterdir() if "damaged" in p.name] == []


async def test_after_a_scrub_no_byte_of_what_was_deleted_is_left(tmp_path: Path) -> None:
    secret = "the purple heron of zanzibar"
    async with opened(tmp_path / "db") as store:
        await store.write("a", note("a", secret))
        await store.write("b", note("b", secret * 1000))
        assert any(secret.encode() in f.read_bytes() for f in tmp_path.iterdir())
        await store.write("delete", lambda db: db.execute("DELETE FROM note"))
        await store.scrub()
        assert not any(secret.encode() in f.read_bytes() for f in tmp_path.iterdir())


async def test_without_the_checkpoint_deleted_bytes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "_scrubbed", lambda self, outcomes: outcomes)
    async with opened(tmp_path / "db") as store:
        await store.write("a", note("a", "the purple heron"))
        await store.write("delete", lambda db: db.execute("DELETE FROM note"))
        await store.scrub()
        assert any(b"the purple heron" in f.read_bytes() for f in tmp_path.iterdir())


async def test_a_closed_store_says_so_instead_of_hanging(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as store:
        pass
    with pytest.raises(StoreError, match="stopping"):
        await store.write("a", note("a"))


def test_a_path_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open"):
        Store(tmp_path / "missing" / "db").open()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="cannot open"):
        Store(tmp_path / "folder").open()


async def test_a_question_that_cannot_be_answered_is_no_fault_of_the_disk_and_of_nobody_else(tmp_path: Path) -> None:
    async with opened(tmp_path / "db") as store:
        done = await asyncio.gather(
            store.write("a", note("a")), store.read(lambda db: db.execute("SELECT json_extract('{', '$.x')").fetchall()),
            store.write("b", note("b")), return_exceptions=True,
        )  # fmt: skip
        assert done[0] is done[2] is None
        assert isinstance(done[1], sqlite3.OperationalError)
        assert "malformed JSON" in str(done[1])
        assert store.trouble == ""
        assert await store.read(keys) == ["a", "b"]


async def test_a_disk_that_cannot_be_read_is_not_called_full(tmp_path: Path) -> None:
    def failing(db: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ  # type: ignore[misc]
        raise error

    async with opened(tmp_path / "db") as store:
        with pytest.raises(StoreError, match=r"cannot read .*the disk may be failing"):
            await store.read(failing)
        assert store.trouble == "", "it tells of writes"
        with pytest.raises(StoreError, match=r"cannot write .*the disk may be failing"):
            await store.write("a", failing)
        assert "cannot write" in store.trouble
