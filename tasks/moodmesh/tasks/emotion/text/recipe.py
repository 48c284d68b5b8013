"""A training recipe: one TOML file in `configs/training` says all that decides a model (systems, common rules)."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moodmesh.tasks.emotion.text.encoder import EncoderConfig


@dataclass(frozen=True)
class Stage:
    """One stage of fine-tuning: `rate` is the AdamW rate of the top layer, times `decay` for each layer below it."""

    epochs: int
    batch: int
    rate: float
    head_rate: float
    decay: float = 0.9
    warm_up: float = 0.06
    weight_decay: float = 0.01
    average: float = 0.99
    neutral_share: float = 1.0
    steps: int | None = None


@dataclass(frozen=True)
class Recipe:
    """`steps` in a stage cuts it short (the smoke version); `calibrate` is the share of training rows kept for the sd."""

    name: str
    stage1: Stage
    stage2: Stage
    dev_seeds: tuple[int, ...]
    folds: int
    max_tokens: int = 96
    calibrate: float = 0.05
    encoder: EncoderConfig = field(default_factory=EncoderConfig)

    @property
    def sha256(self) -> str:
        """Names what the recipe makes, whatever its seeds and folds: a hash over every value that decides a model."""
        values = asdict(self)
        return _hash({name: values[name] for name in ("stage1", "stage2", "max_tokens", "calibrate", "encoder")})

    @property
    def stage1_sha256(self) -> str:
        """Names what stage 1 makes."""
        values = asdict(self)
        return _hash({name: values[name] for name in ("stage1", "max_tokens", "encoder")})


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def load_recipe(file: Path) -> Recipe:
    """Read a recipe; TypeError names an unknown key."""
    values: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    stage1, stage2 = Stage(**values.pop("stage1")), Stage(**values.pop("stage2"))
    encoder = EncoderConfig(**values.pop("encoder", {}))
    seeds = tuple(values.pop("dev_seeds"))
    return Recipe(dev_seeds=seeds, encoder=encoder, stage1=stage1, stage2=stage2, **values)
