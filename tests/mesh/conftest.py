"""Guards around every test here."""

import pytest

from guards import no_thread_is_left, the_loop_is_not_blocked
from moodmesh.mesh import links

__all__ = ["no_thread_is_left", "no_turn_by_radio", "the_loop_is_not_blocked"]


@pytest.fixture(autouse=True)
def no_turn_by_radio(monkeypatch: pytest.MonkeyPatch) -> float:
    """Nobody waits for the other end to dial first; how long it would."""
    waits = links.RADIO_TURN_S
    monkeypatch.setattr(links, "RADIO_TURN_S", 0.0)
    return waits
