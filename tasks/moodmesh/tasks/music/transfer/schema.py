"""What `music.transfer` is asked and what it answers (systems S18)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from moodmesh.tasks.music.generate.schema import Axis, Composer, Heard
from moodmesh.tasks.music.notation.reading import Reading

Kept = Literal["melody", "tempo", "key", "rhythm", "dynamics"]
"""What may be kept: the highest line as it is (then the mode stays too, or it would clash); the tempo; every pitch; when each
note begins and how long it sounds; how loud each is."""


class TransferRequest(BaseModel):
    """The mood as a word, or as valence and arousal; the input file is the piece. `keep` says what is not to change, `thin`
    that notes may be left out where the mood wants fewer."""

    model_config = ConfigDict(extra="forbid")
    emotion: str | None = None
    valence: Axis | None = None
    arousal: Axis | None = None
    keep: frozenset[Kept] = frozenset()
    thin: bool = False


class Transferred(BaseModel):
    """The piece; its MIDI is the file `piece.mid`. `before` and `heard`: what was heard of it and what is now.
    `given`: how the file was read, whose licence it stays under. `composers`: the rules, of all bars."""

    model_config = ConfigDict(extra="forbid")
    bars: int = Field(ge=1)
    seconds: float = Field(gt=0)
    notes: int = Field(ge=0)
    given: Reading
    key: str
    moods: tuple[tuple[Axis, Axis], ...]
    kept: tuple[Kept, ...]
    before: Heard
    asked: Heard
    heard: Heard
    composers: tuple[Composer]
    seed: int
    provenance: str
