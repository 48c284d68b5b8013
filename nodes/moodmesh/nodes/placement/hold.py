"""Whether a submitter holds a job back although a device could take it now (routing §7, Submit)."""

from __future__ import annotations

from moodmesh.nodes.placement.pull import Field
from moodmesh.nodes.placement.score import Row


def hold(chosen: Row, field: Field, *, parking: bool = True) -> bool:
    """Hold it for a much faster device that is absent or busy, or for the faster ones that will be through with it sooner."""
    assert chosen.terms is not None
    if parking and field.off_place(chosen.terms.service):
        return True
    return field.ahead(chosen.terms.service) < chosen.terms.cost
