from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from moodmesh.mesh import identity as module
from moodmesh.mesh.certificates import device_id, epoch_credential, identity_certificate, rid_of, window_credential
from moodmesh.mesh.errors import IdentityError
from moodmesh.mesh.identity import KEY_FILE, Identity, grouped


def test_a_key_is_made_once_and_private(tmp_path: Path) -> None:
    home = tmp_path / "a home with spaces"
    first = Identity.load_or_create(home)
    assert Identity.load_or_create(home).id == first.id
    assert stat.S_IMODE((home / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [path.name for path in home.iterdir()] == [KEY_FILE]
    assert len(first.id) == 52
    assert set(first.id) <= set("abcdefghijklmnopqrstuvwxyz234567")
    assert grouped(first.id).replace(" ", "") == first.id
    assert set(map(len, grouped(first.id).split())) == {4}


def test_the_certificate_is_a_pure_function_of_the_key() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    der = identity_certificate(key)
    assert der == identity_certificate(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    certificate = x509.load_der_x509_certificate(der)
    assert certificate.subject.rfc4514_string() == certificate.issuer.rfc4514_string() == "CN=moodmesh"
    assert certificate.not_valid_before_utc == datetime(2024, 1, 1, tzinfo=UTC)
    assert certificate.not_valid_after_utc == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert [(extension.oid._name, extension.critical) for extension in certificate.extensions] == [
        ("basicConstraints", True),
        ("keyUsage", True),
    ]
    assert device_id(der) == Identity.of(key).id == "ubiig7mfa4cyfthxhffqtceeptbrfs4iewnyssez63zdttyxsgsq"
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert certificate.serial_number.to_bytes(19, "big") == sha256(spki).digest()[:19]
    assert sha256(der).hexdigest() == "b73cd0521df88f33a3f782ee3941ec61018117e5b441854b0193fdc43e31b111"


@pytest.mark.parametrize(("target", "mode"), [(KEY_FILE, 0o640), (KEY_FILE, 0o604), (".", 0o750), (".", 0o701)])
def test_a_wider_mode_is_refused_with_the_command_that_mends_it(tmp_path: Path, target: str, mode: int) -> None:
    home = tmp_path / "home"
    Identity.load_or_create(home)
    (home / target).chmod(mode)
    with pytest.raises(IdentityError, match=r"chmod (600|700)"):
        Identity.load_or_create(home)


@pytest.mark.parametrize("kind", ["empty", "noise", "another kind of key"])
def test_a_damaged_key_is_reported_and_left_alone(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "home"
    Identity.load_or_create(home)
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    content = {"empty": b"", "noise": os.urandom(100), "another kind of key": other}[kind]
    (home / KEY_FILE).write_bytes(content)
    with pytest.raises(IdentityError, match="identity reset"):
        Identity.load_or_create(home)
    assert (home / KEY_FILE).read_bytes() == content


def test_reset_makes_another_device(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = Identity.load_or_create(home)
    second = Identity.reset(home)
    assert first.id != second.id == Identity.load_or_create(home).id


def test_a_crash_while_writing_leaves_the_old_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    first = Identity.load_or_create(home)

    def crash(source: object, target: object) -> None:
        raise OSError("power loss")

    monkeypatch.setattr(module.os, "replace", crash)
    with pytest.raises(OSError, match="power loss"):
        Identity.reset(home)
    monkeypatch.undo()
    assert Identity.load_or_create(home).id == first.id
    assert [path.name for path in home.iterdir()] == [KEY_FILE]


def test_epoch_and_window_certificates_say_nothing_about_the_device() -> None:
    rid = os.urandom(16)
    epoch, again, window = epoch_credential(rid), epoch_credential(rid), window_credential()
    assert rid_of(epoch.certificate) == rid
    assert epoch.certificate != again.certificate
    assert device_id(epoch.certificate) != device_id(again.certificate) != device_id(window.certificate)
    assert rid_of(identity_certificate(Ed25519PrivateKey.generate())) is None
