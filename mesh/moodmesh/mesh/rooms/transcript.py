"""What the messages of a run are bound to: hashes, keys and orders that all of its members compute alike (room-mood §5)."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl import bindings as sodium
from nacl.exceptions import BadSignatureError

from .wire import HASH, KEY, S1_BYTES, S2_BYTES, SIG, Malformed

SUITE = 1
MOST_RELAYS = 5
"""So many of the relays of a draw are tried, and listened to."""
_PUBLIC = b"moodmesh/roomsum/v1/"
_PRIME = 2**255 - 19
_SMALL_ORDER = {
    0,
    1,
    _PRIME - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
}
"""Of Curve25519 and its twist: orders 1, 2, 4 and 8 (Bernstein, 2006)."""
_SEAT = struct.Struct(f"{KEY}s{KEY}s{HASH}s{SIG}s")


@cache
def label(name: str) -> bytes:
    """`L(name)` of the specification."""
    return _PUBLIC + name.encode("ascii")


def digest(*parts: bytes) -> bytes:
    """SHA-256 of the parts in a row."""
    return hashlib.sha256(b"".join(parts)).digest()


def u16(value: int) -> bytes:
    """Two bytes."""
    return value.to_bytes(2, "little")


@dataclass(frozen=True)
class Params:
    """What the members of a run agree on. `eps` in thousandths, `sigma` in integer units, 0 where the kind has none; `honest`:
    how many contributors of an opened set are taken to be honest, 0 where nothing rests on it."""

    kind: str
    n_min: int
    m: int
    t: int
    eps: int = 0
    sigma: int = 0
    honest: int = 0
    d: int = 2
    scale: int = 4096
    p: int = 2**31 - 1
    suite: int = SUITE
    groups: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.t <= self.m or self.d < 1:
            raise ValueError(f"{self.t} of {self.m} cannot open a sum")

    def canonical(self) -> bytes:
        """JSON with sorted keys, without spaces, integers only."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode("ascii")

    @property
    def exact(self) -> bool:
        """A circle: everybody contributes and everybody is needed, so nothing can be checked and nothing needs masks."""
        return self.kind == "circle"

    @property
    def part_bytes(self) -> int:
        """A sealed vector of shares for one member of the committee."""
        return 12 + 4 * self.d * (1 if self.exact else 3) + 16


class Run(NamedTuple):
    """One attempt of a room in an epoch."""

    room: bytes
    epoch: int
    attempt: int

    @property
    def bytes(self) -> bytes:
        """As it stands in everything that is signed."""
        return self.room + self.epoch.to_bytes(8, "little") + bytes([self.attempt])


class Keys:
    """The keys of a member for one run, never used again."""

    def __init__(self, run: Run, nonce: bytes, x: X25519PrivateKey | None = None, e: Ed25519PrivateKey | None = None) -> None:
        self.run, self.nonce = run, nonce
        self.x, self._e = x or X25519PrivateKey.generate(), e or Ed25519PrivateKey.generate()
        self.x_pub, self.e_pub = self.x.public_key().public_bytes_raw(), self._e.public_key().public_bytes_raw()

    def sign(self, name: str, *parts: bytes) -> bytes:
        """A signature over a labelled statement."""
        return self._e.sign(label(name) + b"".join(parts))

    def claim(self, device: str) -> bytes:
        """That the signing key is this device's: nobody else can say so of it."""
        return self.sign("claim", self.run.bytes[:-1], device.encode("ascii"))

    def join(self) -> bytes:
        """S1."""
        fields = self.x_pub + self.e_pub + commitment(self.run, self.e_pub, self.nonce)
        return fields + self.sign("S1", self.run.bytes, fields)

    def reveal(self, roster_hash: bytes) -> bytes:
        """S2."""
        return self.nonce + self.sign("S2", self.run.bytes, roster_hash)


def commitment(run: Run, e_pub: bytes, nonce: bytes) -> bytes:
    """What a member binds itself to before it has seen the others' nonces."""
    return digest(label("nonce"), run.bytes, e_pub, nonce)


def verified(e_pub: bytes, signature: bytes, name: str, *parts: bytes) -> bool:
    """Whether the holder of a key signed a labelled statement."""
    if len(signature) != SIG or len(e_pub) != KEY:  # libsodium does not look; it takes half of the time of OpenSSL
        return False
    try:
        sodium.crypto_sign_open(b"".join((signature, label(name), *parts)), e_pub)
    except BadSignatureError:
        return False
    return True


def claimed(e_pub: bytes, proof: bytes, room: bytes, epoch: int, device: str) -> bool:
    """Whether the holder of a key said that it is the one of this device, for all runs of a room in an epoch."""
    return verified(e_pub, proof, "claim", Run(room, epoch, 0).bytes[:-1], device.encode("ascii"))


class Seat(NamedTuple):
    """A member in the roster, as it joined."""

    x_pub: bytes
    e_pub: bytes
    commit: bytes
    sig: bytes

    @classmethod
    def read(cls, body: bytes) -> Seat:
        """Of S1; `Malformed`, also for a key with which nobody could have a secret."""
        if len(body) != S1_BYTES:
            raise Malformed("keys of another size")
        seat = cls(*_SEAT.unpack(body))
        if int.from_bytes(seat.x_pub, "little") % 2**255 % _PRIME in _SMALL_ORDER:
            raise Malformed("a key of small order")
        return seat

    @property
    def body(self) -> bytes:
        """S1 again."""
        return b"".join(self)

    def genuine(self, run: Run) -> bool:
        """Whether it signed its keys for this run."""
        return verified(self.e_pub, self.sig, "S1", run.bytes, self.x_pub, self.e_pub, self.commit)


