"""Three daemons, each with an adapter and no network, over real BlueZ: they see each other, pair, share moods, and work."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.daemons import Daemon
from integration.test_rooms import early, feels, joined
from moodmesh.nodes.bench.homes import Home, introduce
from moodmesh.nodes.cli.client import Client

pytestmark = pytest.mark.timeout(220)
NAMES = ("ann", "ben", "cleo")
WAIT_S = 90.0
LOGS = Path("/run/logs")
BEGAN = time.monotonic()


def up(*said: object) -> None:
    print(f"[{time.monotonic() - BEGAN:.1f}]", *said, flush=True)


class Patient(Daemon):
    """This machine is slow."""

    def wait_for(self, check: Any, what: str, seconds: float = WAIT_S) -> Any:
        found = super().wait_for(check, what, max(seconds, WAIT_S))
        up(self.name, "is", what)
        return found

    def told(self, *words: str) -> Any:
        return Client(self.home, timeout=WAIT_S).get(*words)

    def asks(self, *words: str, **body: Any) -> Any:
        return Client(self.home, timeout=WAIT_S).post(*words, body=body)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Patient, ...]]:
    root = tmp_path_factory.mktemp("nodes")
    found = tuple(
        Patient(root / name, name, mesh__adapter=f"hci{number}", jobs__benchmark="false") for number, name in enumerate(NAMES)
    )
    for daemon in found:
        daemon.log = LOGS / f"{daemon.name}.log"
    for daemon in found[:2]:  # they know cleo from before, by no address that is good
        introduce([Home(d.home, d.name, 1, d.identity) for d in (daemon, found[2])])
    starts = []
    for daemon in found:
        daemon.changed = early()
        starts.append(threading.Thread(target=daemon.start))
        starts[-1].start()
    for start in starts:
        start.join()
    yield found
    for daemon in found:
        daemon.kill(signal.SIGTERM)


def paired(host: Patient, guest: Patient, near: bool) -> None:
    """By the code that the host shows; `near`: with whoever is nearest."""
    events: list[dict[str, Any]] = []

    def watched() -> None:
        for event in Client(host.home, timeout=WAIT_S).events("pair", method="POST", body={}):
            events.append(event)
            if event["event"] == "paired":
                return

    window = threading.Thread(target=watched, daemon=True)
    window.start()
    host.wait_for(lambda: events, "showing a code")
    done = guest.asks("pair", "join", code=events[0]["code"], at=None, near=near)
    window.join(WAIT_S)
    assert (events[-1]["event"], events[-1]["words"]) == ("paired", done["words"])
    up(guest.name, "paired with", done["name"])
    for us, them in ((host, guest), (guest, host)):
        us.wait_for(lambda us=us, them=them: by_radio(us, them), f"linked with {them.name}")


def by_radio(us: Daemon, them: Daemon) -> bool:
    return any(p["name"] == them.name and (p["address"] or [""])[0].startswith("ble/") for p in us.client.get("peers")["peers"])


def test_three_nodes_with_no_network(three: tuple[Patient, ...]) -> None:
    for daemon in three:
        daemon.wait_for(lambda d=daemon: len(d.client.get("near")["devices"]) == 2, "seeing the two others")
    ann, ben, cleo = three
    paired(ann, ben, near=False)
    for us, them in ((ann, ben), (ben, ann)):
        assert us.typed("peers", "allow", them.name, "--preset", "own").returncode == 0
    alone(ann, ben)
    for daemon in (ann, ben):
        daemon.wait_for(lambda d=daemon: by_radio(d, cleo), "linked with cleo")
    circle(three)
    works(ann, ben)


def alone(ann: Patient, ben: Patient) -> None:
    """Two share a mood of nine words; a room of two is refused."""
    feels(ann, 0.6, 0.6)
    assert ann.typed("peers", "allow", "ben", "mood.share").returncode == 0
    ben.wait_for(lambda: ben.client.get("moods")["shared"]["from"] == [{"name": "ann", "word": "happy"}], "told how ann feels")
    refused = ann.typed("room", "create", "us", "--kind", "circle", "--person", "ben", "--yes")
    assert (refused.returncode, "3 to 16 people" in refused.stderr) == (2, True)


def works(ann: Patient, ben: Patient) -> None:
    job = ann.submit("emotion.text", b"I am happy today.", on="ben", variant="tiny")
    assert ann.ended(job, WAIT_S)["status"] == "SUCCEEDED"


def circle(three: tuple[Patient, ...]) -> None:
    for daemon in three[1:]:
        feels(daemon, 0.6, 0.6)  # as ann does
    people = [p["device"] for p in three[0].client.get("peers")["peers"]]
    room = joined(three[0], "trio", "circle", people=people)
    for daemon in three[1:]:
        daemon.asks("rooms", "join", room=room["code"], agreed=True)
    three[2].asks("rooms", "trio", "ask")
    for daemon in three:
        mood = daemon.wait_for(lambda d=daemon: d.client.get("rooms", "trio")["last"] and d.client.get("rooms", "trio"), "told")
        assert (mood["mood"]["valence"], mood["mood"]["arousal"]) == pytest.approx((0.6, 0.6), abs=0.05)
        assert mood["last"]["n"] == 3
