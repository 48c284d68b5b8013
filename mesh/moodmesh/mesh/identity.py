"""The long-term Ed25519 key of a device, in a file that only its owner can read (pairing §2)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .certificates import Credential, device_id, identity_certificate
from .errors import IdentityError
from .seams import DeviceId

KEY_FILE = "device.key"


@dataclass(frozen=True)
class Identity:
    """Who this device is: DeviceId, and the key with its certificate."""

    id: DeviceId
    credential: Credential

    @classmethod
    def of(cls, key: Ed25519PrivateKey) -> Identity:
        """The identity of a key."""
        certificate = identity_certificate(key)
        return cls(device_id(certificate), Credential(key, certificate))

    @classmethod
    def load_or_create(cls, directory: Path) -> Identity:
        """The identity kept in `directory`, made at first start; `IdentityError` when damaged or readable by others."""
        path = directory / KEY_FILE
        _private_directory(directory)
        if not path.exists():
            return cls.reset(directory)
        _require_private(path, 0o600)
        try:
            key = ser.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _damaged(path) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise _damaged(path)
        return cls.of(key)

    @classmethod
    def reset(cls, directory: Path) -> Identity:
        """Make a new key and replace the old one for good; the caller forgets every pair."""
        _private_directory(directory)
        key = Ed25519PrivateKey.generate()
        _write_secret(directory / KEY_FILE, key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption()))
        return cls.of(key)

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes."""
        return self.credential.key.sign(message)


def grouped(device: DeviceId) -> str:
    """A DeviceId for people: groups of four."""
    return " ".join(device[i : i + 4] for i in range(0, len(device), 4))


def _damaged(path: Path) -> IdentityError:
    return IdentityError(
        path, "this is not an Ed25519 key", "Restore it from a backup, or run `moodmesh identity reset` and pair again."
    )


def _private_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_private(directory, 0o700)


def _require_private(path: Path, allowed: int) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & ~allowed:
        raise IdentityError(path, f"others may read it (mode {mode:04o})", f"Run `chmod {allowed:o} '{path}'`.")


def _write_secret(path: Path, content: bytes) -> None:
    """Write, fsync, rename, fsync the directory: after a crash there is the old file or the new one, never a part."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
