"""The mood that may leave a device: a cell of a coarse grid, made from nothing else once it is released."""

from __future__ import annotations

import json
from dataclasses import dataclass

CELLS = 3


@dataclass(frozen=True)
class SharedMood:
    """A cell of the valence-arousal plane, each axis cut into `CELLS`: 0 is unpleasant or calm, `CELLS - 1` the opposite."""

    valence: int
    arousal: int

    def __post_init__(self) -> None:
        for cell in (self.valence, self.arousal):
            if type(cell) is not int or not 0 <= cell < CELLS:
                raise ValueError(f"a cell is a whole number from 0 to {CELLS - 1}")

    def to_json(self) -> str:
        """The mood as it travels."""
        return json.dumps({"valence": self.valence, "arousal": self.arousal}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> SharedMood:
        """What a peer sent; ValueError for anything but exactly such a mood."""
        try:
            found = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(found, dict) or set(found) != {"valence", "arousal"}:
            raise ValueError("a shared mood has valence and arousal, and nothing else")
        return cls(**found)
