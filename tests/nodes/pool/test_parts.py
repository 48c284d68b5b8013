"""The parts under the pools, each alone: frames, messages, slots, allowances, the short directory, the choice of a pool."""

from __future__ import annotations

import asyncio
import io
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.pool import frames, ray, rundir
from moodmesh.nodes.pool.frames import FrameError, decode, encode
from moodmesh.nodes.pool.memory import MemoryPool
from moodmesh.nodes.pool.messages import Failed, Message, RaySetup, Setup, SlotFrame, SlotKill, pack, unpack
from moodmesh.nodes.pool.open import open_pool
from moodmesh.nodes.pool.process import ProcessPool
from moodmesh.nodes.pool.ray import RayPool
from moodmesh.nodes.pool.rundir import RunDirRefused, run_dir
from moodmesh.nodes.pool.seam import AttemptFailed, Done, Event, Log, Part, Progress, Started, Work
from moodmesh.nodes.pool.session import Allowance, AttemptContext
from moodmesh.nodes.pool.slots import Slots

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values), st.lists(st.binary(), max_size=5))
def test_a_frame_comes_back(header: dict[str, Any], blobs: list[bytes]) -> None:
    header.pop("blobs", None)
    assert decode(b"".join(encode(header, blobs))) == (header, blobs)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_frame_or_one_of_two_errors(data: bytes) -> None:
    with suppress(FrameError, EOFError):
        unpack(decode(data))


@given(st.dictionaries(st.text(), json_values), st.sampled_from(["started", "done", "work", "slotframe", "setup", "raysetup"]))
def test_any_fields_give_a_message_or_an_error(header: dict[str, Any], kind: str) -> None:
    with suppress(FrameError):
        unpack(({**header, "kind": kind}, []))


def test_caps_hold_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for announced in (b"\xff\xff\xff\xff", b'\x00\x00\x00\x1b{"blobs":[99999999999999]} '):
        with pytest.raises(FrameError, match="limit"):
            decode(announced)
    monkeypatch.setattr(frames, "MAX_HEADER", 10)
    with pytest.raises(FrameError, match="limit"):
        encode({"text": "longer than ten"})


async def test_both_sides_read_the_same() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(encode({"a": 1}, [b"x" * 10**6])))
    reader.feed_eof()
    assert await frames.receive(reader) == ({"a": 1}, [b"x" * 10**6])
    with pytest.raises(EOFError):
        await frames.receive(reader)
    with pytest.raises(EOFError):
        frames.read_frame(io.BytesIO(b"\0\0"))


@pytest.mark.parametrize(
    "message",
    [
        Work("a", "t", "v", {"x": [1, None]}, b"in", 3),
        Work("a", "t", "v", {}, b"", 3, (b"", b"one", b"two")),
        Part(7, b"\0bytes"),
        Started(1, 2.0, 3.0),
        Progress(0.5),
        Log("line"),
        Done({"v": 1}, {"a": b"1", "b": b""}, 2.0),
        Failed("task_error", "why"),
        Setup("/s", "/m"),
        RaySetup("/t", "n", 2, Setup("/s", "/m", memory_mb=5)),
        SlotFrame(1, b"inner"),
        SlotKill(3),
    ],
)
def test_messages_come_back(message: Message) -> None:
    assert unpack(decode(b"".join(pack(message)))) == message


def work(task: str, variant: str = "small") -> Work:
    return Work("a", task, variant, {})


def test_slots_prefer_loaded_then_fresh_then_longest_idle() -> None:
    slots = Slots(3)
    for number, task in enumerate("ab"):
        with slots.taken(work(task)) as slot:
            assert slot.number == number
            slot.loaded = task, "small"
    assert slots.loaded() == {("a", "small"), ("b", "small")}
    with slots.taken(work("b")) as second, slots.taken(work("c")) as third, slots.taken(work("d")) as first:
        assert (second.number, third.number, first.number) == (1, 2, 0)
        assert slots.loaded() == frozenset()
        with pytest.raises(RuntimeError, match="all 3"), slots.taken(work("a")):
            pass


