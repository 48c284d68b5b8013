"""Trains the judges on the judges' half of EMOPIA and puts them into the package with their cards (systems S30, design §6).

python -m moodmesh.tasks.music.judge.ship --data DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from moodmesh.tasks.models import Card, save_cards
from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.corpus.sets import data_dir
from moodmesh.tasks.music.judge import export, fit, measures
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.labelled import Labelled, labelled
from moodmesh.tasks.music.judge.runner import FIGURES

HERE = Path(__file__).parent
MEASURE = "accuracy of four quadrants, arousal, valence: song-grouped CV in the judges' half of EMOPIA"
WAYS: Mapping[str, fit.Candidate] = {"tiny": fit.FLOOR, "base": fit.BOTH}
"""How each variant is made from its figures."""
SHUFFLES = 5


def judges_half(root: Path, cache: Path, configs: Path) -> Labelled:
    """The clips of EMOPIA that belong to judges alone."""
    roles = split.load(configs)["emopia"]
    return labelled(root, "emopia", cache).of(lambda group: roles[group] == "judge")


def accuracies(variant: str, rows: Labelled) -> Floats:
    """[3] quadrant, arousal, valence: the mean over shuffles of the cross-validation."""
    x = rows.vectors(FIGURES[variant])
    runs = [fit.out_of_fold(WAYS[variant], x, rows.high, rows.groups, seed) for seed in range(SHUFFLES)]
    return measures.mean_right(runs, rows.high)


def card_of(file: Path, right: Floats, clips: int) -> Card:
    """The card of a shipped judge."""
    figures = tuple(round(float(value), 3) for value in right)
    shown = "/".join(f"{value:.3f}".removeprefix("0") for value in figures)
    return Card.of(
        file,
        licence="CC-BY-NC-SA-4.0",
        data=(f"EMOPIA 1.0 (Hung et al. 2021), the judges' half by song ({clips} clips), CC BY-NC-SA 4.0: non-commercial",),
        quality=f"accuracy 4Q/A/V {shown}, song-grouped CV in that half; tables in docs/results/music.judge.md",
        training="python -m moodmesh.tasks.music.judge.ship --data DIR",
        measure=MEASURE,
        figures=figures,
    )


def main() -> None:
    """Write the files of both variants into `weights`, and their cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--cache", type=Path, default=Path(".cache/music"))
    parser.add_argument("--configs", type=Path, default=Path("configs"))
    args = parser.parse_args()
    rows = judges_half(data_dir(args.data), args.cache, args.configs)
    cards = {}
    for variant, way in WAYS.items():
        file = HERE / "weights" / f"music-judge-{variant}.onnx"
        export.save(way.fit(rows.vectors(FIGURES[variant]), rows.high), file)
        card = card_of(file, accuracies(variant, rows), len(rows.names))
        cards[card.name] = card
        print(f"{file.name}: {card.bytes} bytes, {card.quality}")
    save_cards(cards, HERE / "models.toml")


if __name__ == "__main__":
    main()
