"""Puts a trained composer into the package: the int8 graphs that nodes play, the fp16 weights they were made from, a card.

    python -m moodmesh.tasks.music.model.ship configs/training/music-attributes-tiny.toml --run DIR --data DIR

Refuses when int8 is more than INT8_MAY_LOSE nats a token worse than fp32 on dev (systems S30).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from moodmesh.tasks.models import Card, load_cards, save_cards
from moodmesh.tasks.music import generate
from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.corpus.sets import data_dir
from moodmesh.tasks.music.engine.steps import Steps, pack
from moodmesh.tasks.music.model import graph, likelihood
from moodmesh.tasks.music.model.conditioned import ByAttributes
from moodmesh.tasks.music.model.decoder import SIZES
from moodmesh.tasks.music.model.examples import Window
from moodmesh.tasks.music.model.recipe import Recipe, load_recipe
from moodmesh.tasks.music.model.train import WEIGHTS, material

CARDS = Path(generate.__file__).with_name("models.toml")
WINDOWS = 12
"""Of dev, on which int8 is compared with fp32."""
MEASURE = f"minus nats a token on {WINDOWS} windows of dev of the free sets, told the true attributes"
DATA = (
    "POP909, train (Wang et al. 2020), MIT",
    "GiantMIDI-Piano, train, the steadiest tenth (Kong et al. 2020), CC BY 4.0",
    "Bach chorales JSB16, train, public-domain music",
)
LICENCE = "CC-BY-4.0"


class GateFailed(Exception):
    """The quantised graphs are worse than they may be; they must not ship."""


def graphs(weights: Path, int8: bool) -> tuple[bytes, bytes]:
    """The step and tell graphs of an fp16 weight file."""
    held = {name: value.astype(np.float32) for name, value in load_file(weights).items()}
    size = SIZES[size_name(weights)]
    return graph.step(held, size, int8), graph.tell(held, size)


def composer(weights: Path) -> ByAttributes:
    """The model of an fp16 weight file."""
    model = ByAttributes(SIZES[size_name(weights)])
    model.load_state_dict({name: torch.from_numpy(value.astype(np.float32)) for name, value in load_file(weights).items()})
    return model


def size_name(weights: Path) -> str:
    """Which of SIZES a weight file has; ValueError for none of them."""
    width = load_file(weights)["decoder.embed.weight"].shape[1]
    for name, size in SIZES.items():
        if size.width == width:
            return name
    raise ValueError(f"{weights} holds a decoder of width {width}: none of {', '.join(SIZES)}")


def card_of(file: Path, recipe: Recipe, tokens: int, nats: float) -> Card:
    """The card of a packed composer."""
    return Card.of(
        file,
        licence=LICENCE,
        data=DATA,
        quality=f"{nats:.3f} nats a token on {WINDOWS} windows of dev as int8, {tokens / 1e6:.1f} M tokens seen; "
        "docs/results/generation.md",
        training=f"python -m moodmesh.tasks.music.model.train configs/training/{recipe.name}.toml, then model.ship",
        measure=MEASURE,
        figures=(round(-nats, 3),),
    )


def checked(weights: Path, packed: Path, windows: Sequence[Window]) -> float:
    """Nats a token of the packed graphs; GateFailed when fp32 is better by more than INT8_MAY_LOSE."""
    quantised = likelihood.per_token(windows, likelihood.by_steps(Steps.load(packed)))
    model = composer(weights).eval()
    whole = likelihood.per_token(windows, likelihood.by_torch(model))
    if quantised - whole > likelihood.INT8_MAY_LOSE:
        raise GateFailed(f"int8 has {quantised:.4f} nats a token, fp32 {whole:.4f}: more than {likelihood.INT8_MAY_LOSE} apart")
    return quantised


def main() -> None:
    """Build both files in `generate/weights`, and the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--run", type=Path, required=True, help="where the training run left its weights and log")
    parser.add_argument("--data")
    parser.add_argument("--cache", type=Path, default=Path(".cache/music"))
    parser.add_argument("--configs", type=Path, default=Path("configs"))
    args = parser.parse_args()
    recipe = load_recipe(args.recipe)
    name = recipe.name.replace("attributes-", "")
    new, folder = args.run / f"{name}.zip", CARDS.parent / "weights"
    folder.mkdir(exist_ok=True)
    pack(new, *graphs(args.run / WEIGHTS, int8=True))
    dev = material(recipe, data_dir(args.data), args.cache, split.load(args.configs)).dev
    nats = checked(args.run / WEIGHTS, new, [dev.draw(number, recipe.length) for number in range(WINDOWS)])
    seen = max(json.loads(line).get("tokens", 0) for line in (args.run / "log.jsonl").read_text().splitlines())
    shutil.copyfile(new, folder / new.name)
    shutil.copyfile(args.run / WEIGHTS, folder / f"{name}.safetensors")
    save_cards({**load_cards(CARDS), name: card_of(folder / new.name, recipe, seen, nats)}, CARDS)
    print(f"{new.name}: {(folder / new.name).stat().st_size} bytes, {nats:.4f} nats a token on dev")


if __name__ == "__main__":
    main()
