"""Pairs in the store: the mesh's book is filled from here, and every change is durable before it takes effect."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from pydantic import ValidationError

from moodmesh.mesh.address import Address
from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.mesh.reach import by_radio
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import NotFound
from moodmesh.nodes.messages import Capability
from moodmesh.nodes.store import Store

HALF_LIFE_S = 600.0
KEPT_ADDRESSES = 3
CORRECTED = 0.05
"""A correction that moved by more (5 %) is written down."""


class PairBook:
    """Add, confirm and forget pairs, and remember where each was last reached, and what it could do then."""

    def __init__(self, store: Store, pairs: Pairs, wall: Callable[[], float]) -> None:
        self._store, self.pairs, self._wall = store, pairs, wall
        self.addresses: dict[DeviceId, list[Address]] = {}
        self.stored: dict[DeviceId, float] = {}
        self.corrections: dict[DeviceId, float] = {}
        self.remembered: dict[DeviceId, tuple[Capability, float]] = {}

    async def load(self) -> None:
        """Fill the book; a half-paired entry older than ten minutes is deleted (pairing §5.1)."""
        await self.expire()

        def read(db: sqlite3.Connection) -> None:
            for row in db.execute("SELECT * FROM peer"):
                peer = DeviceId(row["device"])
                self.corrections[peer] = row["correction"]
                self.addresses[peer] = [(host, port) for host, port in json.loads(row["addresses"])]
                if row["document"] is not None:
                    self._remember(peer, row["document"], row["last_seen"])
                self.pairs.add(Pair(peer, row["name"], row["certificate"], row["k_pair"], bool(row["half"]), row["paired"]))

        await self._store.read(read)

    def _remember(self, peer: DeviceId, document: str, at: float) -> None:
        with contextlib.suppress(ValidationError):  # of another version: it says anew what it can do when it is back
            self.remembered[peer] = Capability.model_validate_json(document), at

    def away(self) -> dict[DeviceId, tuple[Capability, float]]:
        """What peers could do, and for how long each had been away when any peer was last here: the time that this device
        itself was off is no absence of others."""
        last = max((at for _, at in self.remembered.values()), default=0.0)
        return {peer: (document, last - at) for peer, (document, at) in self.remembered.items()}

    async def add(self, pair: Pair) -> None:
        """Store a new pair, under a name no other peer has."""
        taken = {other.name for other in self.pairs if other.peer != pair.peer}
        name = next(n for n in (pair.name, *(f"{pair.name}-{i}" for i in range(2, 1000))) if n not in taken)
        pair = replace(pair, name=name)

        def write(db: sqlite3.Connection) -> None:
            row = (pair.peer, pair.name, pair.certificate, pair.k_pair, pair.half, pair.paired_at)
            db.execute(
                "INSERT OR REPLACE INTO peer (device, name, certificate, k_pair, half, paired) VALUES (?, ?, ?, ?, ?, ?)", row
            )

        await self._store.write("pair.add", write)
        self.stored[pair.peer] = time.monotonic()
        self.pairs.add(pair)

    async def confirm(self, peer: DeviceId) -> None:
        """A half-paired peer proved itself over mutual TLS."""
        pair = self.pairs.get(peer)
        if pair is not None and pair.half:
            await self._store.write("pair.confirm", lambda db: db.execute("UPDATE peer SET half=0 WHERE device=?", (peer,)))
            self.pairs.add(replace(pair, half=False))

    async def forget(self, peer: DeviceId) -> None:
        """Drop pin, secret, rules and quotas; the live link closes, its jobs are ended."""
        self.pairs.remove(peer)
        self.addresses.pop(peer, None)
        self.corrections.pop(peer, None)

        def write(db: sqlite3.Connection) -> None:
            for table in ("usage", "peer"):
                db.execute(f"DELETE FROM {table} WHERE device=?", (peer,))  # noqa: S608 - names from this line
            db.execute("DELETE FROM execution WHERE requester=?", (peer,))

        await self._store.write("pair.forget", write)
        await self._store.scrub()

    async def expire(self) -> None:
        """Delete pairs that stayed half for ten minutes."""
        for pair in [p for p in self.pairs if p.half and p.paired_at < self._wall() - HALF_LIFE_S]:
            await self.forget(pair.peer)
        old = self._wall() - HALF_LIFE_S
        await self._store.write("pair.expire", lambda db: db.execute("DELETE FROM peer WHERE half=1 AND paired < ?", (old,)))

    async def reached(self, peer: DeviceId, address: Address) -> None:
        """Remember the last three good addresses of a peer; what is behind a radio is not there for long."""
        others = [a for a in self.addresses.get(peer, []) if a != address]
        kept = [*([] if by_radio(address[0]) else [address]), *others][:KEPT_ADDRESSES]
        self.addresses[peer] = kept
        row = (json.dumps(kept), self._wall(), peer)
        await self._store.write(
            "pair.reached", lambda db: db.execute("UPDATE peer SET addresses=?, last_seen=? WHERE device=?", row)
        )

    async def corrected(self, peer: DeviceId, value: float) -> None:
        """Remember what a peer's claims are worth."""
        if abs(value - self.corrections.get(peer, 0.0)) > CORRECTED:
            self.corrections[peer] = value
            row = (value, peer)
            await self._store.write("pair.corrected", lambda db: db.execute("UPDATE peer SET correction=? WHERE device=?", row))

    async def seen(self, documents: Mapping[DeviceId, Capability]) -> None:
        """Remember what linked peers can do, and that they were here."""
        rows = [(document.model_dump_json(), self._wall(), peer) for peer, document in documents.items()]
        await self._store.write(
            "pair.seen", lambda db: db.executemany("UPDATE peer SET document=?, last_seen=? WHERE device=?", rows)
        )

    def find(self, name: str) -> Pair:
        """The pair with this name or DeviceId (or a prefix of at least six characters of it)."""
        found = [p for p in self.pairs if p.name == name] or [
            p for p in self.pairs if len(name) >= 6 and p.peer.startswith(name.replace(" ", "").replace("-", "").lower())
        ]
        if len(found) != 1:
            known = ", ".join(sorted(p.name for p in self.pairs)) or "none yet: `moodmesh pair`"
            raise NotFound(f"{'several peers match' if found else 'no peer is called'} {name!r}; paired: {known}")
        return found[0]
