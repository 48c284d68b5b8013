"""The parts of an answer as one run of bytes: as a `start` brings them, and as the journal keeps them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from moodmesh.tasks.parts import MOST_PARTS, PART_BYTES, STREAM_BYTES

_LENGTH = struct.Struct(">I")


def joined_bytes(count: int, size: int) -> int:
    """How long `join` makes so many parts of `size` bytes in all."""
    return size + count * _LENGTH.size


def join(parts: Sequence[bytes]) -> bytes:
    """Parts in order, the length of each in front of it."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def split(data: bytes) -> list[bytes]:
    """What was joined; ValueError when it is cut short, or more than one answer may have."""
    if len(data) > joined_bytes(MOST_PARTS, STREAM_BYTES):
        raise ValueError("more bytes than all parts of an answer may have")
    found: list[bytes] = []
    at = 0
    while at < len(data):
        if len(data) - at < _LENGTH.size or len(found) == MOST_PARTS:
            raise ValueError("the parts are cut short, or too many")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + size
        if size > PART_BYTES or at > len(data):
            raise ValueError("a part is cut short, or too large")
        found.append(data[at - size : at])
    return found
