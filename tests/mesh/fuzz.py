"""Hostile bytes, many and fast: valid messages with a few random edits."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence


def mutants(samples: Sequence[bytes], count: int, seed: int = 1) -> Iterator[bytes]:
    """`count` edited samples; the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(count):
        data = bytearray(draw.choice(samples))
        for _ in range(draw.randint(1, 4)):
            draw.choice(_EDITS)(data, draw)
        yield bytes(data)


def _flip(data: bytearray, draw: random.Random) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randint(0, len(data)) :]


def _remove(data: bytearray, draw: random.Random) -> None:
    start = draw.randint(0, len(data))
    del data[start : start + draw.randint(1, 8)]


def _insert(data: bytearray, draw: random.Random) -> None:
    start = draw.randint(0, len(data))
    data[start:start] = draw.choice(
        (draw.randbytes(draw.randint(1, 8)), b'"', b"{", b"[[[[", b"1e999", b"-1", b"null", b"\\u0000")
    )


def _repeat(data: bytearray, draw: random.Random) -> None:
    start = draw.randint(0, len(data))
    data[start:start] = data[start : start + 16] * draw.randint(1, 20)


_EDITS: Sequence[Callable[[bytearray, random.Random], None]] = (_flip, _cut, _remove, _insert, _repeat)
