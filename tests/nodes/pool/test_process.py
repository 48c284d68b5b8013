"""What is particular to subprocesses: limits, idleness, throttling, and what a killed daemon leaves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from moodmesh.nodes.pool import sweep as sweeping
from moodmesh.nodes.pool.messages import Setup
from moodmesh.nodes.pool.process import SPAWN_S, Worker
from moodmesh.nodes.pool.seam import AttemptFailed

Bench = Any


@pytest_asyncio.fixture
async def bench_of(new_bench: Callable[..., Bench]) -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def new(**options: Any) -> Bench:
        made.append(new_bench("process", **options))
        return made[-1]

    yield new
    for bench in made:
        await bench.pool.stop()


async def test_nothing_runs_before_the_first_attempt_and_nothing_after_idle_s(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(slots=1, idle_s=0.3)
    before = set(psutil.Process().children())
    await bench.pool.start()
    assert set(psutil.Process().children()) == before
    done, _ = await bench.run()
    assert bench.pool.loaded() == {("test.probe", "small")}
    await bench.until(lambda: bench.gone(done.value["pid"]))
    assert bench.pool.loaded() == frozenset()
    assert (await bench.run())[0].value["pid"] != done.value["pid"]


async def test_eager_workers_are_there_before_the_first_attempt(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(slots=2, eager=True, idle_s=0.2)
    before = set(psutil.Process().children())
    await bench.pool.start()
    workers = {process.pid for process in set(psutil.Process().children()) - before}
    assert len(workers) == 2
    done, _ = await bench.run()
    assert done.value["pid"] in workers
    await bench.until(lambda: bench.gone(done.value["pid"]))  # its model goes, a fresh worker comes
    await bench.until(lambda: len(set(psutil.Process().children()) - before) == 2)


async def test_duty_stops_and_continues_the_worker(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(slots=1, duty=0.2)
    task, events = await bench.begin("spin", count=60)
    worker, seen = psutil.Process(events.started.pid), set()
    while not task.done():
        seen.add(await asyncio.to_thread(worker.status))
        await asyncio.sleep(0.003)
    await task
    assert psutil.STATUS_STOPPED in seen
    assert len(seen) > 1
    await asyncio.sleep(0.1)
    assert {worker.status() for _ in range(20)} == {psutil.STATUS_SLEEPING}


async def test_cancel_of_a_stopped_worker(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(slots=1, duty=0.01)
    task, events = await bench.begin("native")
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.gone(events.started.pid)


async def test_a_worker_that_cannot_start(
    bench_of: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(3)")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        bench = bench_of(slots=1)
        with pytest.raises(AttemptFailed, match="did not start") as failed:
            await bench.run()
        assert failed.value.reason == "transient"
        assert "exit code 3" in str(failed.value)
    await bench.run()


async def test_stop_under_a_running_attempt_leaves_nothing(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(slots=2)
    task, events = await bench.begin("native")
    await bench.pool.stop()
    with pytest.raises(AttemptFailed) as failed:
        await task
    assert failed.value.reason == "worker_lost"
    assert bench.gone(events.started.pid)
    assert not await asyncio.to_thread((bench.home / "pool").exists)


async def test_a_cancel_during_the_start_of_a_worker(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(slots=1)
    task = asyncio.create_task(bench.run())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.run()


@pytest.fixture
def daemon(plugin_path: Path) -> Callable[..., tuple[subprocess.Popen[str], list[int]]]:
    def start(home: Path) -> tuple[subprocess.Popen[str], list[int]]:
        script = Path(__file__).parent / "plugin" / "daemon.py"
        process = subprocess.Popen([sys.executable, script, "process", home], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, [int(process.stdout.readline()) for _ in range(2)]

    return start


async def test_workers_die_with_a_killed_daemon_and_its_files_at_the_next_start(
    daemon: Callable[..., Any], new_home: Callable[[], Path], bench_of: Callable[..., Bench]
) -> None:
    home = new_home()
    process, pids = await asyncio.to_thread(daemon, home)
    with process:
        process.kill()
    bench = bench_of(home=home)
    await bench.until(lambda: all(map(bench.gone, pids)), 2)
    assert len(list((home / "pool").iterdir())) == 2
    await bench.pool.start()
    assert list((home / "pool").iterdir()) == []
    await bench.run()


async def test_a_survivor_is_swept_before_the_first_attempt(
    new_home: Callable[[], Path], bench_of: Callable[..., Bench]
) -> None:
    """Where a worker does not die with its daemon (no such thing as PR_SET_PDEATHSIG), the next start ends it."""
    home = new_home()
    (home / "pool").mkdir()
    code = "import sys, time; file = open(sys.argv[1], 'w'); print(flush=True); time.sleep(600)"
    survivor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(home / "pool" / "alive")), stdout=asyncio.subprocess.PIPE
    )
    assert survivor.stdout is not None
    await survivor.stdout.readline()
    reader = await asyncio.create_subprocess_exec("tail", "-f", str(home / "pool" / "alive"))  # a curious user
    try:
        await bench_of(home=home).pool.start()
        assert await asyncio.wait_for(survivor.wait(), 5) != 0  # 255 when the sweep itself collected it
        assert reader.returncode is None
    finally:
        reader.kill()
        await reader.wait()


def test_sweep_of_nothing(tmp_path: Path) -> None:
    assert sweeping.sweep(tmp_path / "absent") == 0


def test_the_daemons_part_loads_nothing_heavy() -> None:
    code = "import sys, moodmesh.nodes.pool.open, moodmesh.nodes.pool.rundir; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert loaded & {"ray", "numpy", "torch", "onnxruntime", "grpc"} == set()


async def test_a_cold_engine_says_how_long_it_takes_until_it_is_up(bench_of: Callable[..., Bench]) -> None:
    bench = bench_of(slots=1)
    assert bench.pool.start_s() == SPAWN_S
    await bench.run()
    assert bench.pool.start_s() == 0.0
    await bench.pool.stop()
    assert 0.0 < bench.pool.start_s() != SPAWN_S, "what it took"


async def test_a_worker_that_comes_too_late_makes_no_directory_of_a_pool_that_has_gone(tmp_path: Path) -> None:
    """It would be open to others, and the next daemon of that home would refuse to start."""
    gone = tmp_path / "run" / "pool"
    setup = Setup(str(gone / "w1"), str(tmp_path), False, 0, 1, 0)
    with pytest.raises(FileNotFoundError):
        await Worker.spawn(setup)
    assert not gone.parent.exists()
