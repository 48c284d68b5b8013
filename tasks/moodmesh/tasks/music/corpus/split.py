"""Who may learn from which piece, decided before any training and stored in configs/training/music-split.json (evaluation §1).

`train` and `dev` belong to the generators, and to what chooses among their pieces; `judge` to the judges alone; `held` to
the musicality gate of the evaluation and to the comparison with real music. No group has two roles.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

Role = Literal["train", "dev", "judge", "held"]
Split = dict[str, dict[str, Role]]
"""The role of every group, by set."""

_SONG_TWICE = {"Ie5koh4qvJc": "FoTXpYZXxJs", "valid-058": "train-142", "valid-074": "train-224"}
"""EMOPIA holds one song under two names (its PROVENANCE), JSB two chorales in train and in validation: they stay together."""


def song(group: str) -> str:
    """The song that a group of EMOPIA stands for; any other group itself."""
    return _SONG_TWICE.get(group, group)


def role(name: str, group: str, part: str) -> Role:
    """The role of a group of a set, by a hash of its name alone.

    VGMIDI is the judge's. EMOPIA is halved by song, a tenth of the generator's half for dev. Of the free sets what is
    published as validation, and is not in train as well, is halved into dev and held.
    """
    lot = int.from_bytes(hashlib.sha256(f"{name}/{song(group)}".encode()).digest()[:4], "big")
    if name == "vgmidi":
        return "judge"
    if name == "emopia":
        return "judge" if lot % 2 else "dev" if lot // 2 % 10 == 0 else "train"
    if part == "train" or song(group) != group:
        return "train"
    return "held" if lot % 2 else "dev"


def split(groups: Iterable[tuple[str, str, str]]) -> Split:
    """Of (set, group, part) triples; a group that is published in two parts has the role of the first by name."""
    roles: Split = {}
    for name, group, part in sorted(groups, reverse=True):
        roles.setdefault(name, {})[group] = role(name, group, part)
    return {name: dict(sorted(members.items())) for name, members in sorted(roles.items())}


def load(configs: Path) -> Split:
    """The stored split of a configuration folder."""
    held: Split = json.loads((configs / "training" / "music-split.json").read_text(encoding="utf-8"))
    return held


def sha256(split: Split) -> str:
    """Names a split."""
    return hashlib.sha256(json.dumps(split, sort_keys=True).encode()).hexdigest()


def main() -> None:
    """Write the split file anew from the data: `python -m moodmesh.tasks.music.corpus.split --data DIR`."""
    from moodmesh.tasks.music.corpus.sets import SETS, data_dir

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", help="the research data area (default: MOODMESH_DATA)")
    parser.add_argument("--configs", type=Path, default=Path("configs"))
    args = parser.parse_args()
    root = data_dir(args.data)
    made = split((piece.set, piece.group, piece.part) for read in SETS.values() for piece in read(root))
    file = args.configs / "training" / "music-split.json"
    file.write_text(json.dumps(made, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{file}: {sha256(made)}")


if __name__ == "__main__":
    main()
