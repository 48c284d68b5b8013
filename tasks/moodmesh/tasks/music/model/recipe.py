"""A training recipe of a composer: one TOML file in configs/training says all that decides it (systems S17)."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from moodmesh.tasks.music.model.gmvae import Weights

Kind = Literal["unconditional", "attributes", "gmvae"]


@dataclass(frozen=True)
class Recipe:
    """`tokens` to see in all, in windows of `length`, `batch` at a step. Schedules are shares of the run.

    For the first `short` of the run windows are half as long and twice as many, which is faster. The rate rises over `warm_up`,
    stays, and falls to zero over the last `decay` of the run. `muon`: whether the matrices of the layers are trained by Muon
    (Jordan 2024) at `muon_rate`; the rest by AdamW at `rate`. Of a GMVAE, `labels` is the share of the labelled songs whose
    labels are used, `scrambled` gives them to other songs by chance, every `labelled_every`-th batch is of songs that have one,
    `token_drop` is the share of the tokens that its decoder does not see, and `weights` are those of its terms. A step works
    through its batch in `accumulate` parts, where memory is short. `start` is the SHA-256 of the weights whose decoder it
    begins with, if it does: the file is given with the command.
    """

    name: str
    kind: Kind
    size: str
    sets: tuple[str, ...]
    tokens: int
    seed: int = 0
    length: int = 1024
    batch: int = 4
    rate: float = 1e-3
    muon: bool = False
    muon_rate: float = 0.02
    warm_up: float = 0.02
    decay: float = 0.4
    weight_decay: float = 0.1
    clip: float = 1.0
    dropout: float = 0.0
    token_drop: float = 0.0
    accumulate: int = 1
    short: float = 0.0
    vary: bool = True
    labels: float = 1.0
    scrambled: bool = False
    start: str = ""
    labelled_every: int = 4
    weights: Weights = field(default_factory=Weights)

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        return max(1, self.tokens // (self.batch * self.length))

    @property
    def sha256(self) -> str:
        """Names what the recipe makes: a hash over every value that is not the usual one."""
        usual = {one.name: one.default for one in fields(self)} | {"weights": asdict(Weights())}
        told = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def halved(self, step: int) -> bool:
        """Whether the windows of a step are half as long and twice as many."""
        return step < self.short * self.steps

    def first(self, step: int) -> int:
        """The number of the first window of a step: none is drawn twice."""
        return self.batch * (step + min(step, math.ceil(self.short * self.steps)))

    def warm(self, step: int) -> float:
        """The share of beta of a step: none for a fifth of the run, then in four rounds, each rising for its first half."""
        done = step / self.steps
        return 0.0 if done < 0.2 else min(1.0, (done - 0.2) / 0.2 % 1 * 2)

    def share(self, step: int) -> float:
        """The rate of a step as a share of the highest: a trapezium."""
        done = step / self.steps
        return min(1.0, (done + 1 / self.steps) / self.warm_up, max(0.0, (1 - done) / self.decay))


def load_recipe(file: Path, changed: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, lines of TOML like `seed = 1` in place of its own; ValueError names a value that no recipe has."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8")) | tomllib.loads("\n".join(changed))
        return Recipe(**{**values, "sets": tuple(values["sets"]), "weights": Weights(**values.get("weights", {}))})
    except TypeError as wrong:
        raise ValueError(f"{file}: {wrong}") from None
