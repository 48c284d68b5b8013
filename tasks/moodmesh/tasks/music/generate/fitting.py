"""Fits what chooses among takes to the free sets, and puts it into the package with its card (systems S19).

python -m moodmesh.tasks.music.generate.fitting --data DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

from moodmesh.tasks.models import Card, load_cards, save_cards
from moodmesh.tasks.music.corpus.sets import data_dir
from moodmesh.tasks.music.generate.novelty import Filter
from moodmesh.tasks.music.generate.selector import BARS, save
from moodmesh.tasks.music.judge import gates, negatives

HERE = Path(__file__).parent
NAME = "music-selector"


def fit(root: Path, cache: Path, configs: Path, file: Path) -> None:
    """Write the gate and the filter, of pieces that composers learn from (dev: the bands of the gate)."""
    train, dev = (gates.pieces(root, cache, configs, (role,), gates.FREE) for role in ("train", "dev"))
    pieces = [one for found in train.values() for one in found]
    save(gates.selector(train, dev, BARS, negatives.reference(pieces)), Filter.of(one.score for one in pieces), file)


def card_of(file: Path) -> Card:
    """The card of the file."""
    return Card.of(
        file,
        licence="CC-BY-4.0",
        data=("POP909, JSB chorales and GiantMIDI-Piano as prepared, roles train and dev; no labels",),
        quality="what it brings: docs/results/generation.md",
        training="python -m moodmesh.tasks.music.generate.fitting --data DIR",
    )


def main() -> None:
    """Write the file into `weights`, and its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--cache", type=Path, default=Path(".cache/music"))
    parser.add_argument("--configs", type=Path, default=Path("configs"))
    args = parser.parse_args()
    file = HERE / "weights" / f"{NAME}.npz"
    file.parent.mkdir(exist_ok=True)
    fit(data_dir(args.data), args.cache, args.configs, file)
    card = card_of(file)
    save_cards({**load_cards(HERE / "models.toml"), NAME: card}, HERE / "models.toml")
    print(f"{file.name}: {card.bytes} bytes")


if __name__ == "__main__":
    main()
