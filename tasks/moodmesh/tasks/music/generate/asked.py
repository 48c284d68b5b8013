"""What a request comes to: a mood for every bar, and what the composer is to show in each phrase (systems S17, S19)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.generate.schema import MusicRequest
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import TONICS, Key, at_home, at_key
from moodmesh.tasks.music.notation.features import key as heard_key
from moodmesh.tasks.music.notation.midi import read_given, unreadable
from moodmesh.tasks.music.notation.reading import Reading
from moodmesh.tasks.music.notation.score import Score, excerpt, joined, tidy
from moodmesh.tasks.music.rules.attributes import Attributes, wanted
from moodmesh.tasks.music.rules.moods import Mood, along, emotion
from moodmesh.tasks.music.rules.orchestrate import orchestrated
from moodmesh.tasks.task import Request

PHRASE, ON_A_PATH = 8, 4
"""Bars that are asked for together; fewer when the mood moves."""
TONIC = 1 << 20
"""Chance for the tonic is drawn apart from that of any bar."""
READ = 16
"""Bars of a given piece that the composer reads before it goes on."""
MOST_NOTES = 256
"""Of a bar that is made: a composer has `MAX_BAR` tokens, three a note, and an ensemble at most doubles them and adds 20."""


@dataclass(frozen=True)
class Asked:
    """A request that is understood; `given` is the piece to go on from, and `reading` how it was read; None without one."""

    request: MusicRequest
    seed: int
    points: tuple[tuple[float, Mood], ...]
    given: Score | None
    reading: Reading | None = None

    @classmethod
    def of(cls, request: Request) -> Asked:
        """InvalidInput says what is wrong with the mood or the file, or that the piece would be too long to be read again."""
        music = MusicRequest.model_validate(dict(request.params))
        points = _points(music)
        if not request.input:
            return cls(music, request.seed, points, None)
        if music.key is not None:
            raise InvalidInput("a piece that is gone on from has its key already: leave `key` out, or the file")
        asked = cls(music, request.seed, points, *read_given(request.input))
        if said := asked._unreadable():
            raise InvalidInput(f"{said}: ask for fewer bars, or cut the file")
        return asked

    def _unreadable(self) -> str:
        """What would keep the given piece with the bars after it from being read again; empty for nothing."""
        if self.given is None:
            return ""
        made = tuple(self.tempo(bar) for bar in range(self.request.bars))
        return unreadable(self.given.tempi + made, len(self.given.notes) + MOST_NOTES * len(made))

    def mood(self, bar: int) -> Mood:
        """What is asked of a bar: the mood at its middle."""
        return along(self.points, (bar + 0.5) / self.request.bars)

    @property
    def moods(self) -> list[Mood]:
        """What is asked of each bar."""
        return [self.mood(bar) for bar in range(self.request.bars)]

    def wanted(self, mood: Mood) -> Attributes:
        """What a mood is to show, at the tempo of the request if it has one."""
        shown = wanted(*mood)
        return replace(shown, bpm=self.request.bpm) if self.request.bpm else shown

    @cached_property
    def phrases(self) -> tuple[tuple[int, int, Attributes], ...]:
        """(first bar, bar after the last, what it is to show) of each phrase; the mood is that of its middle."""
        size = PHRASE if len(self.points) == 1 else ON_A_PATH
        starts = range(0, self.request.bars, size)
        ends = [min(start + size, self.request.bars) for start in starts]
        middles = (Mood(*(sum(axis) / (end - start) for axis in zip(*self.moods[start:end], strict=True)))
                   for start, end in zip(starts, ends, strict=True))  # fmt: skip
        return tuple((start, end, self.wanted(mood)) for start, end, mood in zip(starts, ends, middles, strict=True))

    def tempo(self, bar: int) -> int:
        """The tempo step of a bar."""
        return v.tempo_step(self.wanted(self.mood(bar)).bpm)

    @cached_property
    def key(self) -> Key:
        """The key it is played in: as asked, of the given piece, or by the seed; its mode is that of the first mood."""
        minor = self.phrases[0][2].minor
        if self.given is not None:
            found = heard_key(self.given)
            return found if found.minor == minor else Key((found.tonic + (-3 if minor else 3)) % 12, minor)
        if self.request.key is not None:
            return Key(TONICS.index(self.request.key), minor)
        return Key(int(np.random.default_rng((self.seed, TONIC)).integers(12)), minor)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that it passes through: a path from one mode into the other goes on in the relative key."""
        other = Key((self.key.tonic + (3 if self.key.minor else -3)) % 12, not self.key.minor)
        return tuple(dict.fromkeys(self.key if shown.minor == self.key.minor else other for _, _, shown in self.phrases))

    @cached_property
    def before(self) -> Score | None:
        """What a composer reads of the given piece: its last bars, for the piano, moved from `key` to C major or A minor."""
        if self.given is None:
            return None
        for_piano = tidy((note._replace(track=v.PIANO) for note in self.given.notes if note.track != v.DRUMS), self.given.tempi)
        return excerpt(at_home(for_piano, self.key), max(0, for_piano.bars - READ), for_piano.bars)

    def finished(self, made: Score) -> Score:
        """What a composer made, in the key asked for, with the ensemble, after the given piece; silent after its last bar."""
        heard = self.heard(made)
        short = (note._replace(duration=min(note.duration, heard.length - note.onset)) for note in heard.notes)
        ended = tidy(short, heard.tempi)
        return joined(self.given, ended) if self.given else ended

    def heard(self, made: Score) -> Score:
        """The bars that a composer made, in the key asked for, with the ensemble."""
        return orchestrated(at_key(made, self.key), self.request.ensemble)


def point(word: str | None, valence: float | None, arousal: float | None) -> Mood:
    """A mood that is given as a word or as two numbers, not both; InvalidInput otherwise."""
    if (word is not None) == (valence is not None or arousal is not None):
        raise InvalidInput("give the mood in one way: as an emotion, or as valence and arousal")
    if word is not None:
        return emotion(word)
    if valence is None or arousal is None:
        raise InvalidInput("valence and arousal belong together: give both, each -1 to 1")
    return Mood(valence, arousal)


def _points(music: MusicRequest) -> tuple[tuple[float, Mood], ...]:
    ways = [music.emotion is not None, music.valence is not None or music.arousal is not None, bool(music.path)]
    if sum(ways) != 1:
        raise InvalidInput("give the mood in one way: as an emotion, as valence and arousal, or as a path")
    if not music.path:
        return ((0.0, point(music.emotion, music.valence, music.arousal)),)
    points = tuple((point.at, Mood(point.valence, point.arousal)) for point in music.path)
    if any(one[0] >= other[0] for one, other in pairwise(points)):
        raise InvalidInput("the points of a path rise: give each a later `at` than the one before, 0 to 1")
    return points


def trimmed(bars: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """Bars of tokens cut to at most so many tokens at a whole note: what is too dense to read."""
    return [list(bar) if len(bar) <= most else _whole(bar, most) for bar in bars]


def _whole(bar: Sequence[int], most: int) -> list[int]:
    kept = list(bar[:most])
    while kept and v.meaning(kept[-1])[0] not in (v.Kind.DURATION, v.Kind.TEMPO):
        kept.pop()
    return kept
