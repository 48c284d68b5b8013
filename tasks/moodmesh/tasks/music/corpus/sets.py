"""The training sets of music as they are published: POP909, EMOPIA, GiantMIDI, VGMIDI and the Bach chorales (evaluation §3).

Read from the research data area, `music/<set>`; what a set says of its beats, labels and groups stays with each piece.
"""

from __future__ import annotations

import csv
import json
import lzma
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from moodmesh.tasks import research
from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.corpus import beats
from moodmesh.tasks.music.corpus.beats import Array
from moodmesh.tasks.music.corpus.grid import for_piano
from moodmesh.tasks.music.notation import midi
from moodmesh.tasks.music.notation.midi import Performance
from moodmesh.tasks.music.notation.vocabulary import PIANO
from moodmesh.tasks.research import DataMissing

CHORALE_BPM, CHORALE_VELOCITY = 80.0, 64
"""What the chorales do not say."""


@dataclass(frozen=True)
class Piece:
    """One published piece for the piano, with `group` (what a split must not cut: artist, song, composer, series).

    `beats` are its annotated beats in seconds and `downs` the indices of those that begin a bar; None where there are none.
    `mood` is its labelled (valence, arousal), -1 or 1; None for no label. `notes` counts all notes of the file.
    """

    set: str
    name: str
    part: str
    group: str
    played: Performance
    notes: int
    beats: Array | None = None
    downs: tuple[int, ...] = ()
    mood: tuple[int, int] | None = None


def data_dir(given: str | None = None) -> Path:
    """The research data area: `given`, else MOODMESH_DATA; DataMissing when there is neither."""
    return research.data_dir(
        given,
        "music/pop909",
        "music/pop909/midi.tar.xz and index.csv (github.com/music-x-lab/POP909-Dataset), and so for the other sets",
    )


def _archived(root: Path, name: str) -> Iterator[tuple[dict[str, str], dict[str, bytes]]]:
    """Each row of a set's index with its files, by what follows the common stem (`.mid`, `.beat_midi.txt`)."""
    folder = root / "music" / name
    try:
        rows = list(csv.DictReader((folder / "index.csv").read_text(encoding="utf-8").splitlines()))
        with tarfile.open(folder / "midi.tar.xz") as archive:
            files = {entry.name.removeprefix("./"): archive.extractfile(entry) for entry in archive if entry.isfile()}
            held = {path: file.read() for path, file in files.items() if file}
    except FileNotFoundError as gone:
        raise DataMissing(f"{gone.filename} is not there: see README and PROVENANCE of the research data area") from None
    beside: dict[str, dict[str, bytes]] = {}
    for path, data in held.items():
        stem = path.removesuffix(".mid") if path.endswith(".mid") else path.partition(".")[0]
        beside.setdefault(stem, {})[path.removeprefix(stem)] = data
    for row in rows:
        yield row, beside[row["file"].removesuffix(".mid")]


def _piece(name: str, row: dict[str, str], data: bytes) -> Piece | None:
    """None for the few files that cannot be read at all."""
    try:
        played = midi.performance(data)
    except InvalidInput:
        return None
    mood = (int(float(row["valence"])), int(float(row["arousal"]))) if row.get("valence") and row.get("arousal") else None
    return Piece(name, row["id"], row["split"], row["group"], for_piano(played), int(float(row["n_notes"])), mood=mood)


def _plain(name: str) -> Callable[[Path], Iterator[Piece]]:
    def read(root: Path) -> Iterator[Piece]:
        for row, files in _archived(root, name):
            piece = _piece(name, row, files[".mid"])
            if piece:
                yield piece

    return read


def _pop909(root: Path) -> Iterator[Piece]:
    """With the beats of `beat_midi.txt`: seconds, beat of a bar of two, beat of the bar (1 = downbeat)."""
    for row, files in _archived(root, "pop909"):
        piece = _piece("pop909", row, files[".mid"])
        if piece:
            marks = np.array([line.split() for line in files[".beat_midi.txt"].decode().splitlines() if line.strip()], float)
            downs = tuple(np.flatnonzero(marks[:, 2] == 1).tolist())
            yield replace(piece, beats=marks[:, 0], downs=downs)


def _jsb(root: Path) -> Iterator[Piece]:
    """Four pitches a sixteenth, -1 for a rest; a pitch that goes on is one note, and bars are found as for a performance."""
    try:
        held = json.loads(lzma.decompress((root / "music" / "jsb" / "jsb16.json.xz").read_bytes()))
    except FileNotFoundError as gone:
        raise DataMissing(f"{gone.filename} is not there: see README and PROVENANCE of the research data area") from None
    for part, pieces in held.items():
        for number, steps in enumerate(pieces):
            name = f"{part}-{number:03}"
            played = _chorale(np.array(steps, np.int64))
            seconds = np.arange(0, len(steps) + 4, 4) / 4 * 60 / CHORALE_BPM
            first = beats.downbeat(seconds, played.seconds(played.start), played.seconds(played.end), played.pitch)
            yield Piece("jsb", name, part, name, played, len(played.start), seconds, (first,))


def _chorale(steps: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Performance:
    notes = set[tuple[int, int, int]]()
    for voice in steps.T:
        edges = [0, *(np.flatnonzero(np.diff(voice)) + 1).tolist(), len(voice)]
        notes.update((a, int(voice[a]), b) for a, b in pairwise(edges) if voice[a] >= 0)
    start, pitch, end = np.array(sorted(notes), np.int64).reshape(-1, 3).T
    same = np.full(len(start), 1)
    where, tempo = np.zeros(1), np.full(1, CHORALE_BPM)
    return Performance(start / 4, end / 4, same * PIANO, pitch, same * CHORALE_VELOCITY, where, tempo)


SETS: dict[str, Callable[[Path], Iterator[Piece]]] = {
    "pop909": _pop909,
    "emopia": _plain("emopia"),
    "giantmidi": _plain("giantmidi"),
    "vgmidi": _plain("vgmidi"),
    "jsb": _jsb,
}
"""Each training set by name: what reads its pieces from the data area."""
