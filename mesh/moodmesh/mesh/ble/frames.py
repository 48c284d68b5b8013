"""What crosses a lane: one frame a GATT write or notification.

    HELLO    version 1 | nonce 8 | most 2       the central asks for the lane; `most`: bytes of a frame it can take
    WELCOME  nonce 8 | most 2                   it is the central's
    BUSY     nonce 8                            another one has it
    OPEN     seq | stream | port 1              either end opens a stream to a listener of the other
    DATA     seq | stream | size 2 | bytes      within the credit given; `size` shows a frame that was cut short
    CREDIT   seq | stream | bytes 2             so many bytes were taken, and may be sent again
    CLOSE    seq | stream                       nothing comes any more

Integers are little-endian; `seq` counts the frames of one direction, so that a lost or doubled one ends the lane, and
one before its turn waits for it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

VERSION = 1
NONCE = 8
HEAD, DATA_HEAD = 3, 5
SMALLEST, LARGEST = 20, 510
"""Bytes of a frame: what the oldest radios take, and the most that BlueZ does: of the 512 of an attribute it takes off the two
of its handle, and drops a longer write without a word (`check_length` in src/shared/gatt-server.c, 5.66)."""
_HELLO, _WELCOME, _AMOUNT = struct.Struct(f"<B{NONCE}sH"), struct.Struct(f"<{NONCE}sH"), struct.Struct("<H")


class Kind(IntEnum):
    """The first byte."""

    HELLO = 1
    WELCOME = 2
    BUSY = 3
    OPEN = 4
    DATA = 5
    CREDIT = 6
    CLOSE = 7


@dataclass(frozen=True)
class Greeting:
    """HELLO, WELCOME or BUSY."""

    kind: Kind
    nonce: bytes
    most: int = SMALLEST

    def encode(self) -> bytes:
        """The frame."""
        match self.kind:
            case Kind.HELLO:
                body = _HELLO.pack(VERSION, self.nonce, self.most)
            case Kind.WELCOME:
                body = _WELCOME.pack(self.nonce, self.most)
            case _:
                body = self.nonce
        return bytes((self.kind,)) + body


@dataclass(frozen=True)
class Framed:
    """A frame of a stream: `body` is the data, or the two bytes of a credit, or the one of a port."""

    kind: Kind
    seq: int
    stream: int
    body: bytes = b""

    def encode(self) -> bytes:
        """The frame."""
        size = _AMOUNT.pack(len(self.body)) if self.kind is Kind.DATA else b""
        return bytes((self.kind, self.seq, self.stream)) + size + self.body

    @property
    def amount(self) -> int:
        """Of a CREDIT."""
        return int(_AMOUNT.unpack(self.body)[0])


def credit(amount: int) -> bytes:
    """The body of a CREDIT."""
    return _AMOUNT.pack(amount)


def decode(data: bytes) -> Greeting | Framed | None:
    """The frame in a write or notification; None for anything else."""
    if not data or data[0] not in set(Kind) or len(data) > LARGEST:
        return None
    kind, body = Kind(data[0]), data[1:]
    match kind:
        case Kind.HELLO if len(body) == _HELLO.size:
            version, nonce, most = _HELLO.unpack(body)
            return Greeting(kind, nonce, most) if version == VERSION and SMALLEST <= most <= LARGEST else None
        case Kind.WELCOME if len(body) == _WELCOME.size:
            nonce, most = _WELCOME.unpack(body)
            return Greeting(kind, nonce, most) if SMALLEST <= most <= LARGEST else None
        case Kind.BUSY if len(body) == NONCE:
            return Greeting(kind, body)
        case Kind.OPEN | Kind.DATA | Kind.CREDIT | Kind.CLOSE if len(data) >= HEAD:
            return _framed(kind, data)
    return None


def _framed(kind: Kind, data: bytes) -> Framed | None:
    body, size = data[HEAD:], {Kind.OPEN: 1, Kind.CREDIT: _AMOUNT.size, Kind.CLOSE: 0}.get(kind)
    if kind is Kind.DATA:
        if len(data) <= DATA_HEAD:
            return None
        size, body = _AMOUNT.unpack(data[HEAD:DATA_HEAD])[0], data[DATA_HEAD:]
    return Framed(kind, data[1], data[2], body) if len(body) == size else None
