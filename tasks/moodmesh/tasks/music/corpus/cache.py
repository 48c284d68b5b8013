"""The prepared passages of a set, computed once and kept on disk: a minute a set otherwise (systems S16)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from moodmesh.tasks.music.corpus.prepare import EVERYTHING, Figures, Passage, load, prepared, save
from moodmesh.tasks.music.corpus.sets import SETS

_RULES = 2
"""Raised whenever preparation changes: what older rules made is made anew."""


def passages(root: Path, name: str, cache: Path, every_clip: bool = False) -> list[Passage]:
    """All passages of a set; `every_clip` keeps blocks off the grid as well, as a judge of labelled clips needs."""
    file = cache / f"{name}{'-every' if every_clip else ''}-{_named(root, name)}.npz"
    if not file.exists():
        made = list(prepared(SETS[name](root), Figures(), EVERYTHING if every_clip else None))
        cache.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        save(made, part)
        part.replace(file)
    return load(file)


def _named(root: Path, name: str) -> str:
    """A short hash of the files of a set, their sizes, and the rules."""
    files = sorted(path for path in (root / "music" / name).iterdir() if path.is_file())
    said = [f"{path.name} {path.stat().st_size}" for path in files]
    return hashlib.sha256("\n".join([str(_RULES), *said]).encode()).hexdigest()[:12]
