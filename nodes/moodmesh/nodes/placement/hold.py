"""Whether a submitter holds a job back although a device could take it now (routing §7, Submit)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from moodmesh.nodes.placement.pull import PATIENCE, Field
from moodmesh.nodes.placement.score import Row


class Hold(NamedTuple):
    """Why a job waits: `parked` for a device that is far faster than any free one; `outpaced`: faster ones that are busy will
    be through with it sooner; `unbound`: it was held already, and is not bound to a queue any more, but taken by who is free.

    `name` is the fastest known device, `away_s` how long it has been away (0: it is here, and busy); the slower one takes the
    job once it was idle for `idle_s`.
    """

    why: Literal["parked", "outpaced", "unbound"]
    ratio: float
    ahead_s: float
    name: str
    away_s: float
    idle_s: float


def hold(chosen: Row, field: Field, *, held: bool = False, parking: bool = True) -> Hold | None:
    """A job whose best device now is no place for it, or that the faster ones will be through with sooner, waits. `held`: it
    was held when last looked at; then a queue is no place for it either."""
    assert chosen.terms is not None
    mine = chosen.terms.alone
    ahead, off_place = field.ahead(mine), parking and field.off_place(mine)
    if off_place or ahead < chosen.terms.cost or (held and chosen.terms.queue > 0):
        takes, away_s, name = field.fastest(mine)
        why: Literal["parked", "outpaced", "unbound"] = (
            "parked" if field.off_place(mine) else "outpaced" if ahead < chosen.terms.cost else "unbound"
        )
        return Hold(why, mine / takes, ahead, name, away_s, PATIENCE * mine)
    return None
