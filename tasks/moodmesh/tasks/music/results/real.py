"""The real music of the table by role, read once, and what is fitted to it: reference model, judges, gate (evaluation §5)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.corpus.cache import passages
from moodmesh.tasks.music.corpus.prepare import Passage
from moodmesh.tasks.music.corpus.split import Role
from moodmesh.tasks.music.judge import CARDS, gates, negatives
from moodmesh.tasks.music.judge.gate import Gate, Nll
from moodmesh.tasks.music.judge.gatebench import second_judge
from moodmesh.tasks.music.judge.labelled import labelled
from moodmesh.tasks.music.judge.markov import Markov
from moodmesh.tasks.music.judge.runner import Judge
from moodmesh.tasks.music.judge.ship import HERE, WAYS

JUDGES = (*WAYS, "second")
"""`second` learned from VGMIDI, the others from the judges' half of EMOPIA."""


@dataclass(frozen=True)
class Real:
    """Where the data, the prepared pieces and the split are."""

    root: Path
    cache: Path
    configs: Path

    @cached_property
    def _held(self) -> dict[str, list[tuple[Role, Passage]]]:
        roles = split.load(self.configs)
        return {name: [(roles[name][one.group], one) for one in passages(self.root, name, self.cache)] for name in gates.SETS}

    def pieces(self, *roles: Role, sets: tuple[str, ...] = gates.SETS) -> gates.Pieces:
        """What has one of the roles, by set."""
        return {name: [one for role, one in self._held[name] if role in roles] for name in sets}

    @cached_property
    def markov(self) -> Markov:
        """Order 3, of all that any composer learns from."""
        return negatives.reference([one for found in self.pieces("train").values() for one in found])

    def gate(self, bars: int, nll: Nll | None = None, without: str = "") -> Gate:
        """The musicality gate of the evaluation, for pieces of so many bars; one that never met a kind of `negatives`."""
        return gates.evaluation(self.pieces("judge", "held"), bars, self.markov, nll, without)

    def unseen(self, bars: int, nll: Nll | None = None) -> Iterator[tuple[Gate, list[gates.Excerpt]]]:
        """Gates like it, each with real excerpts of which it saw no group."""
        return gates.unseen(self.pieces("judge", "held"), bars, self.markov, nll)

    @cached_property
    def judges(self) -> dict[str, Judge]:
        """By JUDGES; the second is fitted anew, since its set allows research only."""
        found = {name: Judge(HERE / "weights" / CARDS[f"music-judge-{name}"].file, name) for name in WAYS}
        with tempfile.TemporaryDirectory() as folder:
            found["second"] = second_judge(labelled(self.root, "vgmidi", self.cache), Path(folder))
        return found
