"""From bars to blocks of sound, one after another, so that a piece can be heard while it is still being made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from moodmesh.tasks.music.notation.score import Score, excerpt
from moodmesh.tasks.music.sound.room import Room
from moodmesh.tasks.music.sound.synth import Synth
from moodmesh.tasks.music.sound.timeline import Block, Event, Timeline, silence


class Engine(Protocol):
    """What makes dry sound of events: the built-in synthesiser, or a SoundFont."""

    @property
    def name(self) -> str:
        """What a user is told of where the sound comes from."""

    def sound(self, events: Sequence[Event], until: int) -> Block:
        """From where the last call ended to sample `until`; all events, in order, lie between."""

    def finish(self) -> Block:
        """What rings on after all keys went up."""


class Renderer:
    """Takes scores one after another, a bar or more each, and gives their sound; tails sound on into the next.

    Scores of single bars and of the whole piece give the same samples. One renderer plays one piece.
    """

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine or Synth()
        self._timeline = Timeline()
        self._room = Room()

    def push(self, score: Score) -> Block:
        """The sound of the next bars, as long as they are."""
        # bar by bar, since an engine may round where its blocks end
        return np.concatenate([silence(0), *(self._bar(excerpt(score, bar, bar + 1)) for bar in range(score.bars))])

    def _bar(self, score: Score) -> Block:
        return self._room.push(self._engine.sound(self._timeline.push(score), self._timeline.now))

    def finish(self) -> Block:
        """What still sounds when the last bar is over; nothing after no bars at all."""
        if not self._timeline.now:
            return silence(0)
        events = self._timeline.finish()
        ended = self._engine.sound(events, max((event.at for event in events), default=self._timeline.now))
        return np.concatenate([self._room.push(np.concatenate([ended, self._engine.finish()])), self._room.finish()])


def rendered(scores: Iterable[Score], engine: Engine | None = None) -> Iterator[Block]:
    """The sound of scores that follow each other, a block a bar and one for what rings on; 44.1 kHz, its level not set yet."""
    renderer = Renderer(engine)
    for score in scores:
        for bar in range(score.bars):
            yield renderer.push(excerpt(score, bar, bar + 1))
    yield renderer.finish()
