"""What crosses a link for one artefact: fetch -> manifest | absent; want -> chunk, have, chunk, have ... (routing §11).

A chunk is a binary message: artefact id 32, index 4 (little-endian), data.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Annotated, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from moodmesh.mesh.errors import BadMessage
from moodmesh.mesh.frames import CHUNK, CHUNK_HEAD
from moodmesh.mesh.seams import Envelope

from .manifest import MAX_CHUNKS, Hash, Manifest

CAPS = {"manifest": 1 << 20}
MAX_WINDOW = 16


class Message(BaseModel):
    """One text message about one artefact."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    kind: ClassVar[str]
    artefact: Hash

    def envelope(self) -> Envelope:
        """This as a message."""
        return Envelope(self.kind, self.model_dump_json().encode())


class Fetch(Message):
    """Receiver: what is this artefact made of?"""

    kind = "fetch"


class Offered(Message):
    """Sender: it is made of this."""

    kind = "manifest"
    manifest: Manifest


class Absent(Message):
    """Sender: there is no such artefact for you."""

    kind = "absent"


class Want(Message):
    """Receiver: send the chunks whose bits are set, with at most `window` of them unacknowledged."""

    kind = "want"
    missing: Annotated[str, StringConstraints(max_length=MAX_CHUNKS // 4)]
    window: Annotated[int, Field(ge=1, le=MAX_WINDOW)] = 1


class Have(Message):
    """Receiver: this chunk is verified and written."""

    kind = "have"
    index: Annotated[int, Field(ge=0, lt=MAX_CHUNKS)]


class Enough(Message):
    """Receiver: stop sending."""

    kind = "enough"


KINDS = frozenset({CHUNK, *(model.kind for model in (Fetch, Offered, Absent, Want, Have, Enough))})
M = TypeVar("M", bound=Message)


def parse(model: type[M], envelope: Envelope) -> M:
    """The message in an envelope; `BadMessage`."""
    try:
        return model.model_validate_json(envelope.body)
    except ValidationError as error:
        raise BadMessage(f"a `{envelope.kind}` that is not of its model: {error.error_count()} errors") from error


def pack_chunk(artefact: str, index: int, data: bytes) -> Envelope:
    """One chunk as a message."""
    return Envelope(CHUNK, bytes.fromhex(artefact) + index.to_bytes(4, "little") + data)


def unpack_chunk(envelope: Envelope) -> tuple[str, int, bytes]:
    """Artefact, index and data of a chunk message; `BadMessage`."""
    if len(envelope.body) < CHUNK_HEAD:
        raise BadMessage("a `chunk` without its head")
    return envelope.body[:32].hex(), int.from_bytes(envelope.body[32:36], "little"), envelope.body[36:]


def bitmap(indexes: Iterable[int], count: int) -> str:
    """Chunk numbers as base64 of a bitmap, bit 0 of byte 0 first."""
    bits = bytearray(-(-count // 8))
    for index in indexes:
        bits[index // 8] |= 1 << index % 8
    return base64.b64encode(bits).decode()


def indexes(text: str, count: int) -> list[int]:
    """The chunk numbers in a bitmap of `count` bits; `BadMessage`."""
    try:
        bits = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadMessage("a bitmap that is no base64") from error
    found = [index for index in range(len(bits) * 8) if bits[index // 8] >> index % 8 & 1]
    if len(bits) != -(-count // 8) or (found and found[-1] >= count):
        raise BadMessage("a bitmap of another length")
    return found
