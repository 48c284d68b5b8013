"""What `music.generate` is asked and what it answers (systems S17, S19)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from moodmesh.tasks.music.notation.reading import Reading
from moodmesh.tasks.music.rules.orchestrate import Ensemble

MAX_BARS = 64
Axis = Annotated[float, Field(ge=-1, le=1)]


class Point(BaseModel):
    """The mood at a share of the piece, 0 its beginning and 1 its end."""

    model_config = ConfigDict(extra="forbid")
    at: float = Field(ge=0, le=1)
    valence: Axis
    arousal: Axis


class MusicRequest(BaseModel):
    """The mood as a word, as valence and arousal, or as a path of points: exactly one of them. An input file is gone on from.

    `bpm` and `key` (the tonic; the mode follows the mood) are the composer's choice unless given; a file has its own key.
    `takes` says how often each phrase is played; the best is kept.
    """

    model_config = ConfigDict(extra="forbid")
    emotion: str | None = None
    valence: Axis | None = None
    arousal: Axis | None = None
    path: Annotated[tuple[Point, ...], Field(max_length=64)] = ()
    bars: int = Field(default=20, ge=1, le=MAX_BARS)
    bpm: float | None = Field(default=None, ge=30, le=240)
    key: Literal["C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B"] | None = None
    ensemble: Ensemble = "piano"
    temperature: float = Field(default=1.0, ge=0.5, le=1.5)
    takes: int = Field(default=1, ge=1, le=8)


class Heard(BaseModel):
    """What was asked of the piece and what is heard in it (`rules.attributes`; `pitch` is the register there)."""

    model_config = ConfigDict(extra="forbid")
    minor: bool
    bpm: float
    density: float
    pitch: float
    velocity: float
    dynamics: float
    articulation: float
    polyphony: int


class Composer(BaseModel):
    """What made so many `bars` in a row: the rules alone, or a model by name and hash, with the licence of what the rules write
    or of the weights. Weights that this version does not know: no model, the hash, variant and licence `unknown`."""

    model_config = ConfigDict(extra="forbid")
    variant: str
    model: str | None = None
    sha256: str | None = None
    licence: str
    bars: int = Field(ge=1)


class MadeMusic(BaseModel):
    """The piece; its MIDI is the file `piece.mid`. `moods` holds the (valence, arousal) asked of each bar. `composers` made its
    bars, in that order; those of a given file come first and are not counted: `given` says how it was read, None without one.
    `selector`: the hash of the file that judged, of several takes of the bars that the last device made, which are like music
    and new; None where it was not there, or not asked."""

    model_config = ConfigDict(extra="forbid")
    bars: int = Field(ge=1)
    seconds: float = Field(gt=0)
    notes: int = Field(ge=0)
    key: str
    moods: tuple[tuple[Axis, Axis], ...]
    asked: Heard
    heard: Heard
    given: Reading | None
    composers: Annotated[tuple[Composer, ...], Field(min_length=1)]
    seed: int
    takes: int
    selector: str | None
    provenance: str
