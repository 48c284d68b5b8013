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

    @classmethod
    def of(cls, weights: Path, **told: Any) -> Card:
        """The card of a file as it is now, named as the file is without its ending; `told` is the rest."""
        content = weights.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        return cls(name=weights.stem, file=weights.name, sha256=sha256, bytes=len(content), **told)


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


_Seen = tuple[Path, str, int, int]


class ModelStore:
    """Finds model files: shipped with the package first, then in the data folder, where fetched files go by their hash.

    `packaged=False` looks in the data folder alone, as a node does that was installed without weights. A file that was found to
    be damaged counts as absent from then on, until it changes.
    """

    def __init__(self, folder: Path, *, packaged: bool = True) -> None:
        self._folder = folder
        self._packaged = packaged
        self._right: dict[_Seen, bool] = {}

    def path(self, card: Card) -> Path:
        """The first file of `card` that has its hash, which is checked when a file is new or has changed; ModelMissing or
        ModelDamaged otherwise."""
        damaged = None
        for file in self._files(card):
            if self._is_right(file, card):
                return file
            damaged = damaged or file
        if damaged is not None:
            raise ModelDamaged(_damage(card, str(damaged), _hash(damaged)), card.sha256)
        raise ModelMissing(
            f"the model {card.name} ({card.bytes / 1e6:.1f} MB) is not on this device: fetch it with "
            f"`moodmesh models pull {card.name}` (sha256 {card.sha256})",
            card.sha256,
        )

    def find(self, card: Card) -> Path | None:
        """Where a file of `card` lies that is not known to be damaged, unverified; None when there is none."""
        return next((file for file in self._files(card) if self._right.get(_seen(file, card), True)), None)

    def sure(self, card: Card) -> bool:
        """Whether the file that `path` gives is known already, so that nothing has to be read."""
        return any(self._right.get(_seen(file, card), False) for file in self._files(card))

    def _files(self, card: Card) -> list[Path]:
        shipped = [card.folder / card.file] if self._packaged and card.folder is not None else []
        return [file for file in [*shipped, self._folder / card.sha256] if file.is_file()]

    def _is_right(self, file: Path, card: Card) -> bool:
        seen = _seen(file, card)
        if seen not in self._right:
            self._right[seen] = _hash(file) == card.sha256
        return self._right[seen]

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


def _seen(file: Path, card: Card) -> _Seen:
    """What tells whether a file is still the one that was verified."""
    try:
        found = file.stat()
    except OSError:  # gone meanwhile: whoever reads it is told
        return file, card.sha256, -1, -1
    return file, card.sha256, found.st_size, found.st_mtime_ns


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _damage(card: Card, what: str, found: str) -> str:
    hashes = f"sha256 {found[:16]}, expected {card.sha256[:16]}"
    return f"{what} is not the model {card.name}: {hashes}; `moodmesh doctor` says how to mend it"
