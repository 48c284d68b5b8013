"""The end of the demo: the devices are a room, the room tells how it feels, and that becomes a piece of music."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moodmesh.nodes.demo.scene import DemoFailed, Device
from moodmesh.nodes.errors import NodeError
from moodmesh.nodes.placement.explain import table

ROOM = "demo"
BARS = 8
FEELS = {"laptop": (0.5, 0.3), "desktop": (0.7, -0.2)}
"""What the people at the other devices say they feel: the demo has no people."""
TELL_S, SLACK_S = 30.0, 75.0
"""Patience with a sum; and as long more where an epoch ends, since nothing begins in its last 45 s."""
Told = Callable[[str], None]


def page_mood(items: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The mean mood of a page that was read."""
    valence, arousal = ([item[axis] for item in items if item[axis] is not None] for axis in ("valence", "arousal"))
    return sum(valence) / len(valence), sum(arousal) / len(arousal)


def gather(devices: Mapping[str, Device], host: str, felt: tuple[float, float], told: Told) -> None:
    """The owners of the devices become a circle, and it tells its mean. `DemoFailed` where it does not."""
    moods = {**FEELS, host: felt}
    for name, device in devices.items():
        valence, arousal = moods[name]
        device.client.post("moods", body={"valence": valence, "arousal": arousal})
    asks = devices[host].client
    others = [name for name in devices if name != host]
    about = {"name": ROOM, "kind": "circle", "eps": 0, "people": others, "trust": "verified", "agreed": True}
    code = asks.post("rooms", body=about)["code"]
    for name in others:
        devices[name].client.post("rooms", "join", body={"room": code, "trust": "verified", "agreed": True})
    if (left := asks.get("rooms", ROOM)["epoch_left_s"]) < SLACK_S - TELL_S:
        told(f"   (rooms keep to ten-minute epochs; the next one begins in {left:.0f} s)")
    found = _asked(devices, host)
    mood = found["mood"]
    told(
        "\n5. The three are a room now (a circle: exact, of people who agreed to each other; here the mood of the page and\n"
        f"   two that are made up). It feels valence {mood['valence']:+.2f}, arousal {mood['arousal']:+.2f}; no device learned "
        "what another one's owner feels."
    )


def _asked(devices: Mapping[str, Device], host: str) -> dict[str, Any]:
    asks, begun, asked_at, refused = devices[host].client, time.monotonic(), -math.inf, ""
    while (passed := time.monotonic() - begun) < TELL_S + SLACK_S:
        if passed - asked_at > TELL_S / 2:
            asked_at = passed
            try:
                asks.post("rooms", ROOM, "ask")
            except NodeError as error:  # at the end of an epoch, and while the next one forms
                refused = f" ({error})"
        found: dict[str, Any] = asks.get("rooms", ROOM)
        if found["mood"] is not None:
            return found
        time.sleep(0.1)
    raise DemoFailed(f"the room told nothing: {found['state']}{refused}; run the demo again")


def piece(device: Device, beside: Path, told: Told) -> dict[str, Any]:
    """`moodmesh make music --from room` on a device; the piece is written beside a file, as MIDI and as sound."""
    outs = [beside.with_suffix(suffix) for suffix in (".mid", ".ogg")]
    options = [part for out in outs for part in ("--out", str(out))]
    made = device.command("make", "music", "--from", "room", "--bars", str(BARS), *options, "--overwrite", "--why")
    music = made["result"]
    told(
        f"\n7. The mood of the room as music, asked for by {device.name}: {music['bars']} bars, {music['seconds']:.0f} s, "
        f"{music['key']}, made on {made['ran_on']} by {made['variant']}: {made['why']}."
    )
    for line in table(made["explain"]["tables"][-1]):
        told(line)
    told(f"   to listen to: {outs[1]}, and as MIDI: {outs[0]}")
    keys = ("id", "task", "status", "ran_on", "variant", "why")
    return {**{key: made[key] for key in keys}, "mood": music["moods"][0], "key": music["key"], "files": made["written"]}
