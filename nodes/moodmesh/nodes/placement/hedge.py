"""A second attempt of a job whose first runs suspiciously long, within a budget (routing §7)."""

from __future__ import annotations

from collections.abc import Iterable

from moodmesh.nodes.placement.score import Row, place
from moodmesh.nodes.placement.view import Ask, Device

PER_JOB, MOST, FIRST = 0.05, 20.0, 2.0


def hedge_after(expected_s: float) -> float:
    """Seconds of running after which a second attempt may start."""
    return max(2 * expected_s, expected_s + 1.0)


def second(ask: Ask, elapsed_s: float, devices: Iterable[Device]) -> Row | None:
    """Where a second attempt may run: an idle device that would be done in less time than the first has taken already."""
    idle = [d for d in devices if d.present and d.dynamic and d.dynamic.free_slots and not d.dynamic.queue and not d.pending_s]
    chosen = place(ask, idle).chosen
    return chosen if chosen and chosen.terms and chosen.terms.transfer + chosen.terms.service < elapsed_s else None


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
