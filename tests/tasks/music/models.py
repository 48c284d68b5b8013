"""A composer small enough to be made for a test: random weights, the real graphs."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from moodmesh.tasks.music.engine.steps import Steps
from moodmesh.tasks.music.model import graph
from moodmesh.tasks.music.model.conditioned import ByAttributes
from moodmesh.tasks.music.model.decoder import Size

SMALL = Size(layers=2, width=128, kv_heads=1)


@cache
def small() -> ByAttributes:
    """Random weights as a file holds them (fp16), large enough that its choices differ."""
    torch.manual_seed(5)
    model = ByAttributes(SMALL).eval()
    for value in model.parameters():
        value.data = (value.data * (4 if value.ndim == 2 else 1)).half().float()
    return model


def weights() -> dict[str, np.ndarray]:
    """Its weights by name."""
    return {name: value.numpy() for name, value in small().state_dict().items()}


@cache
def graphs(int8: bool) -> tuple[bytes, bytes]:
    """Its step and tell."""
    return graph.step(weights(), SMALL, int8), graph.tell(weights(), SMALL)


def steps(int8: bool = False) -> Steps:
    """Loaded."""
    return Steps(*graphs(int8))
