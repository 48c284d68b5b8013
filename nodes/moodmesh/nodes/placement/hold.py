"""Whether a submitter holds a job back although a device could take it now (routing §7, Submit)."""

from __future__ import annotations

from typing import NamedTuple

from moodmesh.nodes.placement.pull import PATIENCE, Field
from moodmesh.nodes.placement.score import Row


class Hold(NamedTuple):
    """Why a job waits: `parked` for a device that is far faster than any free one, or else for faster ones that are busy.

    `name` is the fastest known device, `away_s` how long it has been away (0: it is here, and busy); the slower one takes the
    job once it was idle for `idle_s`.
    """

    parked: bool
    ratio: float
    ahead_s: float
    name: str
    away_s: float
    idle_s: float


def hold(chosen: Row, field: Field, *, parking: bool = True) -> Hold | None:
    """A job whose best device now is no place for it, or that the faster ones will be through with sooner, waits."""
    assert chosen.terms is not None
    mine = chosen.terms.alone
    ahead = field.ahead(mine)
    if (parking and field.off_place(mine)) or ahead < chosen.terms.cost:
        takes, away_s, name = field.fastest(mine)
        return Hold(field.off_place(mine), mine / takes, ahead, name, away_s, PATIENCE * mine)
    return None
