"""A second attempt of a job whose first runs suspiciously long, within a budget (routing §7)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.placement.score import Row, place
from moodmesh.nodes.placement.view import Ask, Device

PER_JOB, MOST, FIRST = 0.05, 20.0, 2.0
FAR, FAR_LEAST_S = 20.0, 60.0


def hedge_after(expected_s: float) -> float:
    """Seconds of running after which a second attempt may start."""
    return max(2 * expected_s, expected_s + 1.0)


def far_after(expected_s: float) -> float:
    """Seconds that nothing honest takes which is expected to take so long: no promise of a later start is believed any more."""
    return FAR * expected_s + FAR_LEAST_S


def hangs(late_s: float, expected_s: float, *, begun: bool) -> bool:
    """Whether an attempt is no rival of another any more, so long after its start, or after it was due to begin."""
    return late_s >= hedge_after(expected_s) and free(late_s, expected_s, begun)


def free(took_s: float, expected_s: float, begun: bool) -> bool:
    """Whether a second attempt needs no token: what has not begun when it should is no work done twice, and nothing honest
    takes so long."""
    return not begun or took_s >= far_after(expected_s)


def second(ask: Ask, elapsed_s: float, tried: Collection[DeviceId], devices: Iterable[Device]) -> Row | None:
    """Where a second attempt may run: an idle device on mains, none of those that have one, that would be done in less time
    than the late one has taken already."""
    chosen = place(ask, [d for d in devices if d.id not in tried and idle(d)]).chosen
    return chosen if chosen and chosen.terms and chosen.terms.alone < elapsed_s else None


def idle(device: Device) -> bool:
    """Whether a device has nothing to do, and power for work that may be done twice."""
    now = device.dynamic
    if not device.present or now is None or now.power != "ok":  # nothing is done twice on battery
        return False
    return now.free_slots > 0 and not now.queue and not device.pending_s


class Budget:
    """Tokens for second attempts: a share of one for each job submitted."""

    def __init__(self) -> None:
        self._tokens = FIRST

    def earn(self) -> None:
        """A job was submitted."""
        self._tokens = min(MOST, self._tokens + PER_JOB)

    def spend(self) -> bool:
        """Take one token; False when there is none."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
