"""Envelopes on the wire: a text frame `{"kind":"...", ...}` with the kind first, or a binary frame, which is a `chunk`.

The kind is read, and its size cap applied, before any JSON is parsed (routing §12).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .errors import BadMessage
from .seams import Envelope

CHUNK = "chunk"
DEFAULT_CAP = 16 * 1024
WELCOME_CAP = 4096
CHUNK_BYTES = 1 << 20
CHUNK_HEAD = 36
_KIND = re.compile(rb'\{"kind":"([a-z][a-z_]{0,31})"([,}])')


class Frame(NamedTuple):
    """One WebSocket message."""

    binary: bool
    data: bytes


class Caps:
    """Largest frame of each kind in bytes: 16 KiB unless told otherwise."""

    def __init__(self, by_kind: Mapping[str, int] | None = None) -> None:
        self._by_kind = {CHUNK: CHUNK_HEAD + CHUNK_BYTES, "welcome": WELCOME_CAP, **(by_kind or {})}

    @property
    def largest(self) -> int:
        """The largest cap of all."""
        return max(DEFAULT_CAP, *self._by_kind.values())

    def of(self, kind: str) -> int:
        """The cap of a kind, also of an unknown one."""
        return self._by_kind.get(kind, DEFAULT_CAP)

    def check(self, kind: str, size: int) -> None:
        """`BadMessage` when a frame of `size` bytes is too large for its kind."""
        if size > self.of(kind):
            raise BadMessage(f"a `{kind}` of {size} bytes; {self.of(kind)} are allowed")


def encode(envelope: Envelope, caps: Caps) -> Frame:
    """The frame of an envelope; `BadMessage` when it is over its cap or its body is no JSON object."""
    if envelope.kind == CHUNK:
        frame = Frame(True, envelope.body)
    elif envelope.body[:1] != b"{":
        raise BadMessage(f"the body of `{envelope.kind}` is no JSON object")
    else:
        rest = envelope.body[1:].lstrip()
        frame = Frame(False, b'{"kind":"%s"%s%s' % (envelope.kind.encode(), b"" if rest[:1] == b"}" else b",", rest))
    caps.check(envelope.kind, len(frame.data))
    return frame


def decode(frame: Frame, caps: Caps) -> Envelope:
    """The envelope of a frame from a peer; `BadMessage` when it has no kind in front or is over its cap."""
    if frame.binary:
        caps.check(CHUNK, len(frame.data))
        return Envelope(CHUNK, frame.data)
    found = _KIND.match(frame.data)
    if found is None or found[1] == CHUNK.encode():
        raise BadMessage("a text message must begin with its kind")
    kind = found[1].decode()
    caps.check(kind, len(frame.data))
    return Envelope(kind, b"{" + (b"}" if found[2] == b"}" else b"") + frame.data[found.end() :])
