"""Model cards and files: `models.toml` beside each family, files addressed by SHA-256 (design §6, systems S30)."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moodmesh.tasks.errors import ModelDamaged, ModelMissing


@dataclass(frozen=True)
class Card:
    """One file of weights: what it is, what it may be used for, how good it was measured to be.

    `figures` are numbers of its `quality`, the higher the better, in the `measure` that cards of one task share: what a smaller
    variant loses is their difference. `folder` is where the package ships the file, if it does.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    licence: str
    data: tuple[str, ...]
    quality: str
    training: str
    measure: str = ""
    figures: tuple[float, ...] = ()
    folder: Path | None = field(default=None, compare=False)


def load_cards(file: Path) -> dict[str, Card]:
    """The cards of a `models.toml` by name; shipped files lie in `weights` beside it."""
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    folder = file.parent / "weights"
    return {name: Card(name=name, folder=folder, **_frozen(table)) for name, table in tables.items()}


def _frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def save_cards(cards: Mapping[str, Card], file: Path) -> None:
    """Write cards as a `models.toml` that `load_cards` reads back."""
    lines = ["# Cards of the weights: files lie in weights/ beside this file, or in the data folder under their hash."]
    for name, card in cards.items():
        values = {key: value for key, value in asdict(card).items() if key not in ("name", "folder")}
        # a JSON string, number or list of strings is also TOML
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


class ModelStore:
    """Finds model files: shipped with the package first, then in the data folder, where fetched files go by their hash.

    `packaged=False` looks in the data folder alone, as a node does that was installed without weights.
    """

    def __init__(self, folder: Path, *, packaged: bool = True) -> None:
        self._folder = folder
        self._packaged = packaged
        self._verified: set[tuple[Path, str]] = set()

    def path(self, card: Card) -> Path:
        """The file of `card`, its hash checked when first asked for; ModelMissing or ModelDamaged otherwise."""
        file = self.find(card)
        if file is None:
            raise ModelMissing(
                f"the model {card.name} ({card.bytes / 1e6:.1f} MB) is not on this device: fetch it with "
                f"`moodmesh models pull {card.name}` (sha256 {card.sha256})",
                card.sha256,
            )
        if (file, card.sha256) not in self._verified:
            _verify(file, card)
            self._verified.add((file, card.sha256))
        return file

    def find(self, card: Card) -> Path | None:
        """Where a file of `card` lies, unverified; None when there is none."""
        shipped = [card.folder / card.file] if self._packaged and card.folder is not None else []
        return next((file for file in [*shipped, self._folder / card.sha256] if file.is_file()), None)

    def add(self, card: Card, content: bytes | Path) -> Path:
        """Keep a fetched file under its hash, whole or not at all; ModelDamaged when the bytes are not those of the card."""
        data = content.read_bytes() if isinstance(content, Path) else content
        found = hashlib.sha256(data).hexdigest()
        if found != card.sha256:
            raise ModelDamaged(_damage(card, "the fetched file", found), card.sha256)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as new:
            new.write(data)
            new.flush()
            os.fsync(new.fileno())
        file = self._folder / card.sha256
        Path(new.name).replace(file)
        return file


def _verify(file: Path, card: Card) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != card.sha256:
        raise ModelDamaged(_damage(card, str(file), found), card.sha256)


def _damage(card: Card, what: str, found: str) -> str:
    return f"{what} is not the model {card.name}: sha256 {found[:16]}, expected {card.sha256[:16]}; delete and fetch it again"
