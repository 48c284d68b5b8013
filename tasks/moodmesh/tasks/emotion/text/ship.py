"""Puts trained base models into the package: averaged, quantised, gated, with a card (systems S30, design §6).

    python -m moodmesh.tasks.emotion.text.ship --data DIR

Refuses when int8 differs from fp32 on EmoBank dev by more than the interval of fp32.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from moodmesh.tasks.emotion.text import CARDS, baselines, data, train
from moodmesh.tasks.emotion.text import statistics as stats
from moodmesh.tasks.emotion.text.bench import Bench, open_bench, scored, widening
from moodmesh.tasks.emotion.text.export import load, save_fp32, save_int8
from moodmesh.tasks.emotion.text.predictions import Floats, Predicted
from moodmesh.tasks.emotion.text.retrain import collect
from moodmesh.tasks.emotion.text.runner import Base
from moodmesh.tasks.models import Card, save_cards
from moodmesh.tasks.tables import PredictionMissing

NAME = "emotion-text-base"
MEASURE = "Pearson r of valence, arousal, dominance on EmoBank dev"
HERE = Path(__file__).parent


class GateFailed(Exception):
    """The quantised model is worse than the fp32 interval allows; it must not ship."""


def gate(small: Predicted, large: Predicted, held: tuple[data.Rated, ...]) -> Floats:
    """Pearson r of int8 per axis; GateFailed when one lies outside the 95 % interval of fp32."""
    documents, truth = [row.document for row in held], baselines.vad(held)
    r = stats.pearson(stats.group_sums(small.mean, truth, documents).sum(0))
    _, between = stats.measure(stats.pearson, stats.group_sums(large.mean, truth, documents))
    if np.any((r < between[:, 0]) | (r > between[:, 1])):
        raise GateFailed(f"int8 r {r.round(3).tolist()} outside the fp32 intervals {between.round(3).tolist()}")
    return r


def build(bench: Bench, work: Path, encoder: train.Encoder, file: Path) -> Floats:
    """Write the int8 file from the recipe's dev runs, its sd widened for new documents; its Pearson r on dev."""
    recipe, dev = bench.base, data.dev_split(bench.rows)
    models = [train.unit_folder(recipe, work, f"dev-s{seed}") / "model.safetensors" for seed in recipe.dev_seeds]
    wide = widening(bench)
    if bench.missing:
        raise PredictionMissing(bench.missing[0])
    with tempfile.TemporaryDirectory() as folder:
        fp32 = Path(folder) / "fp32.onnx"
        save_fp32(load(models, recipe.encoder, wide.tolist()), encoder.tokenizer, fp32)
        save_int8(fp32, file)
    large = bench.cache.load("base-averaged", recipe.sha256, dev)
    return gate(scored(Base(file), dev.held), large, dev.held)


def card_of(file: Path, r: Floats) -> Card:
    """The card of the base model."""
    figures = "/".join(f"{value:.3f}".removeprefix("0") for value in r)
    return Card.of(
        file,
        licence="CC-BY-SA-4.0",
        data=(
            "EmoBank 1.0, train (Buechel and Hahn 2017), CC BY-SA 4.0",
            "GoEmotions, train (Demszky et al. 2020), Apache-2.0",
            "poem sentiment, train (Sheng and Uthus 2020), CC BY 4.0",
            "encoder all-MiniLM-L6-v2, Apache-2.0",
        ),
        quality=f"Pearson r V/A/D {figures} on EmoBank dev (1,000 sentences); tables in docs/results/emotion.text.md",
        training="moodmesh results emotion.text --retrain --data DIR, then "
        "python -m moodmesh.tasks.emotion.text.ship --data DIR",
        measure=MEASURE,
        figures=tuple(round(float(value), 3) for value in r),
    )


def main() -> None:
    """Build the file in `weights` and its card in `models.toml` from finished runs and their cached predictions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--work", type=Path, default=Path(".cache/training/emotion-text-base"))
    parser.add_argument("--configs", type=Path, default=Path("configs/training"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    bench = open_bench(data.data_dir(args.data), args.configs, args.results)
    collect(bench, args.work)
    file = HERE / "weights" / f"{NAME}.onnx"
    new = file.with_suffix(".new")
    r = build(bench, args.work, train.Encoder.installed(), new)
    new.replace(file)
    save_cards(CARDS | {NAME: card_of(file, r)}, HERE / "models.toml")
    print(f"{file.name}: {file.stat().st_size} bytes, r V/A/D {r.round(4).tolist()}")


if __name__ == "__main__":
    main()
