"""What is heard in a score without a model: key and mode, polyphony, density (systems S16, S19)."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.notation.score import QUARTERS, Note, Score, transpose
from moodmesh.tasks.music.notation.vocabulary import BAR, DRUMS, HIGHEST

KEYS = 24
POLYPHONY_BOUNDS = (2.63, 3.06, 3.50, 4.00, 4.63, 5.44, 6.44)
"""Between the 8 polyphony classes, in mean notes sounding (MuseMorphose; systems S16)."""

SAME_HAND = 7
"""Notes within so many semitones follow each other in one voice, when it is asked how long a note could have sounded."""

TONICS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
# Share of each degree in pieces of known key (Albrecht and Shanahan 2013). By correlation they find the annotated key of 90 %
# of the songs of POP909; the ratings of Krumhansl and Kessler (1982) that of 86 %.
_MAJOR = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
_MINOR = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)


def _profiles() -> NDArray[np.float64]:
    """[24, 12] the profile of each key, mean 0 and length 1."""
    rows = np.array([np.roll(profile, tonic) for profile in (_MAJOR, _MINOR) for tonic in range(12)])
    rows -= rows.mean(1, keepdims=True)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


_PROFILES = _profiles()


class Key(NamedTuple):
    """One of 24 keys: the pitch class of its tonic (C = 0) and whether it is minor."""

    tonic: int
    minor: bool

    @property
    def number(self) -> int:
        """0..11 major, 12..23 minor."""
        return self.tonic + 12 * self.minor

    def __str__(self) -> str:
        return f"{TONICS[self.tonic]} {'minor' if self.minor else 'major'}"


def key_fit(score: Score) -> NDArray[np.float64]:
    """[24] correlation of the time each pitch class sounds with the profile of each key; 0 for no notes."""
    sounding = np.zeros(12)
    for note in score.notes:
        if note.track != DRUMS:
            sounding[note.pitch % 12] += note.duration
    return profile_fit(sounding)


def profile_fit(weights: NDArray[Any]) -> NDArray[np.float64]:
    """[24] correlation of the weights of the pitch classes [12] with the profile of each key; 0 where all weigh the same."""
    if np.ptp(weights) == 0:
        return np.zeros(KEYS)
    apart = weights - weights.mean()
    return np.asarray(_PROFILES @ (apart / np.linalg.norm(apart)))


def key(score: Score) -> Key:
    """The key that fits best; C major where nothing is to be heard."""
    minor, tonic = divmod(int(key_fit(score).argmax()), 12)
    return Key(tonic, bool(minor))


def minorness(score: Score) -> float:
    """How much better A minor fits than C major, about -.6 to .6: of a score that is in one of them (`normalised`)."""
    fits = key_fit(score)
    return float(fits[Key(9, minor=True).number] - fits[Key(0, minor=False).number])


def normalised(score: Score) -> tuple[Score, Key]:
    """The score moved by at most 6 semitones to C major or A minor, and the key it had; `at_key` moves it back."""
    found = key(score)
    return at_home(score, found), found


def at_home(score: Score, found: Key) -> Score:
    """A score whose key is taken to be `found`, moved by at most 6 semitones to C major or A minor; `at_key` moves it back."""
    return transpose(score, -_root(found))


def at_key(score: Score, wanted: Key) -> Score:
    """A score in C major or A minor moved to the tonic of `wanted`; its mode stays."""
    return transpose(score, _root(wanted))


def _root(wanted: Key) -> int:
    """Semitones from C major or A minor up to a key, -5 to 6."""
    return (wanted.tonic - (9 if wanted.minor else 0) + 5) % 12 - 5


def sounding(score: Score) -> NDArray[np.int64]:
    """[sub-beats] notes that begin or still sound in each sub-beat, drums aside."""
    steps = np.zeros(score.length + BAR + 1, np.int64)
    for note in score.notes:
        if note.track != DRUMS:
            steps[note.onset] += 1
            steps[note.onset + note.duration] -= 1
    return np.cumsum(steps)[: score.length]


def polyphony_classes(score: Score) -> tuple[int, ...]:
    """The class 0..7 of the mean polyphony of every bar."""
    means = sounding(score).reshape(-1, BAR).mean(1)
    return tuple(bisect_right(POLYPHONY_BOUNDS, mean) for mean in means.tolist())


def articulation(score: Score) -> float:
    """The mean over notes of the share of the time to the next note within 7 semitones that they sound, 0..1.

    Those with none in a bar, and drums, aside; 1 for no notes. It goes from the last moment to the first, and so takes as long
    a note in a dense piece as in any.
    """
    following = [math.inf] * (HIGHEST + 1 + SAME_HAND)
    notes = [note for note in score.notes if note.track != DRUMS]
    shares: list[float] = []
    waiting: list[Note] = []
    for note in reversed(notes):
        if waiting and waiting[-1].onset != note.onset:  # a moment is not heard after itself
            for struck in waiting:
                following[struck.pitch] = struck.onset
            waiting = []
        waiting.append(note)
        slot = min(following[note.pitch - SAME_HAND : note.pitch + SAME_HAND + 1]) - note.onset
        if slot <= BAR:
            shares.append(min(1.0, note.duration / slot))
    return sum(reversed(shares)) / len(shares) if shares else 1.0


def density(score: Score) -> float:
    """Moments in a quarter at which notes begin, drums aside; 0 for no bars."""
    return QUARTERS * len({note.onset for note in score.notes if note.track != DRUMS}) / max(score.length, 1)


def note_rate(score: Score) -> float:
    """Notes a second, drums included; 0 for no bars."""
    return len(score.notes) / score.seconds if score.bars else 0.0


def rhythm_density(score: Score) -> float:
    """Share of the quarters in which at least one note begins (evaluation §2); 0 for no bars."""
    return len({note.onset // QUARTERS for note in score.notes}) / (score.bars * QUARTERS) if score.bars else 0.0
