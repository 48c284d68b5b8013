"""What `emotion.text` is asked and what it answers (systems S1, S3)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TextRequest(BaseModel):
    """`text`, or else the input file, is the text; `lines`: one item a line instead of one a sentence."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str | None = None
    lines: bool = False


class Item(BaseModel):
    """One sentence or line: characters `start` to `end` of the text, its mood in -1 to 1 with sd, and the variant that
    answered; a blank line has none of them."""

    model_config = ConfigDict(extra="forbid")
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    valence: float | None = Field(default=None, ge=-1, le=1)
    arousal: float | None = Field(default=None, ge=-1, le=1)
    dominance: float | None = Field(default=None, ge=-1, le=1)
    valence_sd: float | None = Field(default=None, gt=0)
    arousal_sd: float | None = Field(default=None, gt=0)
    dominance_sd: float | None = Field(default=None, gt=0)
    variant: str | None = None


class Larger(BaseModel):
    """The model that answered what the small one was unsure of."""

    model_config = ConfigDict(extra="forbid")
    variant: str
    model: str
    sha256: str


class TextEmotion(BaseModel):
    """A statement about a text, item by item in its order; `model` and `sha256` name the weights that made it.

    After an escalation they name the small model, and `larger` the one that answered the items with its variant.
    """

    model_config = ConfigDict(extra="forbid")
    items: list[Item]
    variant: str
    model: str
    sha256: str
    larger: Larger | None = None
