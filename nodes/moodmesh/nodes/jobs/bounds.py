"""How much an executor takes on for whoever asks: pure decisions, so that no peer fills its memory or its heartbeats."""

from __future__ import annotations

import math
from collections.abc import Iterable

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.execution import Execution
from moodmesh.nodes.messages import MAX_LIVE, Reserve, Start
from moodmesh.nodes.placement.gates import Gate
from moodmesh.nodes.placement.queue import CALL_AHEAD_S
from moodmesh.nodes.pool.seam import AttemptFailed

AHEAD_BYTES = 64 * 2**20
"""Inputs that were called for and do not run yet; as many as there are slots may be larger."""
SAME = 0.01
LATE = 2.0
"""An attempt is ended when it takes so many times what its submitter may have run here: a prediction may be off by that."""


def full(peer: DeviceId, keys: Iterable[tuple[str, str, int]]) -> Gate | None:
    """A peer may have so many attempts here, results that it does not take among them: a heartbeat lists them all."""
    return Gate("full", f"{MAX_LIVE} attempts wait here") if sum(key[0] == peer for key in keys) >= MAX_LIVE else None


def near(e: Execution, wait: float, held: Iterable[Execution], slots: int) -> bool:
    """Whether an input should travel: its attempt is near the head, and there is memory beside what was called for before."""
    ahead = [_bytes(one.ask) for one in held if one.called and one.given is None]
    return wait <= CALL_AHEAD_S and (len(ahead) < slots or sum(ahead) + _bytes(e.ask) <= AHEAD_BYTES)


def check_size(ask: Reserve, start: Start) -> None:
    """An input, with the parts to go on after, is no larger than what was reserved: the quota and the disk were asked for
    that. `AttemptFailed`."""
    size = start.input.size + (start.parts.size if start.parts is not None else 0)
    if size > ask.input_bytes:
        raise AttemptFailed("transient", f"its input has {size} bytes, {ask.input_bytes} were reserved")


def check_units(ask: Reserve, units: float) -> None:
    """A request comes to what was reserved: limits, the queue and what is learned of it all rest on that. `AttemptFailed`."""
    if not math.isclose(units, ask.units, rel_tol=SAME):
        raise AttemptFailed("transient", f"its request comes to {units:.6g} units, {ask.units:.6g} were reserved")


def _bytes(ask: Reserve) -> int:
    """What an attempt that was called for may hold in memory: its input, and as much as a `start` carries."""
    return ask.input_bytes + Start.cap
