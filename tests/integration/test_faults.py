"""Jobs under random death of real processes: none lost, none shown twice, nobody left behind (routing §14, §8)."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from integration.daemons import Daemon, daemons
from moodmesh.nodes.errors import NodeError

TEXT = b"I love it. I hate it. Nothing happened today.\n" * 400
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


def family(daemon: Daemon) -> list[psutil.Process]:
    """Every process of this home that lives now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MOODMESH_HOME") == str(daemon.home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def worker_of(daemon: Daemon, chance: random.Random) -> psutil.Process | None:
    """A process that the daemon's pool started, at random: a worker, a Ray process, the pool's child."""
    if daemon.process is None:
        return None
    try:
        children = psutil.Process(daemon.process.pid).children(recursive=True)
    except psutil.Error:
        return None
    return chance.choice(children) if children else None


def storm(found: list[Daemon], jobs: int, seed: int, *, workers: bool) -> None:
    """Submit jobs at the first daemon while daemons (and workers) die at random; then everything must be answered once."""
    chance = random.Random(seed)
    asks = found[0]
    accepted: list[str] = []
    while len(accepted) < jobs:
        try:
            accepted.append(asks.submit("emotion.text", TEXT, variant="tiny"))
        except NodeError:
            time.sleep(0.1)
        if len(accepted) % 4 == 0:
            time.sleep(chance.uniform(0.0, 0.6))
            victim = chance.choice(found)
            if workers and chance.random() < 0.6:
                if (process := worker_of(victim, chance)) is not None:
                    process.send_signal(signal.SIGKILL)
            else:
                victim.kill()
                victim.start()
    outcomes = [asks.ended(job, 120) for job in accepted]
    assert [o["status"] for o in outcomes] == ["SUCCEEDED"] * jobs, (seed, [o for o in outcomes if o["status"] != "SUCCEEDED"])
    committed = [[a["state"] for a in o["attempts"]].count("COMMITTED") for o in outcomes]
    assert committed == [1] * jobs, (seed, committed)
    listed = [job["id"] for job in asks.client.get("jobs", limit=1000)["jobs"]]
    assert len(listed) == len(set(listed)) >= jobs  # a submission cut off by a kill may have been accepted too
    assert set(accepted) <= set(listed)


def nobody_left(found: list[Daemon]) -> None:
    for daemon in found:
        daemon.kill(signal.SIGTERM)
    _, alive = psutil.wait_procs([p for daemon in found for p in family(daemon)], timeout=10)
    assert not alive, alive


@pytest.mark.timeout(150)
def test_twenty_jobs_while_daemons_die(tmp_path: Path) -> None:
    with daemons(tmp_path, "alpha", "beta", jobs__benchmark="false") as found:
        storm(found, 20, seed=11, workers=False)
        nobody_left(found)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["process", "ray"])
def test_a_hundred_jobs_while_everything_dies(tmp_path: Path, kind: str) -> None:
    with daemons(tmp_path, "alpha", "beta", jobs__benchmark="false", pool__kind=kind) as found:
        storm(found, 100, seed=23, workers=True)
        nobody_left(found)
