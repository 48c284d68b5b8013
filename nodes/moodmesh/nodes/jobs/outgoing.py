"""The parts of an answer on the executor's side: kept until their submitter has them on its disk (routing §8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.network import Network
from moodmesh.nodes.jobs.parts import split
from moodmesh.nodes.messages import StreamedPart
from moodmesh.tasks.parts import Stream

WINDOW, WINDOW_BYTES = 4, 128 * 1024
"""Parts of an attempt, and bytes beyond the first, that are on their way at a time: that bounds what waits for a slow link,
not the size of the answer."""


class Outgoing:
    """The parts of one attempt, from 0: the submitter has the first `acked`, `sent` were said since it was linked."""

    def __init__(self, parts: Sequence[bytes], acked: int | None = None) -> None:
        self._stream = Stream(parts)
        self.acked = self.sent = len(parts) if acked is None else acked
        self.at = 0.0
        """When anything was said, or heard, of them last."""

    @classmethod
    def kept(cls, data: bytes, first: int) -> Outgoing:
        """From the journal: those from index `first` on, which had not been acknowledged. Those before are not needed again."""
        return cls([b""] * first + split(data), first)

    @property
    def parts(self) -> tuple[bytes, ...]:
        """All of them."""
        return tuple(self._stream.parts)

    @property
    def left(self) -> list[bytes]:
        """Those that were not acknowledged."""
        return self._stream.parts[self.acked :]

    def add(self, index: int, data: bytes) -> None:
        """The worker made the next one; `PartRefused` when it is none."""
        self._stream.add(index, data)

    def acknowledge(self, held: int) -> bool:
        """The submitter has so many; whether that is news."""
        before, self.acked = self.acked, max(self.acked, min(held, len(self._stream.parts)))
        self.sent = max(self.sent, self.acked)
        return self.acked > before

    def due(self) -> Iterator[tuple[int, bytes]]:
        """Those that may be said now, with their index; they count as said."""
        parts, flying = self._stream.parts, sum(map(len, self._stream.parts[self.acked : self.sent]))
        while self.sent < min(len(parts), self.acked + WINDOW):
            flying += len(parts[self.sent])
            if self.sent > self.acked and flying > WINDOW_BYTES:
                return
            self.sent += 1
            yield self.sent - 1, parts[self.sent - 1]


def hand_on(net: Network, key: tuple[str, str, int], parts: Outgoing | None, now: float, *, again: bool = False) -> bool:
    """Say what may be said of an attempt's parts; `again`: what was said may be lost. False when the submitter has them all."""
    if parts is None or not parts.left:
        return False
    if again:
        parts.sent = parts.acked
    for index, data in parts.due():
        parts.at = now
        net.send(DeviceId(key[0]), StreamedPart.of(key[1], key[2], index, data))
    return True
