"""What the results are made from: out-of-fold predictions and verdicts of the gate, kept on disk (evaluation §9)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.judge import fit
from moodmesh.tasks.music.judge.gatebench import gated
from moodmesh.tasks.music.judge.heard import Floats, Ints
from moodmesh.tasks.music.judge.labelled import Labelled, labelled, labels, published
from moodmesh.tasks.music.judge.runner import FIGURES
from moodmesh.tasks.music.judge.ship import SHUFFLES, WAYS
from moodmesh.tasks.tables import PredictionMissing

_RULES = 1
"""Raised whenever figures, ways or gates change: older predictions are made anew."""
Arrays = dict[str, NDArray[np.float16]]


@dataclass(frozen=True)
class Bench:
    """Where data, prepared pieces and predictions lie."""

    root: Path
    configs: Path
    cache: Path
    kept: Path

    @property
    def files(self) -> list[Path]:
        """The published files that everything is made from."""
        return [self.root / "music" / name / "index.csv" for name in ("emopia", "vgmidi", "pop909", "giantmidi")]

    def file(self, part: str) -> Path:
        """Where the predictions of a part lie: by recipe, data and split."""
        digest = hashlib.sha256(str(_RULES).encode())
        for path in self.files:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        digest.update(split.sha256(split.load(self.configs)).encode())
        return self.kept / f"music.judge-{part}-{digest.hexdigest()[:12]}.npz"

    def load(self, part: str) -> Arrays:
        """What `save` kept; PredictionMissing otherwise."""
        file = self.file(part)
        if not file.exists():
            raise PredictionMissing(
                f"no cached predictions {file.name}: run `moodmesh results music.judge --retrain` (some 10 minutes)"
            )
        with np.load(file) as held:
            return dict(held)

    def fill(self, part: str, make: Callable[[], dict[str, Floats]]) -> None:
        """Make the predictions of a part unless they are there."""
        file = self.file(part)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            new = file.with_suffix(".new.npz")
            arrays: Arrays = {name: values.astype(np.float16) for name, values in make().items()}
            np.savez_compressed(new, allow_pickle=False, **arrays)
            new.replace(file)

    def half(self, rows: Labelled) -> Labelled:
        """The judges' half of EMOPIA."""
        roles = split.load(self.configs)["emopia"]
        return rows.of(lambda group: roles[group] == "judge")

    def labels(self) -> dict[str, Labelled]:
        """The labels of each part, without scores."""
        emopia = labels(self.root, "emopia")
        roles = split.load(self.configs)["emopia"]
        kept = [row for row, group in enumerate(emopia.groups) if roles[group] == "judge"]
        half = Labelled(
            tuple(emopia.names[row] for row in kept), tuple(emopia.groups[row] for row in kept), emopia.high[kept], ()
        )
        return {"emopia": emopia, "half": half, "vgmidi": labels(self.root, "vgmidi")}


def shuffled_labels(high: Ints, seed: int) -> Ints:
    """The labels in an order that means nothing."""
    return np.asarray(np.random.default_rng(100 + seed).permutation(high))


def retrain(bench: Bench, say: Callable[[str], None]) -> None:
    """Fill the cache, part by part."""
    emopia, vgmidi = (labelled(bench.root, name, bench.cache) for name in ("emopia", "vgmidi"))
    half = bench.half(emopia)
    for part, make in (
        ("emopia", lambda: _method(bench, emopia)),
        ("half", lambda: _shipped(half)),
        ("vgmidi", lambda: _shipped(vgmidi)),
        ("cross", lambda: _across(half, vgmidi)),
        ("gate", lambda: gated(bench.root, bench.cache, bench.configs, vgmidi)),
    ):
        say(f"{part} ...")
        bench.fill(part, make)


def _runs(way: fit.Candidate, x: Floats, rows: Labelled, high: Callable[[int], Ints] | None = None) -> Floats:
    """[shuffles, n, 2] out-of-fold predictions."""
    labelled_as = high or (lambda seed: rows.high)
    return np.array([fit.out_of_fold(way, x, labelled_as(seed), rows.groups, seed) for seed in range(SHUFFLES)])


def _method(bench: Bench, rows: Labelled) -> dict[str, Floats]:
    """Every way of judging on all clips of EMOPIA: it compares ways; the shipped judges learn from their half alone."""
    x, small = rows.vectors(FIGURES["base"]), rows.vectors(FIGURES["tiny"])
    length = np.array([[np.log(score.seconds)] for score in rows.scores])
    chance = np.random.default_rng(7).random((len(x), 1))
    by_clip = Labelled(rows.names, rows.names, rows.high, rows.scores)
    made = {name: _runs(way, x, rows) for name, way in fit.RICH.items()}
    return made | {
        "12 statistics, as published": _runs(fit.FLOOR, published(bench.root, rows.names), rows),
        "12 statistics": _runs(fit.FLOOR, small, rows),
        "rich, chosen inside each fold": np.array([_nested(x, rows, seed) for seed in range(SHUFFLES)]),
        "length only": _runs(fit.FLOOR, length, rows),
        "canary": _runs(fit.BOTH, np.hstack([x, chance]), rows),
        "labels shuffled": _runs(fit.BOTH, x, rows, lambda seed: shuffled_labels(rows.high, seed)),
        "leaky split, by clip": _runs(fit.BOTH, x, by_clip),
    }


def _nested(x: Floats, rows: Labelled, seed: int) -> Floats:
    """[n, 2] by the way that is best inside the training rows of each fold, trees aside."""
    made = np.zeros(rows.high.shape)
    for train, held in fit.folds(rows.groups, seed):
        groups = [rows.groups[row] for row in train]

        def inner(way: fit.Candidate, train: Ints = train, groups: list[str] = groups) -> float:
            found = fit.out_of_fold(way, x[train], rows.high[train], groups, seed)
            return float(((found > 0.5) == rows.high[train]).mean())

        best = max((way for name, way in fit.RICH.items() if name not in ("rich, trees", "rich, all three")), key=inner)
        made[held] = best.predict(x[train], rows.high[train], x[held])
    return made


def _shipped(rows: Labelled) -> dict[str, Floats]:
    return {variant: _runs(way, rows.vectors(FIGURES[variant]), rows) for variant, way in WAYS.items()}


def _across(half: Labelled, vgmidi: Labelled) -> dict[str, Floats]:
    made = {}
    for variant, way in WAYS.items():
        one, other = half.vectors(FIGURES[variant]), vgmidi.vectors(FIGURES[variant])
        made[f"{variant}, EMOPIA to VGMIDI"] = way.predict(one, half.high, other)[None]
        made[f"{variant}, VGMIDI to EMOPIA"] = way.predict(other, vgmidi.high, one)[None]
    return made
