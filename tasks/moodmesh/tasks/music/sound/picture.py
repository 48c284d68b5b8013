"""A piece as a picture: its piano roll, and beside it the mood that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.vocabulary import BAR, DRUMS, HIGHEST, LOWEST, STRINGS, TRACKS, VELOCITIES, bpm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#555555", "#0072B2", "#E69F00", "#009E73", "#CC79A7")
"""Of each track: the palette of Okabe and Ito, which all can tell apart."""
_ACCENT = "#D55E00"
_FAINT = "#C8C8C8"
_BLACK_KEYS = (1, 3, 6, 8, 10)
_DRUM_ROOM = 5
"""Rows below the lowest pitch in which drums are drawn."""


def draw(score: Score, moods: Sequence[tuple[float, float]], file: Path, title: str = "") -> None:
    """Write a PNG, 1500 x 600: notes by bar and pitch, and the moods (valence, arousal in -1..1), a point or a path.

    The same arguments make the same bytes with the same matplotlib. InvalidInput for a name that does not end in .png.
    """
    if file.suffix.lower() != ".png":
        raise InvalidInput(f"{file.name or file}: pictures are PNG: end the name with .png")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    roll, plane = figure.subplots(1, 2, width_ratios=(3.4, 1))
    _roll(roll, score)
    _plane(plane, moods)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    figure.savefig(file, metadata={"Software": None})


def _roll(axes: Axes, score: Score) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    low, high = _range(score)
    for pitch in range(low, high):
        if pitch % 12 in _BLACK_KEYS:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color="#F4F4F4", zorder=0)
    for bar in range(score.bars + 1):
        axes.axvline(bar + 1, color=_FAINT, linewidth=0.9 if bar % 4 == 0 else 0.4, zorder=1)
    used = [track for track in range(len(TRACKS)) if any(note.track == track for note in score.notes)]
    for track in used:
        notes = [note for note in score.notes if note.track == track]
        places = [low - 0.5 - _DRUM_ROOM + _drum_row(note.pitch) if track == DRUMS else note.pitch for note in notes]
        boxes = [
            Rectangle((1 + note.onset / BAR, y - 0.42), (0.3 if track == DRUMS else note.duration - 0.12) / BAR, 0.84)
            for note, y in zip(notes, places, strict=True)
        ]
        shades = [0.25 + 0.75 * note.velocity / (VELOCITIES - 1) for note in notes]
        axes.add_collection(
            PatchCollection(boxes, facecolor=COLOURS[track], edgecolor="none", alpha=shades, zorder=2 - (track == STRINGS) / 2)
        )
    drums = DRUMS in used
    axes.set(xlim=(1, max(score.bars, 1) + 1), ylim=(low - 0.5 - (_DRUM_ROOM + 0.5) * drums, high + 0.5))
    if drums:
        axes.axhline(low - 0.5, color=_FAINT, linewidth=0.8)
    octaves = [pitch for pitch in range(low, high + 1) if pitch % 12 == 0]
    axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
    every = max(1, -(-score.bars // 16))
    axes.set_xticks([1 + bar for bar in range(0, score.bars, every)])
    axes.set_xlabel(f"bar   ({_tempo(score)})")
    _plain(axes)
    keys = [Rectangle((0, 0), 1, 1, color=COLOURS[track]) for track in used]
    if keys:
        names = [TRACKS[track] for track in used]
        axes.legend(keys, names, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(used), frameon=False, fontsize=9)


def _range(score: Score) -> tuple[int, int]:
    """The octaves that are shown, at least two."""
    pitches = [note.pitch for note in score.notes if note.track != DRUMS] or [60]
    low, high = min(pitches) // 12 * 12, max(pitches) // 12 * 12 + 12
    if high - low < 24:
        low, high = low - 12 * (low >= LOWEST + 12), high + 12 * (high < HIGHEST - 12)
    return max(low, LOWEST), min(high, HIGHEST)


def _drum_row(pitch: int) -> float:
    """Kick below, snare and claps above it, then toms, hats and cymbals."""
    if pitch in (35, 36):
        return 0.5
    if pitch in (37, 38, 39, 40):
        return 1.5
    if pitch in (41, 43, 45, 47, 48, 50):
        return 2.5
    return 3.5 if pitch in (42, 44, 46) else 4.5


def _tempo(score: Score) -> str:
    if not score.tempi:
        return "empty"
    slow, fast = round(bpm(min(score.tempi))), round(bpm(max(score.tempi)))
    length = f"{int(score.seconds) // 60}:{int(score.seconds) % 60:02d}"
    return f"{slow} bpm, {length}" if slow == fast else f"{slow} to {fast} bpm, {length}"


def _plane(axes: Axes, moods: Sequence[tuple[float, float]]) -> None:
    for x, y, word, across, along in (
        (0.95, 0.95, "happy", "right", "top"),
        (-0.95, 0.95, "tense", "left", "top"),
        (-0.95, -0.95, "sad", "left", "bottom"),
        (0.95, -0.95, "calm", "right", "bottom"),
    ):
        axes.text(x, y, word, ha=across, va=along, color="#888888", fontsize=9)
    axes.axhline(0, color=_FAINT, linewidth=0.8, zorder=1)
    axes.axvline(0, color=_FAINT, linewidth=0.8, zorder=1)
    if moods:
        valence, arousal = zip(*moods, strict=True)
        if len(set(moods)) > 1:  # a mood that stays has no beginning
            axes.plot(valence, arousal, color=_ACCENT, linewidth=1.5, alpha=0.6, zorder=2)
            axes.scatter(valence, arousal, s=14, color=_ACCENT, zorder=3)
            axes.annotate("start", moods[0], (6, -11), textcoords="offset points", fontsize=8, color="#444444")
        axes.scatter(valence[-1:], arousal[-1:], s=80, color=_ACCENT, edgecolor="white", linewidth=1.2, zorder=4)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axes.set_xlabel("valence")
    axes.set_ylabel("arousal", labelpad=-6)
    _plain(axes)
    axes.spines[:].set(visible=True, color=_FAINT, linewidth=0.8)


def _plain(axes: Axes) -> None:
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
