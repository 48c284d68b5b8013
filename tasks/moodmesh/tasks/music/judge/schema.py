"""What `music.judge` is asked and what it answers (systems S20)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class JudgeRequest(BaseModel):
    """The input file is a MIDI file; there is nothing to choose."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Quadrants(BaseModel):
    """Chances of four moods: q1 pleasant and lively, q2 unpleasant and lively, q3 unpleasant, quiet, q4 pleasant, quiet."""

    model_config = ConfigDict(extra="forbid")
    q1: float = Field(ge=0, le=1)
    q2: float = Field(ge=0, le=1)
    q3: float = Field(ge=0, le=1)
    q4: float = Field(ge=0, le=1)


class Window(BaseModel):
    """A part of a piece, in seconds, with the chances that its arousal and valence are high; none where nothing sounds."""

    model_config = ConfigDict(extra="forbid")
    start_s: float = Field(ge=0)
    length_s: float = Field(gt=0)
    arousal_high: float | None = Field(default=None, ge=0, le=1)
    valence_high: float | None = Field(default=None, ge=0, le=1)


class MusicVerdict(BaseModel):
    """What a piece would be called by one listener who labelled pop for the piano: judged, not felt.

    `arousal_high` and `valence_high` are chances, the means of those of its windows by their length; `quadrants` takes them as
    independent. `key` is the one that fits the whole piece best. `model` and `sha256` name the weights that made it.
    """

    model_config = ConfigDict(extra="forbid")
    arousal_high: float = Field(ge=0, le=1)
    valence_high: float = Field(ge=0, le=1)
    quadrants: Quadrants
    key: str
    windows: list[Window]
    variant: str
    model: str
    sha256: str
