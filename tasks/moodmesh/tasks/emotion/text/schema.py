"""What `emotion.text` is asked and what it answers (systems S1, S3)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TextRequest(BaseModel):
    """`text`, or else the input file, is the text; `lines`: one item a line instead of one a sentence."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str | None = None
    lines: bool = False


class Item(BaseModel):
    """One sentence or line: characters `start` to `end` of the text, its mood in -1 to 1 with sd; a blank line has none."""

    model_config = ConfigDict(extra="forbid")
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    valence: float | None = Field(default=None, ge=-1, le=1)
    arousal: float | None = Field(default=None, ge=-1, le=1)
    dominance: float | None = Field(default=None, ge=-1, le=1)
    valence_sd: float | None = Field(default=None, gt=0)
    arousal_sd: float | None = Field(default=None, gt=0)
    dominance_sd: float | None = Field(default=None, gt=0)


class TextEmotion(BaseModel):
    """A statement about a text, item by item in its order; `model` and `sha256` name the weights that made it."""

    model_config = ConfigDict(extra="forbid")
    items: list[Item]
    variant: str
    model: str
    sha256: str