def seated(bodies: Iterable[bytes]) -> tuple[Seat, ...]:
    """The roster: sorted by signing key, without any that share a key; `Malformed`."""
    seats = sorted(dict.fromkeys(Seat.read(body) for body in bodies), key=lambda seat: seat.e_pub)
    xs, es = [s.x_pub for s in seats], [s.e_pub for s in seats]
    twice = {k for keys in (xs, es) for k in _repeated(keys)}
    return tuple(s for s in seats if s.x_pub not in twice and s.e_pub not in twice)


def _repeated(keys: Sequence[bytes]) -> set[bytes]:
    seen: set[bytes] = set()
    return {key for key in keys if key in seen or seen.add(key)}  # type: ignore[func-returns-value]


@dataclass(frozen=True)
class Roster:
    """The frozen members of a run; a member is its index from here on."""

    run: Run
    seats: tuple[Seat, ...]
    params: Params

    @cached_property
    def hash(self) -> bytes:
        """What everybody signs in S2."""
        bodies = b"".join(seat.body for seat in self.seats)
        return digest(label("roster"), u16(len(self.seats)), bodies, digest(self.params.canonical()))

    @property
    def n(self) -> int:
        """How many."""
        return len(self.seats)

    def index(self, e_pub: bytes) -> int | None:
        """Where a member sits; None for a stranger."""
        return self._places.get(e_pub)

    @cached_property
    def _places(self) -> dict[bytes, int]:
        return {seat.e_pub: i for i, seat in enumerate(self.seats)}

    def reveal(self, author: int, body: bytes) -> bytes | None:
        """The nonce of a reveal that fits its commitment; None otherwise. Its signature is checked for the committee only."""
        if len(body) != S2_BYTES:
            return None
        seat, nonce = self.seats[author], body[:HASH]
        return nonce if commitment(self.run, seat.e_pub, nonce) == seat.commit else None


@dataclass(frozen=True)
class Draw:
    """What the nonces of everybody decided together: who holds shares, who relays, and what all else is bound to."""

    roster: Roster
    nonces: tuple[bytes, ...]

    @cached_property
    def beacon(self) -> bytes:
        """Known to nobody before everybody committed."""
        return digest(label("beacon"), self.roster.hash, *self.nonces)

    @cached_property
    def ctx(self) -> bytes:
        """Binds shares and votes to this run."""
        return digest(label("ctx"), self.roster.run.bytes, self.roster.hash, self.beacon)

    @cached_property
    def committee(self) -> tuple[int, ...]:
        """The indices of the holders in roster order: position j holds the shares at x = j + 1."""
        m = self.roster.params.m
        ranked = sorted(range(self.roster.n), key=lambda i: digest(label("committee"), self.beacon, self._key(i)))
        return tuple(sorted(ranked[:m]))

    @cached_property
    def relays(self) -> tuple[int, ...]:
        """Who coordinates, and who takes over when that one is silent."""
        return tuple(sorted(range(self.roster.n), key=lambda i: digest(label("coord"), self.beacon, self._key(i))))

    def _key(self, member: int) -> bytes:
        return self.roster.seats[member].e_pub

    def challenge(self, list_hash: bytes, sender: int, r: int, p: int) -> int:
        """chi: known only after all shares were reported."""
        return int.from_bytes(digest(label("chi"), self.ctx, list_hash, u16(sender), bytes([r]))[:8], "little") % p


class Channel:
    """The sealed way between two members of a run: one message in each direction, ever."""

    def __init__(self, keys: Keys, draw: Draw, own: int, other: int) -> None:
        self._draw, self._own, self._other = draw, own, other
        theirs = draw.roster.seats[other].x_pub
        if theirs == keys.x_pub:
            raise Malformed("a member has no channel to itself")
        secret = keys.x.exchange(X25519PublicKey.from_public_bytes(theirs))
        small, large = sorted((keys.x_pub, theirs))
        run, info = draw.roster.run, label("keys") + small + large + bytes([SUITE])
        salt = run.room + run.epoch.to_bytes(8, "little")
        okm = HKDF(algorithm=SHA256(), length=64, salt=salt, info=info).derive(secret)
        first, second = okm[:32], okm[32:]
        self._send, self._receive = (first, second) if keys.x_pub == small else (second, first)

    def seal(self, plain: bytes) -> bytes:
        """A part of R1."""
        head = self._nonce()
        return head + ChaCha20Poly1305(self._send).encrypt(head, plain, self._aad(self._own, self._other))

    def open(self, part: bytes) -> bytes | None:
        """What the other sealed for this member in this run; None for anything else."""
        if part[:12] != self._nonce():
            return None
        try:
            return ChaCha20Poly1305(self._receive).decrypt(part[:12], part[12:], self._aad(self._other, self._own))
        except Exception:  # noqa: BLE001  - InvalidTag, or bytes that cannot be a sealed part
            return None

    def _nonce(self) -> bytes:
        return self._draw.roster.run.epoch.to_bytes(8, "little") + (1).to_bytes(4, "little")

    def _aad(self, sender: int, recipient: int) -> bytes:
        return label("R1") + self._draw.ctx + u16(sender) + u16(recipient)
