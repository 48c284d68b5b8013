"""What a person reads and types: `37-482915`, the QR text, and the four words both screens show (pairing §5, §5.4)."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from moodmesh.mesh.address import Address
from moodmesh.mesh.errors import BadCode
from moodmesh.mesh.seams import DeviceId

QR_PREFIX = "moodmesh1:"
QR_VERSION = 1
TOKEN_BYTES = 16
MAX_ADDRESSES = 3


@dataclass(frozen=True)
class Code:
    """One window's code: public nameplate `00`..`99` and the secret; a QR code also pins the window and says where it is."""

    nameplate: str
    password: bytes
    pin: bytes | None = None
    addresses: tuple[Address, ...] = ()


def fresh_digits() -> str:
    """Six secret digits (19.9 bits)."""
    return f"{secrets.randbelow(10**6):06d}"


def fresh_nameplate() -> str:
    """Two public digits."""
    return f"{secrets.randbelow(100):02d}"


def parse(text: str) -> Code:
    """The code that was typed or scanned; `BadCode` says what it should look like. Spaces and the dash do not matter."""
    text = text.strip()
    if text.lower().startswith(QR_PREFIX):
        return _parse_qr(text[len(QR_PREFIX) :])
    digits = re.sub(r"[\s\-–—]", "", text)
    if not re.fullmatch(r"[0-9]{8}", digits):
        raise BadCode(f"{text!r} is not a pairing code: it is eight digits like 37-482915, as the other device shows them")
    return Code(digits[:2], digits[2:].encode())


def qr_text(nameplate: str, spki_window: bytes, token: bytes, addresses: Sequence[Address]) -> str:
    """The text of the QR code; the first three addresses travel with it."""
    body = bytes([QR_VERSION, int(nameplate)]) + spki_window + token
    for host, port in addresses[:MAX_ADDRESSES]:
        ip = ipaddress.ip_address(host.split("%")[0])
        body += bytes([ip.version]) + ip.packed + port.to_bytes(2, "little")
    return QR_PREFIX + base64.b32encode(body).decode().rstrip("=")


def _parse_qr(text: str) -> Code:
    wrong = BadCode("this QR text is damaged: scan it again, or type the eight digits")
    try:
        body = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        raise wrong from None
    fixed = 2 + 32 + TOKEN_BYTES
    if len(body) < fixed or body[0] != QR_VERSION or body[1] > 99:
        raise wrong
    addresses: list[Address] = []
    rest = body[fixed:]
    while rest:
        size = {4: 4, 6: 16}.get(rest[0], 0)
        if not size or len(rest) < size + 3 or len(addresses) == MAX_ADDRESSES:
            raise wrong
        host = str(ipaddress.ip_address(rest[1 : 1 + size]))
        addresses.append((host, int.from_bytes(rest[1 + size : 3 + size], "little")))
        rest = rest[3 + size :]
    return Code(f"{body[1]:02d}", body[34:fixed], body[2:34], tuple(addresses))


def words(one: DeviceId, other: DeviceId) -> str:
    """Four words, the same on both screens: 44 bits of SHA-256 over the sorted DeviceIds. A memory aid, not the proof."""
    from mnemonic import Mnemonic

    listed = Mnemonic("english").wordlist
    digest = hashlib.sha256("".join(sorted((one, other))).encode()).digest()
    bits = int.from_bytes(digest, "big") >> (256 - 44)
    return " ".join(listed[bits >> shift & 0x7FF] for shift in (33, 22, 11, 0))
