"""Fills the cache of predictions: `moodmesh results emotion.text --retrain`. Everything resumes; what exists is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from moodmesh.tasks.emotion.text import baselines, data
from moodmesh.tasks.emotion.text.bench import BASELINE, Bench
from moodmesh.tasks.emotion.text.predictions import Cache, Predicted


def retrain(bench: Bench, root: Path, work: Path, note: Callable[[str], None]) -> None:
    """Fill the cache: linear systems first, then the encoder's queue, unit by unit."""
    retrain_linear(bench, note)
    retrain_base(bench, root, work, note)


def retrain_linear(bench: Bench, note: Callable[[str], None]) -> None:
    """Ridge, tiny and the controls: minutes."""
    dev, folds = data.dev_split(bench.rows), data.document_folds(bench.rows)
    for split in [dev, *folds]:
        _fill(bench.cache, BASELINE, baselines.RIDGE_SHA256, split, baselines.ridge, note)
        _fill(bench.cache, "tiny", bench.tiny.sha256, split, partial(baselines.tiny, bench.tiny), note)
    for split in folds:
        _fill(bench.cache, "canary", bench.tiny.sha256, split, partial(baselines.canary, bench.tiny), note)
    for seed in range(baselines.SHUFFLES):
        made = partial(baselines.shuffled, bench.tiny, seed=seed)
        _fill(bench.cache, f"shuffle-s{seed}", bench.tiny.sha256, dev, made, note)


def _fill(
    cache: Cache,
    system: str,
    recipe_sha256: str,
    split: data.Split,
    make: Callable[[data.Split], Predicted],
    note: Callable[[str], None],
) -> None:
    if not cache.file(system, recipe_sha256, split).exists():
        note(f"{system} on {split.name}")
        cache.save(system, recipe_sha256, split, make(split))


def retrain_base(bench: Bench, root: Path, work: Path, note: Callable[[str], None]) -> None:
    """The encoder's queue, then its predictions into the cache: hours."""
    from moodmesh.tasks.emotion.text import train

    encoder = train.Encoder.installed()
    runs = train.units(bench.base, bench.rows)
    if not all(bench.cache.file(f"base-s{seed}", bench.base.sha256, split).exists() for _, split, seed in runs):
        train.work(bench.base, root, encoder, work, note)
    collect(bench, work)


def collect(bench: Bench, work: Path) -> None:
    """Take the predictions of finished training runs into the cache."""
    from moodmesh.tasks.emotion.text import train

    models: list[Path] = []
    for name, split, seed in train.units(bench.base, bench.rows):
        folder = train.unit_folder(bench.base, work, name)
        if not (folder / "model.safetensors").exists():
            continue
        if split.name == "dev":
            models.append(folder / "model.safetensors")
        with np.load(folder / "held.npz") as held:
            bench.cache.save(f"base-s{seed}", bench.base.sha256, split, Predicted(held["mean"], held["sd"]))
    if len(models) == len(bench.base.dev_seeds):
        dev = data.dev_split(bench.rows)
        model, scale = train.averaged(models, bench.base.encoder)
        made = train.held_predictions(model, scale, dev, train.Encoder.installed(), bench.base.max_tokens)
        bench.cache.save("base-averaged", bench.base.sha256, dev, made)
