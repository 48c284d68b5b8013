"""Rooms of real daemons: what they tell, and what they refuse."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .daemons import Daemon, daemons, free_udp

RADIO = {"mesh__hello": "true", "mesh__interfaces": "lo"}


def early() -> str:
    """A clock by which an epoch has just begun: no test waits for the next."""
    shift = 30 - time.time() % 600
    return f"import time; from moodmesh.mesh import clock; clock.SystemClock.wall = lambda self: time.time() + {shift}"


def feels(daemon: Daemon, valence: float, arousal: float) -> None:
    daemon.client.post("moods", body={"valence": valence, "arousal": arousal})


def joined(daemon: Daemon, name: str, kind: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = daemon.client.post("rooms", body={"name": name, "kind": kind, "agreed": True, **more})
    return found


def told(daemon: Daemon, name: str) -> dict[str, Any]:
    def look() -> Any:
        found = daemon.client.get("rooms", name)
        return found if found["last"] else None

    try:
        found: dict[str, Any] = daemon.wait_for(look, "told of the room", 15)
    except AssertionError:
        raise AssertionError(daemon.client.get("rooms", name)["state"] + daemon.log.read_text()[-2000:]) from None
    return found


def test_a_circle_of_three_tells_their_exact_mean(tmp_path: Path) -> None:
    moods = {"anna": (0.5, -0.5), "ben": (-0.2, 0.4), "cleo": (0.9, 0.1)}
    with daemons(tmp_path, *moods, changed=early()) as found:
        for daemon in found:
            daemon.linked(2)
            feels(daemon, *moods[daemon.name])
        room = joined(found[0], "kitchen", "circle", people=["ben", "cleo"])
        for daemon in found[1:]:
            daemon.client.post("rooms", "join", body={"room": room["code"], "agreed": True})
        found[1].client.post("rooms", "kitchen", "ask")
        for daemon in found:
            mood = told(daemon, "kitchen")["mood"]
            assert abs(mood["valence"] - sum(v for v, _ in moods.values()) / 3) < 0.02
            assert abs(mood["arousal"] - sum(a for _, a in moods.values()) / 3) < 0.02


def test_strangers_in_an_on_demand_room_tell_a_rough_mean(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d", "e"]
    with daemons(tmp_path, *names, changed=early(), mesh__hello_port=free_udp(), rules="none", **RADIO) as found:
        for daemon in found:
            feels(daemon, 0.6, 0.2)
        room = joined(found[0], "cafe", "on-demand", eps=4, open=True)
        for daemon in found[1:]:
            daemon.client.post("rooms", "join", body={"room": room["code"], "agreed": True})
        found[2].client.post("rooms", "cafe", "ask")
        values = [told(daemon, "cafe") for daemon in found]
        assert len({(v["mood"]["valence"], v["mood"]["arousal"]) for v in values}) == 1
        assert values[0]["last"]["n"] == values[0]["last"]["contributors"] == 5
        for daemon in found:
            assert daemon.client.get("privacy", "ledger")["spent"]["hour"]["room"] == 4
