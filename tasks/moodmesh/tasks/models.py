"""Model cards and files: `models.toml` beside each family, files addressed by SHA-256 (design §6, systems S30)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """One file of weights: what it is, what it may be used for, how good it was measured to be."""

    name: str
    file: str
    sha256: str
    bytes: int
    licence: str
    data: tuple[str, ...]
    quality: str
    training: str
