"""Workers that run out of memory or do not come up: the attempt says so, and the next one finds a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from moodmesh.nodes.pool import worker
from moodmesh.nodes.pool.frames import decode
from moodmesh.nodes.pool.messages import Failed, unpack
from moodmesh.nodes.pool.seam import AttemptFailed, Done, Work
from moodmesh.nodes.pool.session import Session

Bench = Any
MEMORY_MB, START_S = 150, 8.0  # less than Ray has of its own in a worker; more than one takes to come up on a busy machine


RAY = pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.heavy])
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["process", RAY])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(kind: str, new_bench: Callable[..., Bench]) -> AsyncIterator[Bench]:
    """One for all tests that leave a worker behind which is at work."""
    made = new_bench(kind, slots=1, memory_mb=MEMORY_MB)
    yield made
    await made.pool.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(kind: str, new_bench: Callable[..., Bench]) -> AsyncIterator[Bench]:
    """One whose workers did not come up yet."""
    made = new_bench(kind, slots=1, memory_mb=MEMORY_MB)
    yield made
    await made.pool.stop()


async def test_out_of_memory_is_told_and_the_worker_goes_on(bench: Bench) -> None:
    """First what fills every corner, in a worker that has no memory to spare from attempts before."""
    for mode, more in (("fill", {}), ("hoard", {"count": 8}), ("fill", {})):
        with pytest.raises(AttemptFailed, match="MemoryError") as failed:
            await bench.run(mode, **more)
        assert failed.value.reason == "out_of_memory"
        assert (await bench.run("hoard", count=1))[0].value == {"kept": 1}


async def test_an_attempt_that_leaves_no_room_to_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Full(Session):
        def run(self, work: Work, emit: object) -> Done:
            raise MemoryError

    monkeypatch.setattr(worker, "private_tmp", nullcontext)
    told = worker.answer(Full({}, lambda card: tmp_path), Work("a", "t", "v", {}), tmp_path, lambda event: None)
    failed = unpack(decode(b"".join(told)))
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.message[:11]) == ("out_of_memory", "MemoryError")


@pytest.mark.parametrize("kind", [RAY], scope="module", indirect=True)
async def test_an_output_that_has_no_room_beside_itself(bench: Bench) -> None:
    """Ray wants it in one piece."""
    with pytest.raises(AttemptFailed, match="MemoryError") as failed:
        await bench.run("large", count=4 * MEMORY_MB // 5)
    assert failed.value.reason == "out_of_memory"
    await bench.run()


async def test_a_worker_has_the_whole_of_its_memory_for_tasks(bench: Bench) -> None:
    done, _ = await bench.run("large", count=MEMORY_MB // 3)
    assert len(done.files["large"]) == MEMORY_MB // 3 * 2**20


def stuck(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> Path:
    """From now on workers do not come up while this file is there; the last of them writes its pid into it."""
    file = tmp_path / "stuck"
    file.write_text(how)
    monkeypatch.setenv("POOL_TASKS_STUCK", str(file))
    setup, at = bench.pool._setup, {"start_s": START_S}
    bench.pool._setup = replace(setup, **at) if bench.kind == "process" else replace(setup, worker=replace(setup.worker, **at))
    return file


async def test_a_worker_that_does_not_come_up_is_killed(fresh: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in is stuck, in native code, while it is imported."""
    file = stuck(fresh, tmp_path, monkeypatch, "")
    with pytest.raises(AttemptFailed, match="a worker did not start") as failed:
        await fresh.run()
    assert failed.value.reason == "transient"
    assert fresh.kind == "process" or "not up in 8 s" in str(failed.value)
    await fresh.until(lambda: fresh.gone(int(file.read_text())))
    file.unlink()
    await fresh.run()


@pytest.mark.parametrize("kind", [RAY], scope="module", indirect=True)
async def test_a_worker_without_memory_to_come_up_ends_at_once(
    fresh: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own handler of SIGABRT wants memory, too: without any it aborts again, and logs that, until it is killed."""
    file = stuck(fresh, tmp_path, monkeypatch, "starved")
    with pytest.raises(AttemptFailed, match="a worker did not start") as failed:
        await fresh.run()
    assert failed.value.reason == "transient"
    assert "not up in" not in str(failed.value)
    await fresh.until(lambda: fresh.gone(int(file.read_text())))
