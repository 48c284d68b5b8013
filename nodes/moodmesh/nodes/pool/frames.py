"""Frames on a pipe: a JSON header and byte strings, each with its length in front, both capped."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

MAX_HEADER = 32 * 2**20
MAX_BLOBS = 512 * 2**20
MAX_BLOB_COUNT = 1024
_LENGTH = struct.Struct(">I")

Frame = tuple[dict[str, Any], list[bytes]]


class FrameError(ValueError):
    """The other end does not speak this protocol, or the frame is larger than the caps above."""


def encode(header: dict[str, Any], blobs: Sequence[bytes] = ()) -> list[bytes]:
    """The buffers of one frame; FrameError when a cap is passed or the header is no JSON (NaN included)."""
    sizes = [len(blob) for blob in blobs]
    try:
        text = json.dumps({**header, "blobs": sizes}, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"not a JSON value: {error}") from None
    if len(text) > MAX_HEADER:
        raise FrameError(f"the JSON part has {len(text)} bytes, the limit is {MAX_HEADER}")
    _check_sizes(sizes)
    return [_LENGTH.pack(len(text)) + text, *blobs]


def _check_sizes(sizes: object) -> list[int]:
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise FrameError("the sizes of the byte strings are missing")
    if sum(sizes) > MAX_BLOBS or len(sizes) > MAX_BLOB_COUNT:
        raise FrameError(f"{sum(sizes)} bytes in {len(sizes)} files, the limit is {MAX_BLOBS} in {MAX_BLOB_COUNT}")
    return sizes


def _header_size(prefix: bytes) -> int:
    size: int = _LENGTH.unpack(prefix)[0]
    if size > MAX_HEADER:
        raise FrameError(f"a header of {size} bytes, the limit is {MAX_HEADER}")
    return size


def _header(text: bytes) -> tuple[dict[str, Any], list[int]]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"the header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise FrameError("the header is no JSON object")
    return header, _check_sizes(header.pop("blobs", None))


def decode(data: bytes) -> Frame:
    """The frame whose buffers were joined to `data`."""
    return read_frame(io.BytesIO(data))


def read_frame(stream: BinaryIO) -> Frame:
    """The next frame of a blocking stream; EOFError at its end."""
    header, sizes = _header(_exactly(stream, _header_size(_exactly(stream, _LENGTH.size))))
    return header, [_exactly(stream, size) for size in sizes]


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def write_frame(stream: BinaryIO, frame: Sequence[bytes]) -> None:
    """Write one encoded frame whole and flush it."""
    stream.writelines(frame)
    stream.flush()


async def receive(reader: asyncio.StreamReader) -> Frame:
    """The next frame; asyncio.IncompleteReadError (an EOFError) at the end of the stream."""
    prefix = await reader.readexactly(_LENGTH.size)
    header, sizes = _header(await reader.readexactly(_header_size(prefix)))
    return header, [await reader.readexactly(size) for size in sizes]


async def send(writer: asyncio.StreamWriter, frame: Sequence[bytes]) -> None:
    """Write one encoded frame whole; ConnectionError when the other end is gone."""
    writer.writelines(frame)
    await writer.drain()
