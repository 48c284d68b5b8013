"""SPAKE2 of RFC 9382: edwards25519 / SHA-256 / HKDF / HMAC; the host is A and uses M, the guest is B and uses N (pairing §5.2).

The group is libsodium's; transcript and key schedule stand apart from it, so that the RFC's P-256 vectors check them too.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl import bindings as sodium

from moodmesh.mesh.errors import PairingFailed

M = bytes.fromhex("d048032c6ea0b6d697ddc2e86bda85a33adac920f1bf18e1b0c6d166a5cecdaf")
N = bytes.fromhex("d3bfb518f44f3430f29d0c92af503865a1ed3281dc69b35dd868ba85f886c4ab")
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 1
POINT = 32


def label(text: str) -> bytes:
    """L(x) of the specification."""
    return f"moodmesh/pair/v1/{text}".encode()


def password_scalar(password: bytes, salt: bytes, n: int = SCRYPT_N) -> bytes:
    """w, 32 bytes little-endian mod L: scrypt of the code. Slow on purpose (93 ms): call it in a thread."""
    stretched = hashlib.scrypt(password, salt=salt, n=n, r=SCRYPT_R, p=SCRYPT_P, maxmem=2**26, dklen=64)
    return sodium.crypto_core_ed25519_scalar_reduce(stretched)


def secret_scalar() -> bytes:
    """x or y: uniform mod L."""
    return sodium.crypto_core_ed25519_scalar_reduce(os.urandom(64))


def checked(point: bytes) -> bytes:
    """A received point; `PairingFailed` unless it is a canonical point of the prime-order subgroup, and not the identity."""
    if len(point) != POINT or not sodium.crypto_core_ed25519_is_valid_point(point):
        raise PairingFailed("the other side sent an invalid key share")
    return point


def share(secret: bytes, w: bytes, blind: bytes) -> bytes:
    """pA = x*G + w*M, pB = y*G + w*N."""
    return sodium.crypto_core_ed25519_add(
        sodium.crypto_scalarmult_ed25519_base_noclamp(secret), sodium.crypto_scalarmult_ed25519_noclamp(w, blind)
    )


def shared(secret: bytes, w: bytes, theirs: bytes, blind: bytes) -> bytes:
    """K = 8*x*(pB - w*N) = 8*y*(pA - w*M); `PairingFailed` for a share that leaves no key."""
    eight = sodium.crypto_core_ed25519_scalar_reduce((8).to_bytes(64, "little"))
    try:
        bare = sodium.crypto_core_ed25519_sub(checked(theirs), sodium.crypto_scalarmult_ed25519_noclamp(w, blind))
        return sodium.crypto_scalarmult_ed25519_noclamp(sodium.crypto_core_ed25519_scalar_mul(eight, secret), bare)
    except RuntimeError:
        raise PairingFailed("the other side sent an invalid key share") from None


def transcript(a: bytes, b: bytes, share_a: bytes, share_b: bytes, key: bytes, w: bytes) -> bytes:
    """TT: every field with its length, 8 bytes little-endian. `w` is big-endian here."""
    return b"".join(len(part).to_bytes(8, "little") + part for part in (a, b, share_a, share_b, key, w))


@dataclass(frozen=True)
class Keys:
    """What a finished exchange yields: hash of the transcript, both confirmations, and the keys that follow."""

    digest: bytes
    confirm_host: bytes
    confirm_guest: bytes
    seal_host_to_guest: bytes
    seal_guest_to_host: bytes
    k_pair: bytes


def confirmation(tt: bytes, aad: bytes) -> tuple[bytes, bytes, bytes]:
    """Ke, cA and cB (RFC 9382 §4)."""
    digest = hashlib.sha256(tt).digest()
    ke, ka = digest[:16], digest[16:]
    kc = HKDF(SHA256(), 32, None, b"ConfirmationKeys" + aad).derive(ka)
    return ke, hmac.digest(kc[:16], tt, "sha256"), hmac.digest(kc[16:], tt, "sha256")


def key_schedule(tt: bytes, aad: bytes) -> Keys:
    """Every key of one pairing."""
    ke, confirm_host, confirm_guest = confirmation(tt, aad)
    digest = hashlib.sha256(tt).digest()
    okm = HKDF(SHA256(), 96, digest, label("keys")).derive(ke)
    return Keys(digest, confirm_host, confirm_guest, okm[:32], okm[32:64], okm[64:])
