"""The server name by which a dialler says, to the right listener alone, who is calling (pairing §3)."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable

from .pairs import Pair
from .seams import DeviceId

SUFFIX = ".moodmesh.invalid"
NONCES_PER_RID = 10_000
_NAME = re.compile(r"([0-9a-f]{32})\.moodmesh\.invalid")


def server_name(pair: Pair, us: DeviceId, rid: bytes) -> str:
    """A fresh name for one connection to `pair`, whose current or previous rid this is."""
    nonce = os.urandom(8)
    return (nonce + _tag(pair.k_pair, us, pair.peer, rid, nonce)).hex() + SUFFIX


class Nonces:
    """The nonces taken per rid: each opens one connection; a full book opens none."""

    def __init__(self, limit: int = NONCES_PER_RID) -> None:
        self._limit = limit
        self._taken: dict[bytes, set[bytes]] = {}

    def take(self, rid: bytes, nonce: bytes) -> bool:
        """True the first time, as long as there is room."""
        taken = self._taken.setdefault(rid, set())
        if nonce in taken or len(taken) >= self._limit:
            return False
        taken.add(nonce)
        return True

    def keep(self, rids: Iterable[bytes]) -> None:
        """Forget the nonces of all other rids."""
        self._taken = {rid: self._taken.get(rid, set()) for rid in rids}


def caller(name: str | None, us: DeviceId, rids: Iterable[bytes], pairs: Iterable[Pair], nonces: Nonces) -> Pair | None:
    """Who is calling by this server name, None for strangers, old rids and replays."""
    found = _NAME.fullmatch(name or "")
    if found is None:
        return None
    nonce, tag = bytes.fromhex(found[1])[:8], bytes.fromhex(found[1])[8:]
    known = tuple(pairs)
    for rid in rids:
        for pair in known:
            if hmac.compare_digest(tag, _tag(pair.k_pair, pair.peer, us, rid, nonce)):
                return pair if nonces.take(rid, nonce) else None
    return None


def _tag(k_pair: bytes, dialler: DeviceId, listener: DeviceId, rid: bytes, nonce: bytes) -> bytes:
    direction = b"\x00" if dialler < listener else b"\x01"  # 0: the lower DeviceId dials
    return hmac.digest(k_pair, b"moodmesh/pair/v1/sni" + direction + rid + nonce, "sha256")[:8]
