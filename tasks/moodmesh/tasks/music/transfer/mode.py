"""Major to minor and back on the same tonic, by scale degrees: third, sixth and seventh move by a semitone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import Key
from moodmesh.tasks.music.notation.score import Note, Score, tidy
from moodmesh.tasks.music.transfer.whole import unhurt

_TO_MINOR = {4: 3, 9: 8, 11: 10}
_TO_MAJOR = {minor: major for major, minor in _TO_MINOR.items()}
_LEADING, _FIFTH = 11, 7


def parallel(score: Score, found: Key, *, minor: bool, whole: bool = False) -> Score:
    """The score, whose key is `found`, in the major or minor of its tonic; unchanged where it has that mode already.

    No note is lost: one that would fall on another of its moment and track stays. What was higher is never lower after it.
    The leading tone stays over the fifth of the scale and before the tonic, as in harmonic minor. `whole`: every note sounds as
    long as it did; one that would meet another of its track and pitch stays.
    """
    if found.minor == minor:
        return score
    chords: dict[int, list[Note]] = {}
    for note in score.notes:
        chords.setdefault(note.onset, []).append(note)
    moments = sorted(chords)
    following = dict(pairwise(moments))
    moved: list[Note] = []
    for onset, notes in chords.items():
        after = chords.get(following.get(onset, -1), [])
        moved += _moved(notes, after, found.tonic, minor=minor)
    return tidy(unhurt(score.notes, moved) if whole else moved, score.tempi)


def _moved(notes: Sequence[Note], after: Sequence[Note], tonic: int, *, minor: bool) -> list[Note]:
    """One moment; `after`: the next one."""
    degrees = {(note.pitch - tonic) % 12 for note in notes if note.track != v.DRUMS}
    taken = {note[:3] for note in notes}
    found = []
    for note in notes:
        degree = (note.pitch - tonic) % 12
        by = (_TO_MINOR if minor else _TO_MAJOR).get(degree, degree) - degree
        leads = degree == _LEADING and (_FIFTH in degrees or any(n.pitch == note.pitch + 1 for n in after))
        moved = note._replace(pitch=note.pitch + by)
        stays = note.track == v.DRUMS or leads or not v.LOWEST <= moved.pitch <= v.HIGHEST or moved[:3] in taken
        found.append(note if stays else moved)
    return found