@given(st.lists(st.floats(0, 0.02), min_size=100, max_size=300))
def test_no_second_sees_more_than_twice_the_rate(gaps: list[float]) -> None:
    allowance, now, granted = Allowance(10), 0.0, []
    for gap in gaps:
        now += gap
        if allowance.take(1, now):
            granted.append(now)
    assert granted[0] == gaps[0]
    assert all(sum(1 for other in granted if at <= other < at + 1) <= 20 for at in granted)


def test_dropped_lines_are_counted_and_long_ones_cut() -> None:
    events: list[Event] = []
    now = [0.0]
    context = AttemptContext(events.append, lambda card: Path(), lambda: now[0])
    for _ in range(15):
        context.log("y" * 10_000)
    assert len(events) == 10
    now[0] = 1.0
    context.log("again")
    assert events[-1] == Log("again [5 lines before this one were dropped]")
    assert all(isinstance(event, Log) and len(event.line) <= 4096 for event in events)


class Hands:
    """A clock turned by its sleepers."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


async def test_memory_pool_takes_the_clocks_time() -> None:
    clock, events = Hands(), list[Event]()
    pool = MemoryPool(1, clock, lambda work, emit: Done({"task": work.task}), lambda work: 3600.0)
    assert (await pool.run(work("t"), events.append)).value == {"task": "t"}
    assert clock.time == 3600
    assert events == [Started(os.getpid(), 0.0, 0.0)]


async def test_memory_pool_stop_ends_attempts() -> None:
    class Never(Hands):
        async def sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    pool = MemoryPool(1, Never(), lambda work, emit: Done({}))
    running = asyncio.create_task(pool.run(work("t"), lambda event: None))
    await asyncio.sleep(0.01)
    await pool.stop()
    with pytest.raises(AttemptFailed) as failed:
        await running
    assert failed.value.reason == "worker_lost"


def test_the_short_dir_is_short_private_and_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    home = tmp_path / ("with space " + "x" * 120)
    path = run_dir(home)
    try:
        assert run_dir(home) == path
        assert len(str(path / "ray")) <= 45
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        path.chmod(0o755)
        assert run_dir(home) == path, "nobody else could put anything into it"
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        path.chmod(0o770)
        with pytest.raises(RunDirRefused, match="XDG_RUNTIME_DIR"):
            run_dir(home)
    finally:
        path.rmdir()
    path.symlink_to(tmp_path)  # planted by another user
    try:
        with pytest.raises(RunDirRefused):
            run_dir(home)
    finally:
        path.unlink()


def test_the_runtime_dir_is_used_when_it_fits(tmp_path: Path, short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp))
    path = run_dir(tmp_path)
    assert path.parent == short_tmp
    path.rmdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("y" * 60)))
    path = run_dir(tmp_path)
    assert len(str(path)) <= 40
    path.rmdir()


def test_another_users_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run_dir(tmp_path)
    monkeypatch.setattr(rundir.os, "getuid", lambda: 12345)
    with pytest.raises(RunDirRefused):
        run_dir(tmp_path)
    path.rmdir()


def test_the_choice_of_a_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(kind: str, **options: Any) -> tuple[Any, str]:
        return open_pool(kind, tmp_path, tmp_path / "models", **options)

    assert isinstance(choose("process")[0], ProcessPool)
    monkeypatch.setattr("moodmesh.nodes.pool.open.installed", lambda: True)
    pool, reason = choose("auto", slots=3)
    assert isinstance(pool, RayPool)
    assert (pool.engine, pool.slots, reason) == ("ray", 3, "")
    with pytest.raises(UsageError, match="allow_public"):
        choose("auto", address="127.0.0.1:6379")
    assert choose("ray", address="127.0.0.1:6379", allow_public=True)[0].engine == "ray-cluster"
    monkeypatch.setattr("moodmesh.nodes.pool.open.installed", lambda: False)
    for kind in ("auto", "ray"):
        pool, reason = choose(kind)
        assert isinstance(pool, ProcessPool)
        assert "not installed" in reason
    with pytest.raises(UsageError, match="pip install"):
        choose("auto", address="127.0.0.1:6379", allow_public=True)


async def test_ray_without_ray(new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "installed", lambda: False)
    with pytest.raises(OSError, match="pip install"):
        await RayPool(1, new_home(), Path("models")).start()
