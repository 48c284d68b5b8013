"""The order of everything that waits, and how long each will (routing §7): short first, with ageing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

AGEING = 0.05
KEY_CAP_S = 120.0
FAR_TOO_LATE = 4.0
CALL_AHEAD_S = 2.0
"""An input travels when its attempt is this near the head; one further back still goes elsewhere at no cost."""

T = TypeVar("T")


def order_key(service_s: float, waited_s: float) -> float:
    """The smallest goes first. A 60 s job overtakes fresh short ones after 20 minutes at most."""
    return min(service_s, KEY_CAP_S) - AGEING * waited_s


def left_s(expected_s: float, ran_s: float) -> float:
    """Predicted seconds of service an attempt still needs. One that runs late is about to end; one that runs far too late is
    not, and the less so the later it is."""
    return max(expected_s - ran_s, 0.1 * max(expected_s, ran_s - FAR_TOO_LATE * expected_s))


def waits(running: Sequence[float], taken: int, slots: int, queued: Iterable[tuple[T, float]]) -> Iterator[tuple[T, float]]:
    """Each of what waits (in order, with its service seconds) with the predicted seconds until it has a slot.

    `running`: seconds left of each running attempt; `taken`: slots that are not free, whoever has them.
    """
    ahead = sum(running)
    for one, service in queued:
        yield one, 0.0 if taken < slots else ahead / max(1, slots)
        taken, ahead = taken + 1, ahead + service
