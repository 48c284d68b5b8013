"""Whether the bytes that a device sent in one epoch tell that it is the one that sent others in another (room-mood §12, 14).

Two epochs of a device are compared by the strings that occur in both. What two other devices say too is the protocol's, not its
own, so there must be enough devices of each sort. Four bytes may agree by chance: two different devices say how often. Eight do
not. Addresses and sizes may be known: the peer port of a device and the heads of TLS records are cut out of what it says, and so
is what it says of others, their rids and mDNS labels, which are theirs.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moodmesh.nodes.bench.roomfaults.witness import EVENTS, UDP, Sent, captured

SHORT, LONG = 4, 8
RECORD_HEAD = 5
GOODBYE_S = 1.0
"""So long after the boundary a datagram that names the old identifier says goodbye to the epoch before."""
SIGMAS, FREE = 5.0, 3
MASK = np.uint64(2**32 - 1)
Grams = NDArray[np.uint64]


@dataclass(frozen=True)
class Found:
    """Of one device: strings of 4 bytes that one epoch has in common with the next, the most that two different devices have in
    common in as many comparisons, and strings of 8 bytes that any two of its epochs have in common."""

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


class Capture:
    """What one device sent, by epoch; `names` are what others may call it by, `port` its peer port."""

    def __init__(self, sent: Iterable[Sent], events: Sequence[Mapping[str, Any]], port: int) -> None:
        self._sent, self._port = list(sent), port
        self._turns: list[tuple[float, tuple[bytes, ...]]] = []
        self.names: set[bytes] = set()
        label = b""
        for event in events:
            if event["what"] == "boundary":
                rid = bytes.fromhex(event["old"])
                self._turns.append((event["at"], tuple(filter(None, (rid, rid.hex().encode(), label)))))
            elif event.get("of") == "mdns":
                label = event["to"].encode()
            elif event.get("of") == "rid":
                self.names |= {bytes.fromhex(event["to"]), event["to"].encode()}
            self.names |= {label} if label else set()
        self.names |= {word for _, old in self._turns for word in old}

    def pieces(self, others: set[bytes]) -> dict[int, list[bytes]]:
        """By epoch, without its port and without what `others` are called."""
        port = self._port.to_bytes(2, "big")
        cuts = re.compile(b"|".join(re.escape(word) for word in (port, port[::-1])))
        named = re.compile(b"|".join(re.escape(word) for word in sorted(others)) or b"(?!)")
        found: dict[int, list[bytes]] = defaultdict(list)
        for one in self._sent:
            epoch = one.epoch - self._goodbye(one)
            if one.kind != UDP:
                found[epoch] += records(one.data)
                continue
            parts = named.split(one.data) if b"_moodmesh" in one.data else [one.data]
            found[epoch] += [piece for part in parts for piece in cuts.split(part)]
        return found

    def _goodbye(self, one: Sent) -> bool:
        return one.kind == UDP and any(
            0 <= one.at - at < GOODBYE_S and any(word in one.data for word in old) for at, old in self._turns
        )


def examine(homes: Mapping[str, tuple[Path, int]]) -> list[Found]:
    """Each device, given its home and its peer port, beside the others."""
    return compare(told(homes))


def told(homes: Mapping[str, tuple[Path, int]]) -> dict[str, dict[int, list[bytes]]]:
    """What they sent, by device and epoch, ready to be compared."""
    captures = {name: Capture(captured(home), noted(home), port) for name, (home, port) in homes.items()}
    return {
        name: one.pieces({word for other, c in captures.items() if other != name for word in c.names})
        for name, one in captures.items()
    }


def turns(home: Path) -> list[dict[str, float]]:
    """For each boundary of a device, the seconds after which each of its identifiers was another one: `hello` and `mdns` when
    first sent, the others as its process noted it."""
    sent, events, found = list(captured(home)), noted(home), []
    for k, event in enumerate(events):
        if event["what"] != "boundary":
            continue
        after = itertools.takewhile(lambda e: e["what"] != "boundary", events[k + 1 :])
        turned = {e["of"]: e for e in reversed([e for e in after if e["what"] == "turn"])}
        rid = turned["rid"]["to"]
        first = {
            name: next((s.at for s in sent if s.kind == UDP and word in s.data and s.at > event["at"]), math.inf)
            for name, word in (("hello", bytes.fromhex(rid)), ("mdns", rid.encode()))
        }
        noticed = {name: e["at"] for name, e in turned.items() if name != "mdns"}
        found.append({name: at - event["at"] for name, at in {**noticed, **first}.items()})
    return found


def noted(home: Path) -> list[dict[str, Any]]:
    """What the witness of a device wrote."""
    return [json.loads(line) for line in (home / EVENTS).read_bytes().split(b"\n")[:-1]]


def compare(said: Mapping[str, Mapping[int, Sequence[bytes]]]) -> list[Found]:
    """The same of pieces by device and epoch."""
    names = list(said)
    short = {name: {epoch: grams(pieces, SHORT) for epoch, pieces in said[name].items()} for name in names}
    own = {name: _neighbours(short[name], short[name]) for name in names}
    cross = {(a, b): _neighbours(short[a], short[b]) for a in names for b in names if a != b}
    who = _presence([*own.values(), *cross.values()], {name: list(epochs.values()) for name, epochs in short.items()})
    pairs = {key: sum(epoch + 1 in short[key[1]] for epoch in short[key[0]]) for key in cross}
    rates = [_count(cross[pair], who, {pair[0]}) / pairs[pair] for pair in cross if pairs[pair]]
    chance = max(rates, default=0.0)
    found = []
    for name, long in zip(names, _long(said), strict=True):
        compared = sum(epoch + 1 in short[name] for epoch in short[name])
        found.append(Found(name, compared, _count(own[name], who, {name}), chance * compared, long))
    return found


def grams(pieces: Sequence[bytes], size: int) -> Grams:
    """All different strings of `size` bytes within pieces, as integers."""
    data = np.frombuffer(b"".join(pieces), dtype=np.uint8).astype(np.uint64)
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    ends = np.repeat(np.cumsum(lengths), lengths)
    count = max(0, len(data) - size + 1)
    whole = np.zeros(count, dtype=np.uint64)
    for k in range(size):
        whole |= data[k : k + count] << np.uint64(8 * k)
    inside = np.arange(count) + size <= ends[:count]
    return np.unique(whole[inside])


def records(data: bytes) -> list[bytes]:
    """The insides of TLS records, each whole."""
    found, at = [], 0
    while at + RECORD_HEAD <= len(data):
        size = int.from_bytes(data[at + 3 : at + RECORD_HEAD], "big")
        found.append(data[at + RECORD_HEAD : at + RECORD_HEAD + size])
        at += RECORD_HEAD + size
    return found


def _neighbours(one: Mapping[int, Grams], other: Mapping[int, Grams]) -> list[Grams]:
    """What each epoch of one has in common with the next of the other."""
    return [np.intersect1d(found, other[epoch + 1], assume_unique=True) for epoch, found in one.items() if epoch + 1 in other]


def _presence(asked: Sequence[Sequence[Grams]], said: Mapping[str, Sequence[Grams]]) -> dict[int, frozenset[str]]:
    """Which devices ever said each of these."""
    wanted = np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *(g for several in asked for g in several)]))
    who: dict[int, set[str]] = {int(gram): set() for gram in wanted}
    for name, several in said.items():
        for found in several:
            for gram in np.intersect1d(wanted, found, assume_unique=True):
                who[int(gram)].add(name)
    return {gram: frozenset(names) for gram, names in who.items()}


def _count(several: Sequence[Grams], who: Mapping[int, frozenset[str]], of: set[str]) -> int:
    """Without what two others say too."""
    return sum(len(who[int(gram)] - of) < 2 for found in several for gram in found)


def _long(said: Mapping[str, Mapping[int, Sequence[bytes]]]) -> list[tuple[str, ...]]:
    """By device, the strings of 8 bytes that two of its epochs, near or far, have in common, when 4 bytes in a row of them are
    not the protocol's, which two others say."""
    twice = {}
    for name, epochs in said.items():
        found, counts = np.unique(
            np.concatenate([np.empty(0, dtype=np.uint64), *(grams(p, LONG) for p in epochs.values())]), return_counts=True
        )
        twice[name] = found[counts > 1]
    parts = {
        n: [np.unique(np.concatenate([several >> np.uint64(8 * k) & MASK for k in range(LONG - SHORT + 1)]))]
        for n, several in twice.items()
    }
    who = _presence([*parts.values()], {n: [grams(p, SHORT) for p in epochs.values()] for n, epochs in said.items()})

    def own(gram: int, name: str) -> bool:
        usual = [len(who[gram >> 8 * k & int(MASK)] - {name}) >= 2 for k in range(LONG - SHORT + 1)]
        left = "".join("." if any(usual[max(0, at - SHORT + 1) : at + 1]) else "x" for at in range(LONG))
        return "x" * SHORT in left

    return [
        tuple(int(g).to_bytes(LONG, "little").hex() for g in several if own(int(g), name)) for name, several in twice.items()
    ]
