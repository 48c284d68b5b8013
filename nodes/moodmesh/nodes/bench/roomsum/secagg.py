"""Plain secure aggregation by pairwise masks, as the reference (Bonawitz et al., 2017; neighbours: Bell et al., 2020).

With the primitives that rooms use, and for honest but curious parties: no noise, no signatures, no consistency check.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from moodmesh.privacy.sums.shamir import combine, share

Vector = NDArray[np.uint32]
NONCE = bytes(12)
LIMBS, LIMB_BITS = 9, 30
"""A key of 32 bytes as numbers below the modulus of the shares."""
SHARE_BYTES = 4 * LIMBS
GRAPH = {3: (2, 2), 10: (9, 7), 30: (29, 20), 100: (42, 22), 1000: (74, 45)}
"""Neighbours and threshold by people (room-mood §13)."""


class Cost(NamedTuple):
    """Processor time of a client on average and of the server, bytes that a client sends, and whether the sum was right."""

    client_ms: float
    server_ms: float
    up_bytes: int
    right: bool


class Client:
    """One party: keys, shares of its secrets to its neighbours, a masked vector, and the shares that unmask the sum."""

    def __init__(self, own: int, vector: Vector) -> None:
        self._own, self._vector = own, vector
        self._seal, self._mask, self._seed = X25519PrivateKey.generate(), X25519PrivateKey.generate(), os.urandom(32)
        self.public = self._seal.public_key().public_bytes_raw(), self._mask.public_key().public_bytes_raw()

    def shares(self, publics: Mapping[int, tuple[bytes, bytes]], t: int) -> dict[int, bytes]:
        """Of its seed and of its masking key, sealed for each neighbour."""
        self._publics = publics
        self._channels = {j: ChaCha20Poly1305(_agreed(self._seal, seal)) for j, (seal, _) in publics.items()}
        secrets = _limbs(self._seed) + _limbs(self._mask.private_bytes_raw())
        rows = share(np.array(secrets), t, len(publics)).astype("<u4")
        return {
            j: channel.encrypt(_nonce(self._own, j), row.tobytes(), None)
            for (j, channel), row in zip(self._channels.items(), rows, strict=True)
        }

    def masked(self, sealed: Mapping[int, bytes]) -> Any:
        """Its vector, under its own mask and one with each neighbour who shared."""
        self._held = {j: self._channels[j].decrypt(_nonce(j, self._own), box, None) for j, box in sealed.items()}
        total: Any = self._vector + stream(self._seed, len(self._vector))
        for j in sealed:
            mask = stream(_agreed(self._mask, self._publics[j][1]), len(total))
            total = total + mask if self._own > j else total - mask
        return total

    def unmask(self, gone: set[int]) -> dict[int, bytes]:
        """Its share of each neighbour's seed, or of the masking key of those who are gone: never of both."""
        return {j: held[SHARE_BYTES:] if j in gone else held[:SHARE_BYTES] for j, held in self._held.items()}


def unmasked(
    vectors: Mapping[int, Vector], shares: Mapping[int, Mapping[int, bytes]], publics: Sequence[tuple[bytes, bytes]],
    neighbours: Mapping[int, Sequence[int]], t: int,
) -> Any:  # fmt: skip
    """The server: the sum of the masked vectors without the masks. `shares`: by whose secret it is, then by who sent it."""
    total: Any = np.sum(list(vectors.values()), axis=0, dtype=np.uint32)
    for i, told in shares.items():
        senders = list(told)[:t]
        xs = [neighbours[i].index(j) + 1 for j in senders]
        secret = _key(combine(xs, np.array([np.frombuffer(told[j], "<u4") for j in senders], dtype=np.int64)))
        if i in vectors:
            total = total - stream(secret, len(total))
            continue
        own = X25519PrivateKey.from_private_bytes(secret)
        for j in neighbours[i]:
            if j in vectors:
                mask = stream(_agreed(own, publics[j][1]), len(total))
                total = total - mask if j > i else total + mask
    return total


def measure(n: int, d: int, missing: int) -> Cost:
    """One sum of `n`, of whom `missing` vanish between their shares and their vectors, where it costs most."""
    degree, t = GRAPH[n]
    vectors = np.random.default_rng().integers(0, 2**32, (n, d), dtype=np.uint32)
    neighbours = {i: _around(i, n, degree) for i in range(n)}
    spent, sent, mark = 0.0, 0, time.process_time()
    clients = [Client(i, vectors[i]) for i in range(n)]
    publics = [client.public for client in clients]
    boxes = [client.shares({j: publics[j] for j in neighbours[i]}, t) for i, client in enumerate(clients)]
    spent, sent = time.process_time() - mark, n * 64 + sum(len(box) for out in boxes for box in out.values())
    here = sorted(random.sample(range(n), n - missing))
    gone = set(range(n)) - set(here)
    inboxes = {i: {j: boxes[j][i] for j in neighbours[i]} for i in here}
    mark = time.process_time()
    masked = {i: clients[i].masked(inboxes[i]) for i in here}
    answers = {i: clients[i].unmask(gone) for i in here}
    late = time.process_time() - mark
    told: dict[int, dict[int, bytes]] = {i: {} for i in range(n)}
    mark = time.process_time()
    for j, answer in answers.items():
        for i, part in answer.items():
            told[i][j] = part
    found = unmasked(masked, told, publics, neighbours, t)
    server = time.process_time() - mark
    up = sent / n + 4 * d + sum(len(part) for answer in answers.values() for part in answer.values()) / len(here)
    right = bool((found == vectors[here].sum(axis=0, dtype=np.uint32)).all())
    return Cost(1000 * (spent / n + late / len(here)), 1000 * server, round(up), right)


def stream(seed: bytes, d: int) -> Vector:
    """`d` numbers from a seed: the key stream of ChaCha20."""
    return np.frombuffer(ChaCha20Poly1305(seed).encrypt(NONCE, bytes(4 * d), None)[: 4 * d], dtype="<u4")


def _around(i: int, n: int, degree: int) -> list[int]:
    """The neighbours of `i` on a ring; everybody, where that is as many."""
    if degree == n - 1:
        return [j for j in range(n) if j != i]
    return [(i + step) % n for step in range(-(degree // 2), degree // 2 + 1) if step]


def _agreed(own: X25519PrivateKey, theirs: bytes) -> bytes:
    secret = own.exchange(X25519PublicKey.from_public_bytes(theirs))
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"reference").derive(secret)


def _nonce(sender: int, recipient: int) -> bytes:
    return sender.to_bytes(6, "little") + recipient.to_bytes(6, "little")


def _limbs(key: bytes) -> list[int]:
    number = int.from_bytes(key, "little")
    return [number >> LIMB_BITS * k & (1 << LIMB_BITS) - 1 for k in range(LIMBS)]


def _key(limbs: NDArray[np.int64]) -> bytes:
    number: int = sum(limb << LIMB_BITS * k for k, limb in enumerate(limbs.tolist()))
    return number.to_bytes(32, "little")
