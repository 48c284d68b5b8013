"""What is particular to Ray: it stays on loopback, every part of it may die, and nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from moodmesh.nodes.pool.seam import AttemptFailed
from processes import living

Bench = Any
pytestmark = pytest.mark.ray


def family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def listening(processes: list[psutil.Process]) -> set[str]:
    """The addresses that these processes listen on."""
    found = set()
    for process in processes:
        for socket in process.net_connections("inet"):
            if socket.status == psutil.CONN_LISTEN:
                found.add(socket.laddr.ip.removeprefix("::ffff:"))
    return found


@pytest.mark.heavy
async def test_every_part_may_die_and_nothing_is_left(
    new_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "203.0.113.1:6379")
    shared_memory = set(os.listdir("/dev/shm"))
    before = set(psutil.Process().children(recursive=True))
    bench = new_bench("ray")
    token = bench.home / "ray.token"

    def ours() -> set[psutil.Process]:
        return set(psutil.Process().children(recursive=True)) - before

    def host() -> psutil.Process:
        return next(process for process in ours() if process.ppid() == os.getpid())

    await bench.pool.start()
    assert ours() == set()  # lazy
    await bench.run()

    # On loopback alone, under a token of its own.
    assert listening(family(host().pid)) <= {"127.0.0.1", "::1"}
    assert listening(family(host().pid))
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert not (tmp_path / ".ray").exists()

    # The raylet dies: the attempt is lost, the next one finds a new Ray.
    task, _ = await bench.begin("native")
    generation = ours()
    next(process for process in generation if process.name() == "raylet").kill()
    with pytest.raises(AttemptFailed) as failed:
        await asyncio.wait_for(task, 20)
    assert failed.value.reason == "worker_lost"
    assert bench.pool.loaded() == frozenset()
    await bench.run()
    await bench.until(lambda: not living(generation), 2)

    # The child that owns Ray dies: the same.
    task, _ = await bench.begin("native")
    generation = ours()
    os.kill(host().pid, signal.SIGKILL)
    with pytest.raises(AttemptFailed) as failed:
        await asyncio.wait_for(task, 20)
    assert failed.value.reason == "worker_lost"
    await bench.until(lambda: not living(generation))
    done, _ = await bench.run(input=b"alive")
    assert done.files == {"copy": b"alive"}

    generation = ours()
    await bench.pool.stop()
    await bench.until(lambda: not living(generation), 2)
    assert ours() == set()
    assert list(bench.home.iterdir()) == []
    assert set(os.listdir("/dev/shm")) <= shared_memory


async def test_ray_dies_with_a_killed_daemon_and_without_its_setting_would_be_public(
    plugin_path: Path, new_home: Callable[[], Path], new_bench: Callable[..., Bench]
) -> None:
    """The mutation of the loopback claim rides on the same start: with the setting removed the listeners are public."""
    home = new_home()
    script = Path(__file__).parent / "plugin" / "daemon.py"
    process = subprocess.Popen([sys.executable, script, "ray", home, "public"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        started = [int(await asyncio.to_thread(process.stdout.readline)) for _ in range(2)]
        everyone = family(process.pid)
        assert set(started) <= {each.pid for each in everyone}
        assert listening(everyone) & {"0.0.0.0", "::"}
        process.kill()
    bench = new_bench("ray", home=home)
    await bench.until(lambda: not living(everyone))
    await bench.until(lambda: not (home / "ray").exists())
