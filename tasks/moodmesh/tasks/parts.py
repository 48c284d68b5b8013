"""The parts of an answer that a task makes bit by bit: in order, each once, within bounds that hold on every device."""

from __future__ import annotations

from collections.abc import Sequence

from moodmesh.tasks.errors import PartRefused

PART_BYTES = 64 * 1024
MOST_PARTS = 1000
STREAM_BYTES = 4 * 2**20
"""Bytes of a part, parts of a job, and bytes of all its parts."""


class Stream:
    """What an answer consists of so far; `held`: the parts that the requester had before this run."""

    def __init__(self, held: Sequence[bytes] = ()) -> None:
        self.parts = list(held)
        self._left = STREAM_BYTES - sum(map(len, held))

    def add(self, index: int, data: bytes) -> bool:
        """Take the next part; False for one that is known already. `PartRefused` when it is neither, or too large."""
        if type(index) is not int or not isinstance(data, bytes):
            raise PartRefused(f"part {index!r}: an index is an int and a part is bytes")
        if 0 <= index < len(self.parts):
            if self.parts[index] != data:
                raise PartRefused(f"part {index} was handed on with other bytes: the same request and seed make the same parts")
            return False
        self._check(index, len(data))
        self.parts.append(data)
        self._left -= len(data)
        return True

    def _check(self, index: int, size: int) -> None:
        if index != len(self.parts):
            raise PartRefused(f"part {index} is out of order: the next one is {len(self.parts)}")
        if index >= MOST_PARTS:
            raise PartRefused(f"an answer has at most {MOST_PARTS} parts: make them larger")
        if size > PART_BYTES:
            raise PartRefused(f"part {index} has {size} bytes, at most {PART_BYTES} are handed on: make parts smaller")
        if size > self._left:
            raise PartRefused(f"the parts of an answer have at most {STREAM_BYTES} bytes in all; the rest goes in its files")
