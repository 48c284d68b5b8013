"""What the rows of the table are made of: data, recipes, cache, and the predictions of every system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moodmesh.tasks.emotion.text import CARDS, baselines, calibration, data, predictions, train_tiny
from moodmesh.tasks.emotion.text import statistics as stats
from moodmesh.tasks.emotion.text.predictions import Cache, Floats, Predicted
from moodmesh.tasks.emotion.text.recipe import Recipe, load_recipe
from moodmesh.tasks.emotion.text.runner import SCORERS, Scorer
from moodmesh.tasks.tables import PredictionMissing, Table

TABLE = "emotion.text"
BASELINE = "ridge"
QUICK_DRAWS = 200


@dataclass(frozen=True)
class Bench:
    """What every row is measured on: the open part of EmoBank, the recipes, the cache; `missing` collects absent rows."""

    rows: list[data.Rated]
    files: list[Path]
    tiny: train_tiny.TinyRecipe
    base: Recipe
    cache: Cache
    quick: bool = False
    partial: bool = False
    missing: list[str] = field(default_factory=list)

    @property
    def draws(self) -> int:
        """Bootstrap draws."""
        return QUICK_DRAWS if self.quick else stats.DRAWS

    def said(self, **more: object) -> list[Table]:
        """What a table says of its data, `more` with it."""
        groups = len({row.document for row in self.rows})
        part = {"name": "emobank", "part": "open (official train and dev)", **more}
        return [part | {"rows": len(self.rows), "groups": groups, "licence_class": "F"}]

    @property
    def parts(self) -> dict[str, list[data.Split]]:
        """Dev, and unless quick the folds of the document-grouped cross-validation."""
        dev = {"dev": [data.dev_split(self.rows)]}
        return dev if self.quick else dev | {"cv": data.document_folds(self.rows)}

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Inside, an uncached prediction is noted when the table may be partial, and raised otherwise."""
        try:
            yield
        except PredictionMissing as error:
            if not self.partial:
                raise
            self.missing.append(str(error))


@dataclass(frozen=True)
class Entry:
    """One system on one part: a prediction a seed, for the same held rows."""

    system: str
    variant: str
    part: str
    runs: tuple[Predicted, ...]
    held: tuple[data.Rated, ...]

    @property
    def truth(self) -> Floats:
        """Ratings of the held rows."""
        return baselines.vad(self.held)

    @property
    def sums(self) -> list[Floats]:
        """Sums per document, a seed each."""
        documents = [row.document for row in self.held]
        return [stats.group_sums(run.mean, self.truth, documents) for run in self.runs]

    @property
    def documents(self) -> int:
        """How many documents the held rows come from."""
        return len({row.document for row in self.held})


def open_bench(root: Path, configs: Path, out: Path, *, quick: bool = False, partial: bool = False) -> Bench:
    """Read data and recipes; DataMissing when there is no data."""
    files = data.training_files(root)
    cache = Cache(out / "predictions" / TABLE, predictions.data_hash(files))
    tiny = train_tiny.load_recipe(configs / "emotion-text-tiny.toml")
    base = load_recipe(configs / "emotion-text-base.toml")
    return Bench(data.emobank(root), files, tiny, base, cache, quick, partial)


def entries(bench: Bench) -> list[Entry]:
    """Every row of the table; the shipped files are run here, all else comes from the cache."""
    found: list[Entry] = []
    for part, splits in bench.parts.items():
        held = tuple(row for split in splits for row in split.held)

        def add(system: str, variant: str, runs: Iterable[Iterable[Predicted]]) -> None:
            with bench.noted():
                found.append(Entry(system, variant, part, tuple(joined(run) for run in runs), held))  # noqa: B023

        add("mean", "training mean", [[baselines.mean(split) for split in splits]])
        add("length", "characters only", [[baselines.length_only(split) for split in splits]])
        add(BASELINE, "TF-IDF", [(bench.cache.load(BASELINE, baselines.RIDGE_SHA256, split) for split in splits)])
        add("tiny", "fp64", [(bench.cache.load("tiny", bench.tiny.sha256, split) for split in splits)])
        seeds = bench.base.dev_seeds[: 1 if bench.quick else None] if part == "dev" else (0,)
        add("base", "fp32, single runs", [_base_runs(bench, splits, f"s{seed}") for seed in seeds])
        if part == "dev":
            add("base", "fp32, averaged", [_base_runs(bench, splits, "averaged")])
            for name in shipped():
                add(name, "int8, shipped", [[scored(scorer_of(name), splits[0].held)]])
    return found


def _base_runs(bench: Bench, splits: Sequence[data.Split], run: str) -> Iterator[Predicted]:
    for split in splits:
        found = bench.cache.load(f"base-{run}", bench.base.sha256, split)
        yield Predicted(found.mean, found.sd * widening(bench, split.name))


def widening(bench: Bench, but: str = "") -> Floats:
    """The factor on base's sd that holds for documents left out: from the folds (less fold `but`), official train rows alone.

    1 while the cross-validation is not cached.
    """
    folds = [split for split in data.document_folds(bench.rows) if split.name != but]
    try:
        runs = joined(bench.cache.load("base-s0", bench.base.sha256, split) for split in folds)
    except PredictionMissing as error:
        bench.missing.append(f"calibration of base for new documents ({error})")
        return np.ones(3)
    held = [row for split in folds for row in split.held]
    train = np.array([row.part == "train" for row in held])
    return calibration.widening(runs.mean[train], runs.sd[train], baselines.vad(held)[train])


def joined(runs: Iterable[Predicted]) -> Predicted:
    """Predictions of several splits, one after the other."""
    found = list(runs)
    return Predicted(np.vstack([run.mean for run in found]), np.vstack([run.sd for run in found]))


def shipped() -> list[str]:
    """Variants whose weights lie in the package."""
    cards = {name: CARDS.get(f"emotion-text-{name}") for name in SCORERS}
    return [name for name, card in cards.items() if card and card.folder and (card.folder / card.file).exists()]


def scorer_of(variant: str) -> Scorer:
    """The model that ships as `variant`."""
    card = CARDS[f"emotion-text-{variant}"]
    assert card.folder is not None
    return SCORERS[variant](card.folder / card.file)


def scored(scorer: Scorer, rows: Sequence[data.Rated]) -> Predicted:
    """What a loaded model says of rows, one by one."""
    pairs = [scorer.score(row.text) for row in rows]
    mean, sd = (np.array([pair[n] for pair in pairs], np.float64) for n in (0, 1))
    return Predicted(mean, sd)
