"""Keys with which nobody can agree on anything keep nobody else from sharing."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from moodmesh.mesh.rooms import transcript
from moodmesh.mesh.rooms.transcript import Keys, Run, commitment, seated, verified
from moodmesh.mesh.rooms.wire import Malformed

RUN = Run(bytes(32), 1, 1)
FIELD = 2**255 - 19
SMALL = sorted({(value + k * FIELD) | top for value in transcript._SMALL_ORDER for k in (0, 1) for top in (0, 1 << 255)
                if value + k * FIELD < 2**255})  # fmt: skip


def _join(x_pub: bytes) -> bytes:
    """S1 of a member that shows another key for sharing, signed as it should be."""
    keys = Keys(RUN, os.urandom(32))
    fields = x_pub + keys.e_pub + commitment(RUN, keys.e_pub, keys.nonce)
    return fields + keys.sign("S1", RUN.bytes, fields)


@pytest.mark.parametrize("value", SMALL)
def test_a_key_of_small_order_gets_no_seat(value: int) -> None:
    x_pub = value.to_bytes(32, "little")
    with pytest.raises(ValueError, match="shared key"):
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(x_pub))
    honest = [Keys(RUN, os.urandom(32)).join() for _ in range(3)]
    assert len(seated(honest)) == 3
    with pytest.raises(Malformed, match="small order"):
        seated([*honest, _join(x_pub)])


def test_other_keys_near_them_do() -> None:
    near = [_join(value.to_bytes(32, "little")) for value in (2, 9, FIELD - 2)]
    assert len(seated(near)) == 3


def test_a_signature_is_for_its_words_its_name_and_its_key() -> None:
    keys, other = Keys(RUN, bytes(32)), Keys(RUN, bytes(32))
    sig = keys.sign("R3", b"a", b"bc")
    assert verified(keys.e_pub, sig, "R3", b"ab", b"c")
    assert not verified(keys.e_pub, sig, "R3", b"abd")
    assert not verified(keys.e_pub, sig, "R2c", b"abc")
    assert not verified(other.e_pub, sig, "R3", b"abc")
    assert not verified(keys.e_pub, bytes([sig[0] ^ 1]) + sig[1:], "R3", b"abc")


@pytest.mark.parametrize("cut", [(63, 32), (65, 32), (64, 31), (64, 33), (0, 0)])
def test_a_signature_or_key_of_another_size_is_none(cut: tuple[int, int]) -> None:
    keys = Keys(RUN, bytes(32))
    sig, pub = keys.sign("R3", b"abc") + b"more", keys.e_pub + b"more"
    assert verified(pub[:32], sig[:64], "R3", b"abc")
    assert not verified(pub[: cut[1]], sig[: cut[0]], "R3", b"abc")
