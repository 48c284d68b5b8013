"""One contract, every pool: what `TaskPool` promises, on real processes, on a real Ray and in memory."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from moodmesh.nodes.pool.seam import AttemptFailed
from moodmesh.tasks.parts import PART_BYTES

Bench = Any
pytestmark = pytest.mark.asyncio(loop_scope="module")
KINDS = ["memory", "process", pytest.param("ray", marks=pytest.mark.ray)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`bench`: every kind of pool; `real`: those with processes."""
    metafunc.parametrize("bench", KINDS[1:] if "real" in metafunc.fixturenames else KINDS, indirect=True, scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(request: pytest.FixtureRequest, new_bench: Callable[..., Bench]) -> AsyncIterator[Bench]:
    made = new_bench(request.param)
    await made.pool.start()
    yield made
    await made.pool.stop()


@pytest.fixture
def real(bench: Bench) -> Bench:
    return bench


async def test_output_seed_and_files(bench: Bench) -> None:
    done, events = await bench.run(input=b"some bytes", seed=7)
    assert (done.value["bytes"], done.value["seed"], done.files) == (10, 7, {"copy": b"some bytes"})
    assert events.started.pid == done.value["pid"]
    assert done.seconds >= 0
    assert (done.value["pid"] == os.getpid()) == (bench.kind == "memory")


async def test_started_is_on_this_hosts_monotonic_clock(real: Bench) -> None:
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    _, events = await real.run()
    assert before < events.started.at < time.clock_gettime(time.CLOCK_MONOTONIC)


async def test_progress_and_log_lines_in_order(bench: Bench) -> None:
    done, events = await bench.run("report")
    assert events.shares == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert events.lines == [f"step {step}" for step in range(5)]
    assert done.value == {"steps": 5}


async def test_parts_come_each_once_in_order_and_whole(bench: Bench) -> None:
    done, events = await bench.run("stream", task="test.stream", count=PART_BYTES)
    assert events.parts == [(n, bytes([n]) * PART_BYTES) for n in range(6)]
    assert done.value == {"held": 0}


async def test_a_run_goes_on_after_the_parts_that_are_held(bench: Bench) -> None:
    held = tuple(bytes([n]) * 3 for n in range(4))
    done, events = await bench.run("stream", task="test.stream", count=3, parts=held)
    assert events.parts == [(4, b"\4\4\4"), (5, b"\5\5\5")]
    assert done.value == {"held": 4}


async def test_a_flood_of_events_is_dammed(bench: Bench) -> None:
    done, events = await bench.run("flood")
    assert done.value == {"steps": 5000}
    allowed = 10 * (1 + done.seconds) + 1
    assert 0 < len(events.shares) <= allowed
    assert 0 < len(events.lines) <= allowed


async def test_a_warm_worker_loads_nothing(bench: Bench) -> None:
    await bench.run()
    assert ("test.probe", "small") in bench.pool.loaded()
    _, events = await bench.run()
    assert events.started.load_s == 0


async def test_the_worker_with_the_model_is_preferred(real: Bench) -> None:
    small, _ = await real.run(variant="small")
    large, _ = await real.run(variant="large")
    assert small.value["pid"] != large.value["pid"]
    for _ in range(3):
        assert (await real.run(variant="small"))[0].value["pid"] == small.value["pid"]
        assert (await real.run(variant="large"))[0].value["pid"] == large.value["pid"]


@pytest.mark.parametrize(
    ("mode", "more", "reason", "words"),
    [
        ("refuse", {}, "invalid_input", "the text is empty"),
        ("echo", {"count": "many"}, "invalid_input", "count: Input should be a valid integer"),
        ("explode", {}, "task_error", "Explosive: boom"),
        ("leave", {}, "task_error", "SystemExit: 3"),
        ("wrong", {}, "task_error", "named byte strings"),
        ("stream", {"count": 3}, "task_error", "set streams=True"),
        ("stream", {"count": PART_BYTES + 1, "task": "test.stream"}, "task_error", "part 0 has 65537 bytes"),
        ("skip", {"task": "test.stream"}, "task_error", "part 1 is out of order: the next one is 0"),
        ("echo", {"task": "test.unknown"}, "transient", "test.unknown is not installed"),
        ("echo", {"task": "test.broken"}, "transient", "test.broken is not installed"),
        ("echo", {"variant": "huge"}, "transient", "no variant huge"),
        ("echo", {"variant": "absent"}, "transient", "model file large.onnx is missing"),
    ],
)
async def test_failures_say_why(bench: Bench, mode: str, more: dict[str, Any], reason: str, words: str) -> None:
    with pytest.raises(AttemptFailed, match=words) as failed:
        await bench.run(mode, **more)
    assert failed.value.reason == reason
    await bench.run()


async def test_output_that_is_no_json(real: Bench) -> None:
    with pytest.raises(AttemptFailed, match="cannot be sent") as failed:
        await real.run("nan")
    assert failed.value.reason == "task_error"


async def test_two_at_a_time(bench: Bench) -> None:
    first, one = await bench.begin("sleep", seconds=0.4)
    second, two = await bench.begin("sleep", seconds=0.4)
    done = await asyncio.gather(first, second)
    if bench.kind != "memory":
        assert one.started.pid != two.started.pid
        assert {one.started.pid, two.started.pid} == {each.value["pid"] for each in done}
    three = await asyncio.gather(*(bench.run("sleep", seconds=0.2) for _ in range(3)), return_exceptions=True)
    (refused,) = (each for each in three if isinstance(each, BaseException))
    assert "all 2 slots are taken" in str(refused)


async def test_many_after_each_other_at_full_load(bench: Bench) -> None:
    gate = asyncio.Semaphore(2)

    async def one(number: int) -> int:
        async with gate:
            return (await bench.run(input=bytes(number)))[0].value["bytes"]

    assert await asyncio.gather(*map(one, range(40))) == list(range(40))


async def test_several_megabytes_both_ways(bench: Bench) -> None:
    data = os.urandom(2**20) * 8
    done, _ = await bench.run(input=data)
    assert done.files["copy"] == data


async def test_cancel_kills_a_native_loop(bench: Bench) -> None:
    task, events = await bench.begin("sleep" if bench.kind == "memory" else "native", seconds=600)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 2)
    assert bench.kind == "memory" or bench.gone(events.started.pid)
    await bench.run()


