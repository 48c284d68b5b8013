"""Jobs under the death of real processes: none lost, none shown twice, nobody left behind (routing §14, §8).

Every kill has a name and is proven: what is to die is killed while a worker of it stands still in the midst of an attempt,
and a kill that finds no such worker fails the test. `FAULTS_SEED` repeats the choices of a run that failed.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from integration.daemons import Daemon, daemons
from moodmesh.nodes.pool.rundir import run_dir
from processes import living

TEXT = b"I love it. I hate it. Nothing happened today.\n" * 400
ITEMS = 1200
OPEN = "SELECT id FROM job WHERE status IN ('PENDING', 'RUNNING')"
RAY = ("worker", "raylet", "child")


@pytest.fixture
def chance() -> random.Random:
    """Shown with a failure, as is every kill."""
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"FAULTS_SEED={seed}")
    return random.Random(seed)


# -- who belongs to a daemon -----------------------------------------------------------------------------------------------


def family(home: Path, short: Path) -> set[psutil.Process]:
    """Every live process of a home: by its environment or, where a title overwrote that (Ray's agents), by where it works."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("MOODMESH_HOME") == str(home) or Path(process.cwd()).is_relative_to(short):
                found.add(process)
    return found


def descendants(daemon: Daemon) -> list[psutil.Process]:
    assert daemon.process is not None
    return psutil.Process(daemon.process.pid).children(recursive=True)


def gone(processes: Callable[[], set[psutil.Process]], patience_s: float) -> None:
    """Wait until there are none."""
    end = time.monotonic() + patience_s
    while left := processes():
        assert time.monotonic() < end, left
        time.sleep(0.02)


# -- kills with names ------------------------------------------------------------------------------------------------------


def in_attempt(process: psutil.Process) -> bool:
    """Whether a pool's worker is between the beginning of an attempt and its reply: it then works in the attempt's temp dir."""
    with suppress(psutil.Error):
        return process.cwd().endswith("/tmp")
    return False


@contextmanager
def standing_still(process: psutil.Process) -> Iterator[None]:
    """Stopped, so that what is found out about a process stays true."""
    process.suspend()
    try:
        while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            time.sleep(0.001)
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def parts(daemon: Daemon, worker: psutil.Process) -> dict[str, psutil.Process]:
    """A worker and, in Ray, the raylet and the daemon's child (which imports Ray) above it; nothing of a broken chain."""
    assert daemon.process is not None
    match worker.parents():
        case [own, *_] if own.pid == daemon.process.pid:
            return {"worker": worker}
        case [raylet, child, own, *_] if own.pid == daemon.process.pid:
            assert raylet.name() == "raylet"
            assert "ray_host" in " ".join(child.cmdline())
            return {"worker": worker, "raylet": raylet, "child": child}
    return {}


def kill_part(found: list[Daemon], part: str, chance: random.Random, patience_s: float = 60) -> None:
    """Kill that part of one daemon's pool, a moment after an attempt began there and before it ended."""
    later, end = chance.uniform(0, 0.3), time.monotonic() + patience_s
    while time.monotonic() < end:
        for daemon in chance.sample(found, len(found)):
            for worker in filter(in_attempt, descendants(daemon)):
                time.sleep(later)
                with suppress(psutil.NoSuchProcess), standing_still(worker):
                    if in_attempt(worker) and (victim := parts(daemon, worker).get(part)):
                        unseen = set(descendants(daemon)) - family(daemon.home, run_dir(daemon.home))
                        assert not living(unseen), "the search for orphans would miss these"
                        victim.kill()
                        gone(partial(living, [victim]), 5)
                        print(f"killed the {part} of {daemon.name}: {victim}")
                        return
                later /= 2
        time.sleep(0.01)
    pytest.fail(f"no {part} in the midst of an attempt within {patience_s:.0f} s")


def kill_daemon(daemon: Daemon, chance: random.Random) -> None:
    """Kill a daemon that runs, at any moment, and start it again."""
    time.sleep(chance.uniform(0, 0.6))
    process = daemon.process
    daemon.signal(signal.SIGKILL)
    assert daemon.left() == -signal.SIGKILL
    print(f"killed {daemon.name}: {process}")
    daemon.start()


# -- the storm -------------------------------------------------------------------------------------------------------------


def storm(found: list[Daemon], jobs: int, kinds: tuple[str, ...], more: int, chance: random.Random) -> None:
    """Submit jobs at the first daemon amid every kind of kill (a part of a pool, or a daemon by its name) and `more` of any.

    Then every job is answered once, and listed once.
    """
    kills, asks, accepted = [*kinds, *chance.choices(kinds, k=more)], found[0], []
    chance.shuffle(kills)
    happened: Counter[str] = Counter()
    by_name = {daemon.name: daemon for daemon in found}
    batch = jobs // len(kills)
    for number, kill in enumerate(kills, 1):
        asks.wait_for(lambda: len(asks.rows(OPEN)) <= batch, "keeping up", 120)
        while len(accepted) < jobs * number // len(kills):
            accepted.append(asks.submit("emotion.text", TEXT, variant="tiny"))
        if kill in by_name:
            kill_daemon(by_name[kill], chance)
        else:
            kill_part(found, kill, chance)
        happened[kill] += 1
    assert set(happened) == set(kinds)
    answered_once(asks, accepted)


def answered_once(asks: Daemon, accepted: list[str]) -> None:
    outcomes: list[dict[str, Any]] = [asks.ended(job, 120) for job in accepted]
    assert not [o for o in outcomes if o["status"] != "SUCCEEDED"]
    assert not [o for o in outcomes if [a["state"] for a in o["attempts"]].count("COMMITTED") != 1]
    assert sorted(job["id"] for job in asks.client.get("jobs", limit=1000)["jobs"]) == sorted(accepted)
    for job in accepted:
        assert len(asks.client.get("jobs", job, "result")["result"]["items"]) == ITEMS


def nobody_left(found: list[Daemon]) -> None:
    """What belongs to a home descends from its daemon, and is gone when that has ended."""
    for daemon in found:
        assert daemon.process is not None
        everyone = partial(family, daemon.home, run_dir(daemon.home))
        own = psutil.Process(daemon.process.pid)
        gone(lambda everyone=everyone, daemon=daemon, own=own: everyone() - {own, *descendants(daemon)}, 10)
        daemon.kill(signal.SIGTERM)
        gone(everyone, 10)


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_twenty_jobs_while_daemons_and_workers_die(tmp_path: Path, chance: random.Random) -> None:
    with daemons(tmp_path, "alpha", "beta", jobs__benchmark="false") as found:
        storm(found, 20, ("alpha", "beta", "worker"), 2, chance)
        nobody_left(found)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_jobs_while_every_part_of_ray_dies(tmp_path: Path, chance: random.Random) -> None:
    with daemons(tmp_path, "alpha", jobs__benchmark="false", pool__kind="ray") as found:
        storm(found, 6, RAY, 0, chance)
        nobody_left(found)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("kind", "parts"), [("process", ("worker",)), ("ray", RAY)])
def test_a_hundred_jobs_while_everything_dies(tmp_path: Path, chance: random.Random, kind: str, parts: tuple[str, ...]) -> None:
    with daemons(tmp_path, "alpha", "beta", jobs__benchmark="false", pool__kind=kind) as found:
        storm(found, 100, ("alpha", "beta", *parts), 20, chance)
        nobody_left(found)
