"""Two and more daemons that share no network: they meet, pair and work over Bluetooth alone (virtual radios, real bleak)."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .daemons import Daemon, pair

pytestmark = pytest.mark.timeout(120)
AIR = (sys.executable, "-m", "moodmesh.nodes.bench.ble.air")
OVER_AIR = "import os; os.environ.update({}); from moodmesh.nodes.bench.ble.daemon import patch; patch()"


class Aired(Daemon):
    """A daemon with a virtual radio, and no way to find anybody on a network."""

    def __init__(self, home: Path, name: str, air: int, number: int, **settings: str) -> None:
        super().__init__(home, name, **settings)
        self.changed = OVER_AIR.format({"BENCH_AIR": str(air), "BENCH_RADIO": f"C0:FF:EE:00:00:{number:02X}"})


@pytest.fixture
def air() -> Iterator[int]:
    with subprocess.Popen(AIR, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        yield int(serving.stdout.readline())
        serving.kill()


@pytest.fixture
def two(tmp_path: Path, air: int) -> Iterator[tuple[Aired, Aired]]:
    found = tuple(Aired(tmp_path / name, name, air, number) for number, name in enumerate(("ann", "ben"), start=1))
    yield found  # type: ignore[misc]
    for daemon in found:
        daemon.kill(signal.SIGTERM)


def linked_by(daemon: Daemon, radio: str) -> Any:
    devices = daemon.client.get("near")["devices"]
    return [d for d in devices if d["state"] == "linked" and radio in d["radios"] and d["addresses"][0].startswith("[ble/")]


def test_paired_devices_find_each_other_and_a_job_runs(two: tuple[Aired, Aired]) -> None:
    ann, ben = two
    pair(ann, ben)
    for daemon in two:
        daemon.start()
    ann.linked()
    ben.linked()
    job = ann.submit("emotion.text", b"I am happy today.", on="ben")
    assert ann.ended(job, 60)["status"] == "SUCCEEDED"
