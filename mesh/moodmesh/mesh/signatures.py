"""Check a signature against a pinned certificate."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import load_der_x509_certificate


def verify(certificate: bytes, data: bytes, signature: bytes) -> bool:
    """Whether the key of a DER certificate signed `data` (Ed25519)."""
    key = load_der_x509_certificate(certificate).public_key()
    if not isinstance(key, Ed25519PublicKey):
        return False
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True
