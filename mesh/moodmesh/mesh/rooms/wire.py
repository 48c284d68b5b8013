"""The messages of a room as bytes: an envelope of 44 bytes, then a body of the size that its type has (room-mood §5).

A member says a message to the coordinator, who passes such bodies on, unchanged, in batches that name
their authors. Integers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

VERSION = 1
MOST_MEMBERS = 1000
SIG, KEY, HASH, INDEX = 64, 32, 32, 2
S1_BYTES, S2_BYTES = 160, 96
BATCH = 64
_ENVELOPE = struct.Struct("<BBBBQ32s")
_ITEM = struct.Struct("<HI")
ENVELOPE_BYTES = _ENVELOPE.size


class Malformed(ValueError):
    """Bytes that are no message of a room; whoever sent them is at fault."""


class Step(IntEnum):
    """What a message says. With `BATCH` added, it passes on what others said."""

    JOIN = 1
    """S1: the keys of a member for this run, and its commitment."""
    REVEAL = 2
    """S2: what it committed to, and that it saw this roster."""
    SHARES = 3
    """R1: sealed shares, one part for each of the committee."""
    REPORT = 4
    """R2a: whose shares a member of the committee holds."""
    PROPOSAL = 5
    """R2b: the coordinator's choice of whose sum is opened."""
    VOTE = 6
    """R2c: a member of the committee agrees, and shows a masked check of what it holds."""
    IDENTIFY = 7
    """R2d: the same check for each sender, when the whole did not fit."""
    SUM = 8
    """R3: the share of the sum."""
    START = 9
    """The coordinator begins an attempt, with new keys from everyone. An item says that somebody is by radio."""
    HERE = 10
    """A member is in the room: the last attempt it saw, whether one is wanted now, and where it can be reached itself."""
    WHERE = 11
    """Where each member of the roster can be reached: hints, like every address."""
    SEAT = 12
    """After the draw, a member comes to a coordinator: which seat of the roster is its own, signed for this coordinator."""


class Message(NamedTuple):
    """One message; `room` has 32 bytes."""

    step: Step
    batch: bool
    attempt: int
    epoch: int
    room: bytes
    body: bytes


def encode(message: Message) -> bytes:
    """The message as it travels."""
    kind = message.step + (BATCH if message.batch else 0)
    return _ENVELOPE.pack(VERSION, kind, message.attempt, 0, message.epoch, message.room) + message.body


def decode(data: bytes) -> Message:
    """`Malformed` for anything but a message of this version."""
    if len(data) < ENVELOPE_BYTES:
        raise Malformed("shorter than its envelope")
    version, kind, attempt, zero, epoch, room = _ENVELOPE.unpack_from(data)
    batch = kind >= BATCH
    step = kind - BATCH if batch else kind
    if version != VERSION or zero != 0 or step not in Step._value2member_map_:
        raise Malformed(f"version {version}, type {kind}")
    return Message(Step(step), batch, attempt, epoch, room, data[ENVELOPE_BYTES:])


class Item(NamedTuple):
    """What one member said, as passed on."""

    author: int
    body: bytes


def pack(items: Iterable[Item]) -> bytes:
    """The body of a batch."""
    return b"".join([part for author, body in items for part in (item_head(author, len(body)), body)])


def item_head(author: int, size: int) -> bytes:
    """What stands before each item of a batch."""
    return _ITEM.pack(author, size)


def unpack(body: bytes, most: int = MOST_MEMBERS) -> list[Item]:
    """`Malformed` when the batch is cut, or has more than `most` items, or two of one author."""
    items: list[Item] = []
    at, end, head = 0, len(body), _ITEM.size
    while at < end:
        if len(items) >= most or at + head > end:
            raise Malformed("a batch with too many items, or cut short")
        author, size = _ITEM.unpack_from(body, at)
        start, at = at + head, at + head + size
        if at > end:
            raise Malformed("a batch cut short")
        items.append(Item(author, body[start:at]))
    if len({item.author for item in items}) != len(items):
        raise Malformed("a batch with two items of one author")
    return items


def bitmap(members: Iterable[int], n: int) -> bytes:
    """Members as bits, the lowest of the first byte first."""
    bits = bytearray((n + 7) // 8)
    for member in members:
        bits[member // 8] |= 1 << member % 8
    return bytes(bits)


def members_of(bits: bytes, n: int) -> frozenset[int]:
    """The members of a bitmap of a room of `n`; `Malformed` when it has another size or bits beyond."""
    found = frozenset(i for i in range(len(bits) * 8) if bits[i // 8] >> i % 8 & 1)
    if len(bits) != (n + 7) // 8 or any(i >= n for i in found):
        raise Malformed("a bitmap of another size")
    return found


def split(body: bytes, *sizes: int) -> list[bytes]:
    """The fields of a body of exactly these sizes; `Malformed`."""
    if len(body) != sum(sizes):
        raise Malformed(f"a body of {len(body)} bytes instead of {sum(sizes)}")
    found, at = [], 0
    for size in sizes:
        found.append(body[at : at + size])
        at += size
    return found


def numbers(values: Sequence[int]) -> bytes:
    """Residues, four bytes each."""
    return struct.pack(f"<{len(values)}I", *values)


def read_numbers(data: bytes, p: int) -> tuple[int, ...]:
    """Residues modulo `p`; `Malformed` when one is not below it."""
    if len(data) % 4:
        raise Malformed("cut short within a number")
    found = struct.unpack(f"<{len(data) // 4}I", data)
    if max(found, default=0) >= p:
        raise Malformed("a number beyond the modulus")
    return found
