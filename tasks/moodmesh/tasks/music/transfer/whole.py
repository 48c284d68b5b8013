"""Notes that move to other pitches without cutting those that are to stay whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from moodmesh.tasks.music.notation.score import Note


def unhurt(before: Sequence[Note], moved: Sequence[Note], whole: Callable[[Note], bool]) -> list[Note]:
    """The notes as `moved`, each at the index that it had in a score, but where two of one track and pitch would sound at once:
    if one of them (as it was) is to stay `whole`, those that moved there go back. What goes back may meet others in turn."""
    found = list(moved)
    while back := _meeting(before, found, whole):
        for index in back:
            found[index] = before[index]
    return found


def _meeting(before: Sequence[Note], found: Sequence[Note], whole: Callable[[Note], bool]) -> set[int]:
    """The notes that moved to where one that is to stay whole would be cut, or would cut them."""
    order = sorted(range(len(found)), key=lambda index: (found[index].track, found[index].pitch, found[index].onset))
    back = set[int]()
    for one, other in pairwise(order):
        (first, second), there = (found[one], found[other]), (before[one], before[other])
        alike = (first.track, first.pitch) == (second.track, second.pitch)
        if alike and first.onset + first.duration > second.onset and any(map(whole, there)):
            back |= {index for index in (one, other) if found[index] != before[index]}
    return back
