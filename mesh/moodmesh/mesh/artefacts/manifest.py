"""The manifest of an artefact: its hash is the artefact's id (routing §11)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

CHUNK_SIZE: Final = 1048576
MAX_CHUNKS = 15_000

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in lower-case hex."""


class Manifest(BaseModel):
    """Bytes in all, the SHA-256 of each 1 MiB chunk (the last may be shorter), and the media type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    size: Annotated[int, Field(ge=0, le=CHUNK_SIZE * MAX_CHUNKS)]
    chunk_size: Literal[1048576] = CHUNK_SIZE
    chunks: Annotated[tuple[Hash, ...], Field(max_length=MAX_CHUNKS, strict=False)]
    media_type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.+/-]{1,127}$")]

    @model_validator(mode="after")
    def _complete(self) -> Manifest:
        if len(self.chunks) != -(-self.size // CHUNK_SIZE):
            raise ValueError("size and number of chunks differ")
        return self

    @property
    def id(self) -> str:
        """The artefact id: SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.encode()).hexdigest()

    def encode(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, ASCII."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode("ascii")

    def length(self, index: int) -> int:
        """Bytes of one chunk."""
        return min(CHUNK_SIZE, self.size - index * CHUNK_SIZE)

    def fits(self, index: int, data: bytes) -> bool:
        """Whether these are the bytes of that chunk."""
        return (
            0 <= index < len(self.chunks)
            and len(data) == self.length(index)
            and hashlib.sha256(data).hexdigest() == self.chunks[index]
        )


def manifest_of(pieces: Iterable[bytes], media_type: str) -> Manifest:
    """The manifest of a sequence of chunks, each full but the last."""
    size, hashes = 0, []
    for piece in pieces:
        size += len(piece)
        hashes.append(hashlib.sha256(piece).hexdigest())
    return Manifest(size=size, chunks=tuple(hashes), media_type=media_type)
