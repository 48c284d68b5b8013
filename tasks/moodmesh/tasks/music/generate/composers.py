"""Who writes the bars: the rules, or a trained composer (systems S19). Each goes on after the bars that are made already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from moodmesh.tasks.music.engine.playing import MAX_BAR, Ask, Bar, Player
from moodmesh.tasks.music.engine.sampling import Taste
from moodmesh.tasks.music.engine.steps import Steps
from moodmesh.tasks.music.generate.asked import Asked, trimmed
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.tokens import bars
from moodmesh.tasks.music.rules.attributes import Attributes, described
from moodmesh.tasks.music.rules.compose import compose


class Composer(Protocol):
    """Makes a piece bar by bar, in C major or A minor, for the piano."""

    def bars(self, asked: Asked, made: Sequence[Bar], check: Callable[[], None]) -> Iterator[Bar]:
        """The tokens of each bar after those `made`; the same for the same request and seed. `check` may raise."""


class Rules:
    """The rule composer: each phrase is taken from the piece that it would write in that mood throughout."""

    def bars(self, asked: Asked, made: Sequence[Bar], check: Callable[[], None]) -> Iterator[Bar]:
        """As the protocol says; a given piece is not read."""
        whole: dict[Attributes, list[Bar]] = {}
        for first, last, shown in asked.phrases:
            for number in range(max(first, len(made)), last):
                check()
                if shown not in whole:
                    whole[shown] = bars(compose(shown, asked.request.bars, asked.seed))
                tokens = list(whole[shown][number])
                yield [tokens[0], v.tempo(asked.tempo(number)), *tokens[2:]]


class Trained:
    """A trained composer that is told what is to be heard."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def bars(self, asked: Asked, made: Sequence[Bar], check: Callable[[], None]) -> Iterator[Bar]:
        """As the protocol says; the last bars of a given piece are read first."""
        plan = [
            Ask(tuple(described(shown, last - first, last == asked.request.bars)), asked.tempo(number))
            for first, last, shown in asked.phrases
            for number in range(first, last)
        ]
        before = trimmed(bars(asked.before), MAX_BAR) if asked.before else []
        player = Player(self._steps, plan, asked.seed, Taste(asked.request.temperature), before)
        return player.bars(made, check)
