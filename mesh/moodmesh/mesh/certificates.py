"""The three self-signed Ed25519 certificates of a device (pairing §2, §3)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import tempfile
from base64 import b32encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from .seams import DeviceId

NOT_BEFORE = datetime(2024, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(frozen=True)
class Credential:
    """A private key and its self-signed certificate (DER)."""

    key: Ed25519PrivateKey
    certificate: bytes

    def load_into(self, context: ssl.SSLContext) -> None:
        """Make this what `context` shows."""
        key = self.key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
        with _secret_file(key + ssl.DER_cert_to_PEM_cert(self.certificate).encode()) as path:
            context.load_cert_chain(path)


def spki_hash(public: Ed25519PublicKey) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo, 32 bytes."""
    return hashlib.sha256(public.public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)).digest()


def device_id(certificate: bytes) -> DeviceId:
    """Whose identity certificate (DER) this is; ValueError unless it is one of an Ed25519 key."""
    public = x509.load_der_x509_certificate(certificate).public_key()
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("not an Ed25519 certificate")
    return encode_id(spki_hash(public))


def encode_id(digest: bytes) -> DeviceId:
    """32 bytes as 52 lower-case base32 characters."""
    return DeviceId(b32encode(digest).decode().rstrip("=").lower())


def identity_certificate(key: Ed25519PrivateKey) -> bytes:
    """The certificate (DER) of a device key: a pure function of the key, so that pinning one pins the other."""
    return _self_signed(key, "moodmesh", int.from_bytes(spki_hash(key.public_key())[:19], "big"))


def is_identity_certificate(certificate: bytes) -> bool:
    """Whether this (DER) is the one identity certificate that its own key would make."""
    try:
        found = x509.load_der_x509_certificate(certificate)
        public = found.public_key()
        if not isinstance(public, Ed25519PublicKey):
            return False
        public.verify(found.signature, found.tbs_certificate_bytes)
    except (ValueError, InvalidSignature):
        return False
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "moodmesh")])
    serial = int.from_bytes(spki_hash(public)[:19], "big")
    dates = (found.not_valid_before_utc, found.not_valid_after_utc)
    return (found.subject, found.issuer, found.serial_number, *dates) == (name, name, serial, NOT_BEFORE, NOT_AFTER)


def epoch_credential(rid: bytes) -> Credential:
    """What strangers see: a fresh key, with the current rid in hex as name."""
    return _fresh(rid.hex())


def window_credential() -> Credential:
    """What a guest sees during one pairing window: a fresh key and a random name."""
    return _fresh(os.urandom(16).hex())


def rid_of(certificate: bytes) -> bytes | None:
    """The rid an epoch certificate (DER) names, None when it names none."""
    try:
        names = x509.load_der_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        rid = bytes.fromhex(str(names[0].value))
    except (ValueError, IndexError):
        return None
    return rid if len(rid) == 16 else None


def _fresh(name: str) -> Credential:
    key = Ed25519PrivateKey.generate()
    return Credential(key, _self_signed(key, name, x509.random_serial_number()))


def _self_signed(key: Ed25519PrivateKey, name: str, serial: int) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder(subject, subject, key.public_key(), serial, NOT_BEFORE, NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, None)
        .public_bytes(ser.Encoding.DER)
    )


@contextlib.contextmanager
def _secret_file(content: bytes) -> Iterator[str]:
    """A path that `load_cert_chain` can read (it takes no bytes): in memory, or else 0600 and gone at once."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("moodmesh")
        try:
            os.set_blocking(fd, False)
            os.write(fd, content)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
