"""The hello datagram: fixed sizes, little-endian, nothing about the device (mesh-lessons §4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from moodmesh.mesh.rid import RID_BYTES
from moodmesh.mesh.tagslots import TAG_BYTES

MAGIC = b"MMH1"
NO_NAMEPLATE = 255
SLOT_COUNTS = (16, 64, 256)
_HEAD = struct.Struct(f"<4sBB{RID_BYTES}sHBHH")
LARGEST = _HEAD.size + SLOT_COUNTS[-1] * TAG_BYTES


class Kind(IntEnum):
    """What a hello says: I am here; I am here, and you?; I leave."""

    ANNOUNCE = 1
    ASK = 2
    BYE = 3


@dataclass(frozen=True)
class Hello:
    """One datagram. `next_s`: seconds to the next one; `window_port` only with a nameplate, `room_port` only in a room."""

    kind: Kind
    next_s: int
    rid: bytes
    port: int
    tags: tuple[bytes, ...]
    nameplate: int | None = None
    window_port: int | None = None
    room_port: int | None = None

    def encode(self) -> bytes:
        """93, 285 or 1053 bytes."""
        plate = NO_NAMEPLATE if self.nameplate is None else self.nameplate
        ports = (self.window_port or 0, self.room_port or 0)
        head = _HEAD.pack(MAGIC, self.kind, self.next_s, self.rid, self.port, plate, *ports)
        return head + b"".join(self.tags)


def slot_count(tags: int) -> int:
    """The smallest number of slots that takes so many tags; 256 at most."""
    return next((count for count in SLOT_COUNTS if count >= tags), SLOT_COUNTS[-1])


def decode(data: bytes) -> Hello | None:
    """The hello in a datagram; None for anything else."""
    slots, rest = divmod(len(data) - _HEAD.size, TAG_BYTES)
    if rest or slots not in SLOT_COUNTS:
        return None
    magic, kind, next_s, rid, port, plate, window, room = _HEAD.unpack_from(data)
    if magic != MAGIC or kind not in tuple(Kind) or port == 0 or not next_s:
        return None
    shows = plate <= 99 and window != 0
    if not shows and (plate != NO_NAMEPLATE or window != 0):
        return None
    body = data[_HEAD.size :]
    tags = tuple(body[i : i + TAG_BYTES] for i in range(0, len(body), TAG_BYTES))
    return Hello(Kind(kind), next_s, rid, port, tags, plate if shows else None, window if shows else None, room or None)
