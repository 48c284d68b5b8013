"""The composers that are compared: where a training run leaves its weights, and which row each fills (systems S17-S19)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from moodmesh.tasks.music.model.train import WEIGHTS

Kind = Literal["attributes", "unconditional", "gmvae"]


@dataclass(frozen=True)
class Planned:
    """A row that needs weights: its name, the folder of its run, what it is, its size, the share of labels it learned with
    (scrambled ones tell nothing: 0)."""

    row: str
    folder: str
    kind: Kind
    size: str
    labels: float = 1.0

    @property
    def fraction(self) -> bool:
        """Whether it learned with some of the labels: such runs are points of a curve, and are not played to probe them."""
        return 0 < self.labels < 1


def _gmvae(said: str = "", named: str = "", seeds: int = 1, labels: float = 1.0) -> list[Planned]:
    rows = [("", ""), *((f", seed {seed}", f"-{seed}") for seed in range(1, seeds))]
    return [Planned(f"GMVAE tiny{said}{more}", f"gmvae-tiny{named}{end}", "gmvae", "tiny", labels) for more, end in rows]


PLANNED = (
    Planned("attribute model tiny", "attributes-tiny", "attributes", "tiny"),
    Planned("attribute model base", "attributes-base", "attributes", "base"),
    Planned("unconditional tiny", "unconditional-tiny", "unconditional", "tiny"),
    *_gmvae(seeds=3),
    *_gmvae(", labels scrambled", "-scrambled", seeds=3, labels=0.0),
    *_gmvae(", labels of 25 %", "-labels-25", labels=0.25),
    *_gmvae(", labels of 10 %", "-labels-10", labels=0.1),
    *_gmvae(", labels of 5 %", "-labels-5", labels=0.05),
)


@dataclass(frozen=True)
class Trained(Planned):
    """One whose weights are there."""

    file: Path = Path()

    @cached_property
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """By name, in fp32."""
        return {name: value.astype(np.float32) for name, value in load_file(self.file).items()}

    @cached_property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()


def found(folder: Path) -> tuple[list[Trained], list[Planned]]:
    """Those with weights in a folder of runs, and those without."""
    there = [one for one in PLANNED if (folder / one.folder / WEIGHTS).exists()]
    made = [Trained(**vars(one), file=folder / one.folder / WEIGHTS) for one in there]
    return made, [one for one in PLANNED if one not in there]
