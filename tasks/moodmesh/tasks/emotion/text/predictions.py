"""Cached predictions: one small npz a system and split, keyed by recipe, data and split (evaluation §9)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.emotion.text import data
from moodmesh.tasks.tables import PredictionMissing, file_hash

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predicted:
    """V, A, D [n, 3] and their sd (NaN where a system has none) for the held rows of a split, in order."""

    mean: Floats
    sd: Floats


def data_hash(files: Sequence[Path]) -> str:
    """SHA-256 over the bytes of data files, in the given order."""
    return hashlib.sha256(b"".join(file_hash(file).encode() for file in files)).hexdigest()


@dataclass(frozen=True)
class Cache:
    """A folder of predictions for one state of the data."""

    folder: Path
    data_sha256: str

    def file(self, system: str, recipe_sha256: str, split: data.Split) -> Path:
        """Where the predictions of `system` for the held rows of `split` lie."""
        key = hashlib.sha256(f"{recipe_sha256} {self.data_sha256} {split.sha256}".encode()).hexdigest()
        return self.folder / f"{system}-{split.name}-{key[:12]}.npz"

    def load(self, system: str, recipe_sha256: str, split: data.Split) -> Predicted:
        """Read cached predictions; PredictionMissing names the command to run."""
        file = self.file(system, recipe_sha256, split)
        if not file.exists():
            raise PredictionMissing(
                f"no cached predictions {file.name}: run `moodmesh results emotion.text --retrain` "
                "(minutes for the linear rows, hours for the encoder; it resumes where it was stopped)"
            )
        with np.load(file) as found:
            return Predicted(found["mean"].astype(np.float64), found["sd"].astype(np.float64))

    def save(self, system: str, recipe_sha256: str, split: data.Split, predicted: Predicted) -> None:
        """Keep predictions in half precision (steps of at most 0.0005 on -1 to 1)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.file(system, recipe_sha256, split)
        new = file.with_suffix(".new.npz")
        np.savez_compressed(new, mean=predicted.mean.astype(np.float16), sd=predicted.sd.astype(np.float16))
        new.replace(file)
