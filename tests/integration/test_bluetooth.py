"""Daemons that share no network meet, pair and work over Bluetooth alone: virtual radios, real bleak, all else as it is."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from moodmesh.nodes.placement.view import RADIO

from .daemons import CLI, Daemon
from .test_bad_input import window
from .test_rooms import early, feels, joined, told

pytestmark = pytest.mark.timeout(180)
AIR = (sys.executable, "-m", "moodmesh.nodes.bench.ble.air")
OVER_AIR = "import os; os.environ.update({}); from moodmesh.nodes.bench.ble.daemon import patch; patch()\n"


class Aired(Daemon):
    """A daemon with a virtual radio, and no way to find anybody on a network."""

    def __init__(self, home: Path, name: str, air: str, number: int, changed: str = "") -> None:
        super().__init__(home, name)
        self.changed = OVER_AIR.format({"BENCH_AIR": air, "BENCH_RADIO": f"C0:FF:EE:00:00:{number:02X}"}) + changed

    @property
    def near(self) -> list[dict[str, Any]]:
        return list(self.client.get("near")["devices"])


@contextmanager
def aired(root: Path, *names: str, changed: str = "", rate: float = math.inf) -> Iterator[tuple[Aired, ...]]:
    """Daemons in one air, running. `rate`: bytes a second that two of them pass to each other."""
    with ExitStack() as stack:
        serving = stack.enter_context(subprocess.Popen((*AIR, "", "", str(rate)), stdout=subprocess.PIPE, text=True))
        stack.callback(serving.kill)
        assert serving.stdout is not None
        air = serving.stdout.readline().strip()
        found = tuple(Aired(root / name, name, air, number, changed) for number, name in enumerate(names, start=1))
        for daemon in found:
            daemon.start()
            stack.callback(daemon.kill, signal.SIGTERM)
        yield found


def paired(host: Aired, guest: Aired, *options: str) -> None:
    """As two people do it."""
    with window(host) as (shown, opened):
        assert opened["addresses"] == [] or not guest.near or all("ble" in d["radios"] for d in guest.near)
        done = guest.run("pair", opened["code"], *options, "--json")
        assert done.returncode == 0, done.stderr
        assert shown.stdout is not None
        assert json.loads(shown.stdout.readline())["words"] == json.loads(done.stdout)["words"]
    for us, them in ((host, guest), (guest, host)):
        us.wait_for(lambda us=us, them=them: by_radio(us, them), "linked by radio")
        assert us.typed("peers", "allow", them.name, "--preset", "own").returncode == 0


def by_radio(us: Daemon, them: Daemon) -> bool:
    return any(p["name"] == them.name and (p["address"] or [""])[0].startswith("ble/") for p in us.client.get("peers")["peers"])


def test_two_devices_pair_and_work_by_radio_alone(tmp_path: Path) -> None:
    with aired(tmp_path, "ann", "ben") as (ann, ben):
        ben.wait_for(lambda: [d for d in ben.near if d["radios"] == ["ble"] and d["signal"] is not None], "seeing ann")
        paired(ann, ben, "--near")
        assert "dBm" in ann.typed("near").stdout
        job = ann.submit("emotion.text", b"I am happy today.", on="ben")
        assert ann.ended(job, 60)["status"] == "SUCCEEDED"


@pytest.mark.slow
def test_who_walks_away_is_gone_and_who_pairs_with_nobody_is_told(tmp_path: Path) -> None:
    with aired(tmp_path, "ann", "ben") as (ann, ben):
        ann.wait_for(lambda: ann.near, "seeing ben", 5)
        nobody = ann.typed("pair", "--near")
        assert (nobody.returncode, "run `moodmesh pair` there first" in nobody.stderr) == (4, True)
        ben.kill()
        ann.wait_for(lambda: not ann.near, "alone again", 30)


@pytest.mark.slow
def test_a_circle_of_three_and_no_room_of_two_by_radio(tmp_path: Path) -> None:
    with aired(tmp_path, "ann", "ben", "cleo", changed=early()) as found:
        ann, ben, cleo = found
        for host, guest in ((ann, ben), (ann, cleo), (ben, cleo)):
            paired(host, guest)
        for daemon in found:
            feels(daemon, 0.6, -0.3)
        two = ann.typed("room", "create", "us", "--kind", "circle", "--person", "ben", "--yes")
        assert (two.returncode, "3 to 16 people" in two.stderr) == (2, True)
        people = [p["device"] for p in ann.client.get("peers")["peers"]]
        room = joined(ann, "trio", "circle", people=people)
        for daemon in (ben, cleo):
            daemon.client.post("rooms", "join", body={"room": room["code"], "agreed": True})
        cleo.client.post("rooms", "trio", "ask")
        for daemon in found:
            mood = told(daemon, "trio", 60)["mood"]
            assert (mood["valence"], mood["arousal"]) == pytest.approx((0.6, -0.3), abs=0.05), "moods fade with time"


@pytest.mark.slow
@pytest.mark.parametrize("people", [5, 10])
def test_strangers_tell_a_rough_mean_by_radio(tmp_path: Path, people: int) -> None:
    """Each reaches the gatherer that it sees, and the relays that the gatherer names; asked as soon as the last has joined."""
    with aired(tmp_path, *"abcdefghij"[:people], changed=early(), rate=RADIO) as found:
        for daemon in found:
            feels(daemon, 0.6, 0.2)
        room = joined(found[0], "cafe", "on-demand", eps=4, open=True)
        for daemon in found[1:]:
            daemon.client.post("rooms", "join", body={"room": room["code"], "agreed": True})
        found[2].client.post("rooms", "cafe", "ask")
        try:
            assert {told(daemon, "cafe", 60)["last"]["n"] for daemon in found} == {people}
        except AssertionError as error:
            states = {daemon.name: daemon.client.get("rooms", "cafe")["state"] for daemon in found}
            raise AssertionError(states) from error


@pytest.mark.slow
@pytest.mark.netns
def test_the_demo_moves_a_running_job_from_the_radio_to_a_network() -> None:
    if not all(shutil.which(tool) for tool in ("unshare", "nsenter", "ip")):
        pytest.skip("needs unshare, nsenter and ip")
    if subprocess.run(["unshare", "-Urnm", "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces or root")
    done = subprocess.run([*CLI, "demo", "bluetooth", "--json"], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["link_before"].startswith("[ble/")
    assert found["link_after"].startswith("10.77.1.2:")
    assert (found["status"], found["attempts"]) == ("SUCCEEDED", 1)
