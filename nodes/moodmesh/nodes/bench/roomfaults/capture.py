"""What devices said on the wire, by epoch, without what may be known of them: addresses, sizes, and what they say of others."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moodmesh.nodes.bench.roomfaults.witness import EVENTS, UDP, Sent, captured

GOODBYE_S = 1.0
"""So long after the boundary a datagram that names the old identifier says goodbye to the epoch before."""
RECORD_HEAD = 5


def told(homes: Mapping[str, tuple[Path, int]]) -> dict[str, dict[int, list[bytes]]]:
    """Of each device, given its home and its peer port: what it sent, by epoch."""
    captures = {name: Capture(captured(home), noted(home), port) for name, (home, port) in homes.items()}
    return {
        name: one.pieces({word for other, c in captures.items() if other != name for word in c.names})
        for name, one in captures.items()
    }


def noted(home: Path) -> list[dict[str, Any]]:
    """What the witness of a device wrote."""
    return [json.loads(line) for line in (home / EVENTS).read_bytes().split(b"\n")[:-1]]


class Capture:
    """What one device sent; `names`: what others may call it by, its rids and its mDNS labels."""

    def __init__(self, sent: Iterable[Sent], events: Sequence[Mapping[str, Any]], port: int) -> None:
        self._sent, self._port = list(sent), port
        self._turns: list[tuple[float, tuple[bytes, ...]]] = []
        self.names: set[bytes] = set()
        label: tuple[bytes, ...] = ()
        for event in events:
            if event["what"] == "boundary":
                self._turns.append((event["at"], (*_rid(event["old"]), *label)))
                self.names.update(self._turns[-1][1])
            elif event.get("of") == "mdns":
                label = (event["to"].encode(),)
                self.names.update(label)
            elif event.get("of") == "rid":
                self.names.update(_rid(event["to"]))

    def pieces(self, others: set[bytes]) -> dict[int, list[bytes]]:
        """By epoch, cut at its port, at the heads of TLS records, and at what `others` are called."""
        port = self._port.to_bytes(2, "big")
        cuts, named = _any_of({port, port[::-1]}), _any_of(others)
        found: dict[int, list[bytes]] = defaultdict(list)
        for one in self._sent:
            if one.kind != UDP:
                found[one.epoch] += records(one.data)
                continue
            parts = named.split(one.data) if b"_moodmesh" in one.data else [one.data]  # a hello names nobody else
            found[one.epoch - self._goodbye(one)] += [piece for part in parts for piece in cuts.split(part)]
        return found

    def _goodbye(self, one: Sent) -> bool:
        return any(0 <= one.at - at < GOODBYE_S and any(word in one.data for word in old) for at, old in self._turns)


def records(data: bytes) -> list[bytes]:
    """The insides of TLS records, each whole."""
    found, at = [], 0
    while at + RECORD_HEAD <= len(data):
        size = int.from_bytes(data[at + 3 : at + RECORD_HEAD], "big")
        found.append(data[at + RECORD_HEAD : at + RECORD_HEAD + size])
        at += RECORD_HEAD + size
    return found


def turns(home: Path) -> list[dict[str, float]]:
    """For each boundary of a device, the seconds after which each of its identifiers was another one: `hello` and `mdns` when
    first sent, the others as its process noted it."""
    sent, events, found = [one for one in captured(home) if one.kind == UDP], noted(home), []
    for k, event in enumerate(events):
        if event["what"] != "boundary":
            continue
        after = [e for e in itertools.takewhile(lambda e: e["what"] != "boundary", events[k + 1 :]) if e["what"] == "turn"]
        turned = {e["of"]: e["at"] for e in reversed(after)}
        raw, text = _rid(next(e["to"] for e in after if e["of"] == "rid"))
        turned |= {
            name: next((s.at for s in sent if word in s.data and s.at > event["at"]), math.inf)
            for name, word in (("hello", raw), ("mdns", text))
        }
        found.append({name: at - event["at"] for name, at in turned.items()})
    return found


def _rid(text: str) -> tuple[bytes, bytes]:
    """As in a hello, and as in a TXT record."""
    return bytes.fromhex(text), text.encode()


def _any_of(words: set[bytes]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(map(re.escape, sorted(words))) or b"(?!)")
