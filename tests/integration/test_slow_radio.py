"""Daemons over radios as slow as real ones: what placement takes a radio for, 12 kB a second, is what the air lets through."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from moodmesh.nodes.placement.view import RADIO

from .test_bluetooth import Aired, aired, paired

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
WORDS = b"It rained all day and we stayed at home, and nobody minded at all. "
LONG = WORDS * (300_000 // len(WORDS))


def took(done: dict[str, Any]) -> tuple[float, float]:
    """Seconds predicted for the one attempt of a job, and what they were."""
    (attempt,) = done["attempts"]
    return attempt["compared"]["predicted_s"], attempt["compared"]["actual_s"]


def beats(daemon: Aired) -> float:
    """Seconds since the one peer was heard."""
    (peer,) = daemon.client.get("peers")["peers"]
    return float(peer["heard_s"])


def test_two_devices_pair_and_a_small_job_is_done(tmp_path: Path) -> None:
    with aired(tmp_path, "ann", "ben", rate=RADIO) as (ann, ben):
        ben.wait_for(lambda: ben.near, "seeing ann")
        began = time.monotonic()
        paired(ann, ben, "--near")
        print("paired", time.monotonic() - began)
        done = ann.ended(ann.submit("emotion.text", WORDS, on="ben"), 60)
        assert done["status"] == "SUCCEEDED"
        print(took(done), ann.client.get("peers"))
        began = time.monotonic()
        job = ann.submit("emotion.text", LONG, on="ben")
        while ann.client.get("jobs", job)["status"] not in ("SUCCEEDED", "FAILED"):
            print(round(time.monotonic() - began, 1), {k: v for k, v in ann.client.get("jobs", job).items() if k not in ("attempts",)}, ann.client.get("peers")["peers"][0])
            time.sleep(3)
        done = ann.ended(job)
        print(done)
        print(took(done))
        print(ann.log.read_text()[-3000:])
        assert 0
