"""Whether a submitter holds a job back although a device could take it now (routing §7, Submit)."""

from __future__ import annotations

from typing import NamedTuple

from moodmesh.nodes.placement.pull import Field
from moodmesh.nodes.placement.score import Row


class Hold(NamedTuple):
    """Why a job waits: `parked` for a device that is far faster than any free one, or else for faster ones that are busy."""

    parked: bool
    ratio: float
    ahead_s: float


def hold(chosen: Row, field: Field, *, parking: bool = True) -> Hold | None:
    """A job whose best device now is no place for it, or that the faster ones will be through with sooner, waits."""
    assert chosen.terms is not None
    mine = chosen.terms.alone
    ahead = field.ahead(mine)
    if (parking and field.off_place(mine)) or ahead < chosen.terms.cost:
        return Hold(field.off_place(mine), mine / field.known(mine), ahead)
    return None
