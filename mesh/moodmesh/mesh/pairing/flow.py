"""The two sides of one pairing as state machines: each method takes the message that is due and returns the next (pairing §5).

    host   answer(P1) -> P2   check(P3) -> P4   accept(P5) -> P6   finish(P7) -> P8
    guest  begin() -> P1      reply(P2) -> P3   check(P4) -> P5    accept(P6) -> P7   finish(P8)

Any error is final: the object is dropped, and nothing was learnt but one wrong guess.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import unicodedata
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from moodmesh.mesh.certificates import device_id, is_identity_certificate
from moodmesh.mesh.errors import PairingFailed, WrongCode
from moodmesh.mesh.identity import Identity
from moodmesh.mesh.pairing import spake2
from moodmesh.mesh.pairing.messages import P1, P2, P3, P4, P5, P6, P7, P8, SUITES, VERSIONS, b64, unb64
from moodmesh.mesh.pairs import Pair
from moodmesh.mesh.signatures import verify

NAME_LENGTH = 32
NO_VERSION = "the two devices share no version of the pairing protocol: update Moodmesh on the older one"
Role = Literal["host", "guest"]


@dataclass(frozen=True)
class Me:
    """This device in a pairing: key, display name, wall seconds now."""

    identity: Identity
    name: str
    now: float


class Side:
    """What host and guest share. `cost` is scrypt's N; only tests lower it."""

    role: Role

    def __init__(self, me: Me, password: bytes, nameplate: str, spki_window: bytes, cost: int = spake2.SCRYPT_N) -> None:
        self._me, self._password, self._nameplate, self._spki, self._cost = me, password, nameplate, spki_window, cost
        self._keys: spake2.Keys
        self._secret = spake2.secret_scalar()
        self._pair: Pair

    @property
    def pair(self) -> Pair:
        """The other device, half-paired; there after `accept`."""
        return self._pair

    def _scalar(self, x_h: bytes, x_g: bytes) -> bytes:
        salt = hashlib.sha256(x_h + x_g + self._spki).digest()
        return spake2.password_scalar(self._password, salt, self._cost)

    def _schedule(self, p1: P1, p2: P2, share_b: bytes, key: bytes, w: bytes) -> None:
        a, b = spake2.label("host") + self._spki, spake2.label("guest") + p1.x_g
        tt = spake2.transcript(a, b, p2.share, share_b, key, w[::-1])
        self._keys = spake2.key_schedule(tt, associated(p1, p2))

    def _seal(self, step: int, content: bytes) -> bytes:
        key = self._keys.seal_host_to_guest if self.role == "host" else self._keys.seal_guest_to_host
        return ChaCha20Poly1305(key).encrypt(_nonce(step), content, self._keys.digest + _nonce(step))

    def _unseal(self, step: int, sealed: bytes) -> bytes:
        key = self._keys.seal_guest_to_host if self.role == "host" else self._keys.seal_host_to_guest
        try:
            return ChaCha20Poly1305(key).decrypt(_nonce(step), sealed, self._keys.digest + _nonce(step))
        except InvalidTag:
            raise PairingFailed("the other side's message was changed on the way") from None

    def _identity(self) -> bytes:
        certificate = self._me.identity.credential.certificate
        signature = self._me.identity.sign(_signed(self._keys.digest, self.role, certificate))
        return json.dumps({"certificate": b64(certificate), "name": self._me.name, "sig": b64(signature)}).encode()

    def _believe(self, content: bytes, role: Role) -> Pair:
        """The other device of an unsealed identity, if its key signed this very transcript in its role."""
        try:
            found = json.loads(content)
            certificate, name, signature = unb64(found["certificate"]), str(found["name"]), unb64(found["sig"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise PairingFailed("the other side sent no identity") from None
        if not is_identity_certificate(certificate):
            raise PairingFailed("the other side sent no identity certificate")
        if not verify(certificate, _signed(self._keys.digest, role, certificate), signature):
            raise PairingFailed("the other side does not hold the key it showed")
        peer = device_id(certificate)
        if peer == self._me.identity.id:
            raise PairingFailed("that is this device itself, or a copy of it: run `moodmesh identity reset` on one of them")
        return Pair(peer, clean_name(name, peer), certificate, self._keys.k_pair, half=True, paired_at=self._me.now)


class Host(Side):
    """The device that opened the window."""

    role: Role = "host"

    def answer(self, p1: P1) -> P2:
        """Choose version and suite and send our share; costs one scrypt, call it in a thread."""
        if p1.nameplate != self._nameplate:
            raise PairingFailed("the guest asked for another window")
        version = max(set(VERSIONS) & set(p1.versions), default=None)
        suite = next((s for s in SUITES if s in p1.suites), None)
        if version is None or suite is None:
            raise PairingFailed(NO_VERSION)
        x_h = os.urandom(16)
        self._w = self._scalar(x_h, p1.x_g)
        share = spake2.share(self._secret, self._w, spake2.M)
        self._p1 = p1
        self._p2 = P2(version=version, suite=suite, versions=list(VERSIONS), suites=list(SUITES), x_h=x_h, share=share)
        return self._p2

    def check(self, p3: P3) -> P4:
        """Compare the guest's proof in constant time; `WrongCode` burns the code."""
        key = spake2.shared(self._secret, self._w, p3.share, spake2.N)
        self._schedule(self._p1, self._p2, p3.share, key, self._w)
        if not hmac.compare_digest(p3.confirm, self._keys.confirm_guest):
            raise WrongCode("wrong code, or someone tried to guess it; nothing was paired")
        del self._w, self._secret, self._password
        return P4(confirm=self._keys.confirm_host)

    def accept(self, p5: P5) -> P6:
        """Believe the guest's identity, show ours."""
        self._pair = self._believe(self._unseal(5, p5.sealed), "guest")
        return P6(sealed=self._seal(6, self._identity()))

    def finish(self, p7: P7) -> P8:
        """The guest has stored the pair; store it, then send this."""
        if self._unseal(7, p7.sealed) != b"done":
            raise PairingFailed("the other side did not finish")
        return P8(sealed=self._seal(8, b"done"))


class Guest(Side):
    """The device on which the code was typed."""

    role: Role = "guest"

    def begin(self) -> P1:
        """Name the window."""
        self._p1 = P1(versions=list(VERSIONS), suites=list(SUITES), nameplate=self._nameplate, x_g=os.urandom(16))
        return self._p1

    def reply(self, p2: P2) -> P3:
        """Our share and proof; costs one scrypt, call it in a thread."""
        offered = (p2.version in self._p1.versions, p2.suite in self._p1.suites)
        if not all(offered) or p2.version != max(set(p2.versions) & set(self._p1.versions), default=None):
            raise PairingFailed("the host chose a version of the protocol that is not the best both know")
        w = self._scalar(p2.x_h, self._p1.x_g)
        share = spake2.share(self._secret, w, spake2.N)
        self._schedule(self._p1, p2, share, spake2.shared(self._secret, w, p2.share, spake2.M), w)
        del self._secret, self._password
        return P3(share=share, confirm=self._keys.confirm_guest)

    def check(self, p4: P4) -> P5:
        """The host's proof; `WrongCode` when it does not know the code either."""
        if not hmac.compare_digest(p4.confirm, self._keys.confirm_host):
            raise WrongCode("the other device does not know this code: it may not be the one you think; nothing was paired")
        return P5(sealed=self._seal(5, self._identity()))

    def accept(self, p6: P6) -> P7:
        """Believe the host's identity: store the pair as half, then send this."""
        self._pair = self._believe(self._unseal(6, p6.sealed), "host")
        return P7(sealed=self._seal(7, b"done"))

    def finish(self, p8: P8) -> None:
        """The host has stored the pair too."""
        if self._unseal(8, p8.sealed) != b"done":
            raise PairingFailed("the other side did not finish")


def associated(p1: P1, p2: P2) -> bytes:
    """AAD: all that was offered and chosen, so that a trimmed list makes the proofs differ (canonical JSON)."""
    what = {
        "version": p2.version,
        "suite": p2.suite,
        "guest": {"versions": p1.versions, "suites": p1.suites},
        "host": {"versions": p2.versions, "suites": p2.suites},
        "x_h": b64(p2.x_h),
        "x_g": b64(p1.x_g),
        "nameplate": p1.nameplate,
    }
    return json.dumps(what, sort_keys=True, separators=(",", ":")).encode("ascii")


def clean_name(name: str, peer: str) -> str:
    """A display name without control and bidirectional characters, at most 32 long; the id's beginning when none is left."""
    kept = "".join(c for c in name if unicodedata.category(c)[0] not in "CZ" or c == " ")
    return " ".join(kept.split())[:NAME_LENGTH] or peer[:8]


def _nonce(step: int) -> bytes:
    return step.to_bytes(12, "little")


def _signed(digest: bytes, role: Role, certificate: bytes) -> bytes:
    return spake2.label("identity") + digest + role.encode() + hashlib.sha256(certificate).digest()
