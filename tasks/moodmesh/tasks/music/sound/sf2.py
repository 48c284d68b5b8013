"""Whether a file is a whole SoundFont 2: every chunk inside the file, every index inside its table.

Synthesisers in C trust these numbers, so that a damaged file could end the process; it is refused here first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.errors import SoundFontError

# each record of the preset data: its size, where in it stands an index into which table
_TABLES = {
    b"phdr": (38, 24, b"pbag"),
    b"pbag": (4, 0, b"pgen"),
    b"pgen": (4, None, b""),
    b"inst": (22, 20, b"ibag"),
    b"ibag": (4, 0, b"igen"),
    b"igen": (4, None, b""),
    b"shdr": (46, None, b""),
}
_INSTRUMENT, _SAMPLE = 41, 53


def check(data: bytes) -> None:
    """SoundFontError says what is wrong with a file that is not a whole SoundFont 2."""
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise SoundFontError("it does not begin like a SoundFont")
    chunks = dict(_chunks(data, 12, _end(data, 0, len(data))))
    tables = {name: _table(chunks, name, size) for name, (size, _, _) in _TABLES.items()}
    for name, (_, at, to) in _TABLES.items():
        if at is not None and not _rises(tables[name][:, at : at + 2].copy().view("<u2")[:, 0], len(tables[to])):
            raise SoundFontError(f"its table {name.decode()} points outside {to.decode()}")
    _points(tables[b"pgen"], _INSTRUMENT, len(tables[b"inst"]), "instruments")
    _points(tables[b"igen"], _SAMPLE, len(tables[b"shdr"]), "samples")
    where = tables[b"shdr"][:-1, 20:36].copy().view("<u4").astype(np.int64)
    if np.any(where[:, 0] > where[:, 1]) or np.any(where > len(chunks.get(b"smpl", b"")) // 2):
        raise SoundFontError("its samples lie outside its sound data")


def _end(data: bytes, at: int, limit: int) -> int:
    """Where the chunk whose header is at `at` ends."""
    (size,) = struct.unpack_from("<I", data, at + 4)
    if at + 8 + size > limit:
        raise SoundFontError("it is cut off")
    return int(at + 8 + size)


def _chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of every chunk; lists are looked into."""
    while at + 8 <= end:
        last = _end(data, at, end)
        if data[at : at + 4] == b"LIST":
            yield from _chunks(data, at + 12, last)
        else:
            yield data[at : at + 4], memoryview(data)[at + 8 : last]
        at = last + last % 2


def _table(chunks: dict[bytes, memoryview], name: bytes, size: int) -> NDArray[np.uint8]:
    """The records of a table, (records, size); the last only ends it."""
    content = chunks.get(name, memoryview(b""))
    if len(content) < size or len(content) % size:
        raise SoundFontError(f"its table {name.decode()} is not whole")
    return np.frombuffer(content, np.uint8).reshape(-1, size)


def _rises(indices: NDArray[np.uint16], records: int) -> bool:
    return bool(np.all(np.diff(indices.astype(np.int64)) >= 0) and indices[-1] < records)


def _points(generators: NDArray[np.uint8], kind: int, records: int, what: str) -> None:
    pairs = generators.copy().view("<u2")
    if np.any(pairs[pairs[:, 0] == kind, 1] >= records - 1):
        raise SoundFontError(f"it names {what} that it does not have")
