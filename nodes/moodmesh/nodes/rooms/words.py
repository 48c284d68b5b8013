"""What a room is told to be before anybody joins it: plain words, and what would be sent (room-mood §2, §8, §15)."""

from __future__ import annotations

from collections.abc import Mapping

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.rooms.model import Descriptor, Trust
from moodmesh.privacy.release.budget import total
from moodmesh.privacy.release.mechanism import PER_HOUR, Ambient, OnDemand

NOT_FOR = "Not for workplaces, schools or universities: in the EU the law forbids to infer emotions there."
TRUST = {
    "verified": "Only people whose device is paired with yours count as honest when the cost is charged.",
    "assumed": "You assume that at least two thirds of the others are real people: then less is charged than if they are not.",
}


def consent(room: Descriptor, trust: Trust, names: Mapping[DeviceId, str]) -> list[str]:
    """What its user agrees to by joining."""
    lines = {"circle": _circle, "on-demand": _on_demand, "ambient": _ambient}[room.kind](room, names)
    if room.kind == "ambient":  # a report of an on-demand room costs the same whoever is honest
        lines.append(TRUST[trust])
    if room.kind != "circle":
        lines.append("Others can see that you are here, how many are, and when. Your mood itself never leaves this device.")
    return [*lines, "moodmesh room leave ends it at once. " + NOT_FOR]


def _circle(room: Descriptor, names: Mapping[DeviceId, str]) -> list[str]:
    people = ", ".join(names.get(DeviceId(p), p[:8]) for p in room.people)
    return [
        f"A circle: the exact mean of {len(room.people)} people ({people}), not differentially private.",
        "Everyone learns the exact mean. If all the others compare notes, they know your mood. Repeated circles show how the "
        "mean moves.",
    ]


def _on_demand(room: Descriptor, names: Mapping[DeviceId, str]) -> list[str]:
    odds = {1: 73, 2: 88, 4: 98}[room.eps]
    return [
        f"An on-demand room of at least {room.least}: each time someone asks, a report goes out that is made blurry on this "
        f"device first (epsilon {room.eps}).",
        f"If everybody else were against you, one report would let them tell two opposite moods apart with at most {odds} % "
        "certainty. With 10 people the mean is off by about "
        f"{OnDemand(room.eps).rms(10):.2f} on a scale from -1 to 1: rough.",
    ]


def _ambient(room: Descriptor, names: Mapping[DeviceId, str]) -> list[str]:
    how = Ambient.within(room.least, room.hour_room, room.hour_alone)
    hour = total([how.price(room.least // 2)] * PER_HOUR)
    return [
        f"An ambient room of at least {room.least}: every ten minutes the room's mean goes out, with noise from every device.",
        f"In an hour it tells at most epsilon {hour.room:.1f} of you while half of the room is honest, and {hour.alone:.0f} if "
        f"everybody else were against you. The mean of {room.least} people is off by {how.rms(room.least):.2f}.",
    ]
