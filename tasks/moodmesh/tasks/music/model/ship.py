"""Puts a trained composer into the package: the int8 graphs that nodes play, the fp16 weights they were made from, a card.

    python -m moodmesh.tasks.music.model.ship configs/training/music-attributes-tiny.toml --run DIR --data DIR --cache DIR

Refuses when int8 is more than GATE nats a token worse than fp32 on dev (systems S30).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from moodmesh.tasks.music.model import graph
from moodmesh.tasks.music.model.conditioned import ByAttributes
from moodmesh.tasks.music.model.decoder import SIZES

GATE = 0.02


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
