"""Daemons over radios as slow as real ones: what placement takes a radio for, 12 kB a second, is what the air lets through."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moodmesh.nodes.peer import SUSPECT_S
from moodmesh.nodes.placement.view import RADIO

from .test_bluetooth import Aired, aired, paired

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
WORDS = b"It rained all day and we stayed at home, and nobody minded at all. "
LONG = WORDS * (300_000 // len(WORDS))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Aired, ...]]:
    """Paired by such a radio."""
    with aired(tmp_path, "ann", "ben", rate=RADIO) as (ann, ben):
        ben.wait_for(lambda: ben.near, "seeing ann")
        paired(ann, ben, "--near")
        yield ann, ben


def silence(daemon: Aired) -> float:
    """Seconds since the one peer was heard; infinite without a link."""
    (peer,) = daemon.client.get("peers")["peers"]
    return float("inf") if peer["heard_s_ago"] is None else float(peer["heard_s_ago"])


def lost(daemon: Aired) -> int:
    """How many links were lost so far; of two that dial each other one gives way to the other."""
    return daemon.log.read_text().count('"link down"')


def test_two_devices_that_paired_do_a_small_job(two: tuple[Aired, ...]) -> None:
    ann, _ = two
    done = ann.ended(ann.submit("emotion.text", WORDS, on="ben"), 60)
    assert (done["status"], len(done["attempts"])) == ("SUCCEEDED", 1)


@pytest.mark.parametrize("kilobytes", [20, 50])
def test_what_would_be_one_long_message_on_a_network_loses_no_link(two: tuple[Aired, ...], kilobytes: int) -> None:
    ann, ben = two
    before = lost(ann), lost(ben)
    done = ann.ended(ann.submit("emotion.text", LONG[: kilobytes * 1000], on="ben"), 120)
    assert (done["status"], len(done["attempts"])) == ("SUCCEEDED", 1)
    assert (lost(ann), lost(ben)) == before


def test_300_kb_cross_in_about_the_time_foretold_and_no_beat_is_late(two: tuple[Aired, ...]) -> None:
    ann, ben = two
    ann.ended(ann.submit("emotion.text", WORDS, on="ben"), 60)
    before = lost(ann), lost(ben)
    began, job = time.monotonic(), ann.submit("emotion.text", LONG, on="ben")
    silent, end = 0.0, began + 90
    while ann.client.get("jobs", job)["substate"] != "running" and time.monotonic() < end:
        silent = max(silent, silence(ann), silence(ben))
        time.sleep(0.1)
    took = time.monotonic() - began
    (attempt,) = ann.client.get("jobs", job)["attempts"]
    foretold = ann.client.get("jobs", job, "explain")["tables"][0]["chosen"]["transfer"]
    assert attempt["state"] == "RUNNING"
    assert len(LONG) / RADIO < foretold * 1.01
    assert foretold / 2 < took < foretold * 2
    assert silent < SUSPECT_S, "a beat a second comes through between the pieces"
    assert (lost(ann), lost(ben)) == before
    ann.client.post("jobs", job, "cancel")
    assert ann.ended(job)["status"] == "STOPPED"
