"""Notes that move to other pitches without one that is cut, or lost in another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from moodmesh.tasks.music.notation.score import Note


def unhurt(before: Sequence[Note], moved: Sequence[Note]) -> list[Note]:
    """The notes of a score as `moved`, each at its index there, but where two of one track and pitch would sound at once, those
    that moved there go back. What goes back may meet others in turn."""
    found = list(moved)
    while back := _meeting(before, found):
        for index in back:
            found[index] = before[index]
    return found


def _meeting(before: Sequence[Note], found: Sequence[Note]) -> set[int]:
    """The notes that moved to where another sounds."""
    order = sorted(range(len(found)), key=lambda index: (found[index].track, found[index].pitch, found[index].onset))
    back = set[int]()
    for one, other in pairwise(order):
        first, second = found[one], found[other]
        alike = (first.track, first.pitch) == (second.track, second.pitch)
        if alike and first.onset + first.duration > second.onset:
            back |= {index for index in (one, other) if found[index] != before[index]}
    return back
