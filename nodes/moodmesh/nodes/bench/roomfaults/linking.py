"""Whether what a device said in one epoch tells that it is the one that said something else in another (room-mood §12, 14).

Two epochs of a device are compared by the strings that occur in both. What two other devices say too is the protocol's, not
its own, so there must be enough devices of each sort. Four bytes may agree by chance: two different devices say how often.
Eight do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHORT, LONG = 4, 8
SIGMAS, FREE, USUAL = 5.0, 3, 0.9
Grams = NDArray[np.uint64]
Epochs = Mapping[int, Grams]
Sayers = Mapping[int, frozenset[str]]
NONE = np.empty(0, dtype=np.uint64)


@dataclass(frozen=True)
class Found:
    """Of one device: strings of 4 bytes that one epoch has in common with the next, the most that nine of ten pairs of other
    devices have in common in as many comparisons, and strings of 8 bytes that any two of its epochs have in common."""

    who: str
    compared: int
    common: int
    chance: float
    long: tuple[str, ...] = ()

    @property
    def linked(self) -> bool:
        """Whether somebody who listens can tell."""
        return bool(self.long) or self.common > self.chance + SIGMAS * math.sqrt(self.chance) + FREE

    def __str__(self) -> str:
        found = f"{self.who}: {self.common} strings of 4 bytes in common in {self.compared} pairs of epochs"
        found += f", two devices at most {self.chance:.1f}"
        return found + (f"; LINKED by {', '.join(self.long[:5])}" if self.long else "; LINKED" if self.linked else "")


def compare(said: Mapping[str, Mapping[int, Sequence[bytes]]]) -> list[Found]:
    """Each device beside the others, given the pieces that it said, by epoch."""
    short = {name: {epoch: grams(pieces, SHORT) for epoch, pieces in epochs.items()} for name, epochs in said.items()}
    both = {(one, other): _next(short[one], short[other]) for one in said for other in said}
    again = {name: _again([grams(pieces, LONG) for pieces in epochs.values()]) for name, epochs in said.items()}
    who = _sayers([*(g for several in both.values() for g in several), *map(_parts, again.values())], short)
    counts = {pair: sum(_own(int(gram), pair[0], who) for found in several for gram in found) for pair, several in both.items()}
    rates = [counts[pair] / len(both[pair]) for pair in both if pair[0] != pair[1] and both[pair]]
    chance = float(np.quantile(rates, USUAL)) if rates else 0.0
    return [
        Found(
            name, len(both[name, name]), counts[name, name], chance * len(both[name, name]),
            tuple(int(gram).to_bytes(LONG, "little").hex() for gram in again[name] if _stands_out(int(gram), name, who)),
        )
        for name in said
    ]  # fmt: skip


def grams(pieces: Sequence[bytes], size: int) -> Grams:
    """All different strings of `size` bytes within pieces, as integers."""
    data = np.frombuffer(b"".join(pieces), dtype=np.uint8).astype(np.uint64)
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    ends = np.repeat(np.cumsum(lengths), lengths)
    count = max(0, len(data) - size + 1)
    whole = np.zeros(count, dtype=np.uint64)
    for k in range(size):
        whole |= data[k : k + count] << np.uint64(8 * k)
    return np.unique(whole[np.arange(count) + size <= ends[:count]])


def _next(one: Epochs, other: Epochs) -> list[Grams]:
    """What each epoch of one has in common with the next of the other."""
    return [np.intersect1d(found, other[epoch + 1], assume_unique=True) for epoch, found in one.items() if epoch + 1 in other]


def _again(several: Sequence[Grams]) -> Grams:
    """What is in two of them or more."""
    found, counts = np.unique(np.concatenate([NONE, *several]), return_counts=True)
    return found[counts > 1]


def _parts(long: Grams) -> Grams:
    """All short strings within long ones."""
    mask = np.uint64(256**SHORT - 1)
    return np.concatenate([long >> np.uint64(8 * k) & mask for k in range(LONG - SHORT + 1)])


def _sayers(asked: Sequence[Grams], said: Mapping[str, Epochs]) -> Sayers:
    """Which devices ever said each of these."""
    wanted = np.unique(np.concatenate([NONE, *asked]))
    who: dict[int, set[str]] = {int(gram): set() for gram in wanted}
    for name, epochs in said.items():
        for gram in np.intersect1d(wanted, np.unique(np.concatenate([NONE, *epochs.values()])), assume_unique=True):
            who[int(gram)].add(name)
    return {gram: frozenset(names) for gram, names in who.items()}


def _own(gram: int, name: str, who: Sayers) -> bool:
    """Whether no two others say it too."""
    return len(who[gram] - {name}) < 2


def _stands_out(gram: int, name: str, who: Sayers) -> bool:
    """Whether 4 bytes in a row of a string of 8 are left without what two others say too."""
    usual = [not _own(gram >> 8 * k & 256**SHORT - 1, name, who) for k in range(LONG - SHORT + 1)]
    left = "".join(" " if any(usual[max(0, at - SHORT + 1) : at + 1]) else "x" for at in range(LONG))
    return "x" * SHORT in left
