"""A performance put on the grid of its beats, and how far from the sixteenths its notes then lie (systems S16)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moodmesh.tasks.music.corpus import beats
from moodmesh.tasks.music.corpus.beats import METRE, Array
from moodmesh.tasks.music.notation.midi import Performance
from moodmesh.tasks.music.notation.vocabulary import PIANO

OWN_GRID = 0.05
"""A file whose own grid error is at most this is taken to be written on that grid."""


def off_grid(played: Performance) -> Array:
    """[note] distance of each onset to the nearest sixteenth, in sixteenths: 0 to .5, .25 on average where there is no grid."""
    sixteenths = played.start * 4
    distance: Array = np.abs(sixteenths - np.rint(sixteenths))
    return distance


def grid_error(played: Performance) -> float:
    """The mean of `off_grid`; 0 for no notes."""
    return float(off_grid(played).mean()) if len(played.start) else 0.0


def warped(played: Performance, found: Array, first: int) -> Performance:
    """The same notes with the beats at `found` (seconds, rising, at least two) as quarters; beat `first` begins a bar.

    Beats go on evenly before the first and after the last; no empty bar stands in front.
    """
    start, end = (_beat(played.seconds(quarters), found) - first for quarters in (played.start, played.end))
    shift = -METRE * np.floor((start.min() + 1 / 8) / METRE)
    at = np.arange(len(found)) - first + shift
    tempo = 60 / np.diff(found)
    ahead = int(np.searchsorted(at, 0.0, side="right"))
    inside = max(ahead - 1, 0)
    at, tempo = at[inside:-1], tempo[inside:]
    return replace(
        played,
        start=np.maximum(start + shift, 0),
        end=np.maximum(end + shift, 0),
        tempo_at=np.concatenate([[0.0], at[1:]]) if len(at) else np.zeros(1),
        tempo=tempo if len(at) else 60 / np.diff(found)[-1:],
        last=0.0,
    )


def _beat(seconds: Array, found: Array) -> Array:
    """Where times lie among the beats, in beats from the first."""
    place = np.interp(seconds, found, np.arange(len(found)))
    place += np.minimum(seconds - found[0], 0) / (found[1] - found[0])
    place += np.maximum(seconds - found[-1], 0) / (found[-1] - found[-2])
    return place


def tracked(played: Performance) -> Performance:
    """The performance on beats and bars found from its notes."""
    start, end = played.seconds(played.start), played.seconds(played.end)
    found = beats.beats(beats.onsets(start, played.pitch, played.velocity))
    return warped(played, found, beats.downbeat(found, start, end, played.pitch))


def on_a_grid(played: Performance) -> Performance:
    """The performance on its own grid where it has one, on `tracked` beats otherwise."""
    return played if grid_error(played) <= OWN_GRID else tracked(played)


def chosen(played: Performance, notes: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Performance:
    """Only those notes."""
    columns = {name: getattr(played, name)[notes] for name in ("start", "end", "track", "pitch", "velocity")}
    return replace(played, **columns)


def for_piano(played: Performance) -> Performance:
    """Every pitched note as one of the piano; drums fall away."""
    pitched = chosen(played, played.track != 0)
    return replace(pitched, track=np.full(len(pitched.start), PIANO))