async def test_cancel_kills_what_the_task_started(real: Bench) -> None:
    task, events = await real.begin("litter", seconds=600)
    await real.until(lambda: bool(events.lines))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await real.until(lambda: real.gone(int(events.lines[0])))


async def test_a_killed_worker_is_reported_and_replaced(real: Bench) -> None:
    task, events = await real.begin("sleep", seconds=600)
    os.kill(events.started.pid, signal.SIGKILL)
    with pytest.raises(AttemptFailed, match="lost") as failed:
        await asyncio.wait_for(task, 10)
    assert failed.value.reason == "worker_lost"
    await asyncio.gather(real.run("sleep", seconds=0.2), real.run("sleep", seconds=0.2))


async def test_an_idle_worker_that_died_is_replaced(real: Bench) -> None:
    done, _ = await real.run()
    os.kill(done.value["pid"], signal.SIGKILL)
    await real.until(lambda: real.gone(done.value["pid"]))
    await asyncio.sleep(0.6)
    after, _ = await real.run()
    assert after.value["pid"] != done.value["pid"]


async def test_temporary_files_go_with_the_attempt(real: Bench) -> None:
    done, _ = await real.run("litter")
    assert str(real.home) in done.value["path"]
    assert not await asyncio.to_thread(os.path.exists, done.value["path"])
    assert not await asyncio.to_thread(os.path.exists, done.value["cwd"])
    os.kill(done.value["child"], signal.SIGKILL)


async def test_a_worker_cannot_name_another_process(real: Bench) -> None:
    """Throttling would stop and continue whatever group it named."""
    await real.run("lie")
    both = await asyncio.gather(*(real.run("sleep", seconds=0.2) for _ in range(2)), return_exceptions=True)
    (failed,) = (each for each in both if isinstance(each, BaseException))
    assert isinstance(failed, AttemptFailed)
    assert failed.reason == "worker_lost"
    await asyncio.gather(*(real.run("sleep", seconds=0.2) for _ in range(2)))
