"""A piece in another mood by rules alone: mode, register, tempo, loudness, density and articulation move to what the mood
wants (`rules.attributes.wanted`); the bars, the tracks, the contour and, unless thinning is asked for, all notes stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from moodmesh.tasks.music.notation import midi
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import articulation, density, key
from moodmesh.tasks.music.notation.score import Note, Score, tidy
from moodmesh.tasks.music.rules.attributes import Attributes
from moodmesh.tasks.music.transfer.mode import parallel
from moodmesh.tasks.music.transfer.tune import tune
from moodmesh.tasks.music.transfer.whole import unhurt

if TYPE_CHECKING:
    from moodmesh.tasks.music.transfer.schema import Kept

OCTAVE_FROM = 7
"""Semitones that a register must be off before the piece moves by an octave: a smaller move would leave the key."""
_TEMPO = (0.6, 1.7)
"""The least and the most a tempo is multiplied by: beyond, it is another piece."""
_DENSER, _SHORTEST = 0.9, 2
"""Notes are struck again while density is below this share of what is wanted, in pieces no shorter than an eighth."""


def transferred(
    score: Score, asked: Attributes, keep: Collection[Kept] = (), *, thin: bool = False, check: Callable[[], object] = bool
) -> Score:
    """The score as those attributes want it, as far as what is kept allows: the same bars and tracks, the same notes or more.
    `thin`: notes beside the highest line may be left out. With all five kept it is the same score. `check` may raise."""
    kept, rhythm = tune(score.notes) if "melody" in keep else frozenset(), "rhythm" in keep
    if "key" not in keep:
        if "melody" not in keep:
            score = parallel(score, key(score), minor=asked.minor, whole=rhythm)
            check()
        score = _register(score, asked.register, kept)
    if not rhythm:
        check()
        score = _density(score, asked.density, kept, thin=thin)
        check()
        score = _articulation(score, asked.articulation, kept)
    check()
    if "dynamics" not in keep:
        score = _dynamics(score, asked.velocity)
    return replace(score, tempi=tempi(score, asked, keep))


def _register(score: Score, wanted: float, kept: Collection[Note]) -> Score:
    """All but what is kept an octave up or down."""
    pitched = [note for note in score.notes if note.track != v.DRUMS and note not in kept]
    if not pitched:
        return score
    off = wanted - sum(note.pitch for note in pitched) / len(pitched)
    step = math.copysign(12, off) if abs(off) >= OCTAVE_FROM else 0
    moving = [note.pitch + step for note in pitched]
    if kept and step > 0:  # what accompanies stays below the tune
        return score
    if not (min(moving) >= v.LOWEST and max(moving) <= v.HIGHEST):
        return score
    free = frozenset(pitched)
    moved = [note._replace(pitch=note.pitch + int(step)) if note in free else note for note in score.notes]
    return tidy(unhurt(score.notes, moved), score.tempi)


def tempi(score: Score, asked: Attributes, keep: Collection[Kept] = ()) -> tuple[int, ...]:
    """Those that the score is `transferred` to: all by one ratio, so that what slows down still does."""
    if "tempo" in keep or not score.tempi:
        return score.tempi
    ratio = min(max(asked.bpm / (score.bars * 240 / score.seconds), _TEMPO[0]), _TEMPO[1])
    return tuple(v.tempo_step(v.bpm(step) * ratio) for step in score.tempi)


def _dynamics(score: Score, wanted: float) -> Score:
    """All notes louder or softer by as much, so that accents stay."""
    loud = [v.loudness(note.velocity) for note in score.notes if note.track != v.DRUMS]
    by = round((wanted - sum(loud) / len(loud)) / 2) if loud else 0
    return replace(
        score,
        notes=tuple(note._replace(velocity=min(max(note.velocity + by, 0), v.VELOCITIES - 1)) for note in score.notes),
    )


def _articulation(score: Score, wanted: float, kept: Collection[Note]) -> Score:
    """Shorter or longer notes; none sounds into the next of its pitch."""
    ratio = wanted / max(articulation(score), 0.05)

    def lasting(note: Note) -> Note:
        if note.track == v.DRUMS or note in kept:
            return note
        return note._replace(duration=min(max(round(note.duration * ratio), 1), v.BAR))

    return tidy(map(lasting, score.notes), score.tempi)


def _density(score: Score, wanted: float, kept: Collection[Note], *, thin: bool) -> Score:
    if density(score) < wanted * _DENSER:
        return _denser(score, wanted, kept)
    return _thinner(score, wanted) if thin and density(score) > wanted else score


def _denser(score: Score, wanted: float, kept: Collection[Note]) -> Score:
    """Long notes are struck again half-way, the longest first, as long as the piece can be read again; those of the highest
    line are not, and where it is kept, nothing is struck that it does not sound above."""
    spared, above = frozenset(kept) | tune(score.notes), _heights(kept)
    moments = {note.onset for note in score.notes if note.track != v.DRUMS}
    enough = wanted * _DENSER * score.length / 4
    for least in (v.BAR, v.BAR // 2, v.BAR // 4):
        notes: list[Note] = []
        more = midi.MAX_NOTES - len(score.notes)
        for note in score.notes:
            half = note.duration // 2
            again = note._replace(onset=note.onset + half, duration=note.duration - half)
            long = note.duration >= least and half >= _SHORTEST and again.onset < score.length
            beneath = not kept or above.get(again.onset, 0) > note.pitch
            if more > 0 and len(moments) < enough and long and beneath and note.track != v.DRUMS and note not in spared:
                moments.add(again.onset)
                notes += [note._replace(duration=half), again]
                more -= 1
            else:
                notes.append(note)
        score = tidy(notes, score.tempi)
    return score


def _heights(line: Iterable[Note]) -> dict[int, int]:
    """The pitch of the note of a line that began last, at each sub-beat at which it still sounds."""
    notes, made = sorted(line), dict[int, int]()
    for note, after in zip_longest(notes, notes[1:]):
        end = note.onset + note.duration
        made |= dict.fromkeys(range(note.onset, min(end, after.onset) if after else end), note.pitch)
    return made


def _thinner(score: Score, wanted: float) -> Score:
    """Beside the highest line, moments are left out, those between the beats first."""
    spared = tune(score.notes)
    moments = {note.onset for note in score.notes if note.track != v.DRUMS}
    most = round(wanted * score.length / 4)
    free = moments - {note.onset for note in spared}
    for onset in sorted(free, key=lambda at: (-_weakness(at), at)):
        if len(moments) <= most:
            break
        moments.discard(onset)
    drums = {note.track for note in score.notes if note.track == v.DRUMS}
    left = [note for note in score.notes if note.track in drums or note.onset in moments or note in spared]
    return tidy(_with_every_track(score.notes, left), score.tempi)


def _weakness(onset: int) -> int:
    """0 at a bar line, 4 between eighths."""
    return next(rank for rank, step in enumerate((16, 8, 4, 2, 1)) if onset % step == 0)


def _with_every_track(before: Iterable[Note], left: list[Note]) -> list[Note]:
    """No instrument falls silent: of one that would, its first note stays."""
    first: dict[int, Note] = {}
    for note in before:
        first.setdefault(note.track, note)
    there = {note.track for note in left}
    return [*left, *(note for track, note in first.items() if track not in there)]
