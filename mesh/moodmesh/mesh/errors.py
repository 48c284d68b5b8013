"""Errors of the mesh: one tree. Every leaf says what happened and what to do next.

MeshError
├── IdentityError        the device key cannot be used
├── PortTaken            the fixed peer port belongs to someone else
├── CertificateRefused   the far end did not show the pinned certificate
├── DialFailed           no address of a peer led to a link
├── Incompatible         no common major version of the protocol
├── DuplicateIdentity    another device runs with a copy of this device's key
├── NotPaired            the peer is unknown, or was forgotten
├── Forgotten            the peer has forgotten this device
├── BadCode              what was typed or scanned is no pairing code
├── PairingFailed        nothing was paired
│   ├── WrongCode        the two sides do not share the code
│   └── NoWindow         no device, or more than one, has this window open, or it is busy or locked
├── BadMessage           a peer sent something outside the protocol
└── ArtefactError        NotFound, NoSpace, Corrupt
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal


class MeshError(Exception):
    """Base of every error of this package."""


class IdentityError(MeshError):
    """The device key at `path` cannot be used; `remedy` mends it."""

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}. {remedy}")
        self.path, self.problem, self.remedy = path, problem, remedy


class PortTaken(MeshError):
    """Another program listens on the TCP port this device was told to use."""

    def __init__(self, port: int) -> None:
        super().__init__(
            f"TCP port {port} is taken by another program. Stop it, or choose a free port with mesh.port "
            "(0 lets the system choose)."
        )
        self.port = port


class CertificateRefused(MeshError):
    """The TLS handshake ended because the far end did not show the certificate that was pinned (pairing §3)."""


class DialFailed(MeshError):
    """None of the addresses of a peer led to a link; the message names each with its cause.

    `stranger`: at one of them a device answers that does not know this one: another device, or the peer has forgotten us.
    """

    def __init__(self, message: str, stranger: bool = False) -> None:
        super().__init__(message)
        self.stranger = stranger


class Incompatible(MeshError):
    """The two sides share no major version; `older` says who should be upgraded."""

    def __init__(self, older: Literal["us", "peer"], ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        who = "this device is older: upgrade moodmesh here" if older == "us" else "the peer is older: upgrade moodmesh there"
        super().__init__(f"No common protocol version (here {_list(ours)}, there {_list(theirs)}); {who}.")
        self.older, self.ours, self.theirs = older, ours, theirs


class DuplicateIdentity(MeshError):
    """The peer already holds a live link to this DeviceId: run `moodmesh identity reset` on one of the two copies."""


class NotPaired(MeshError):
    """There is no pair with this device; `moodmesh pair` makes one."""


class Forgotten(MeshError):
    """The peer said over the link that it has forgotten this device."""

    def __init__(self) -> None:
        super().__init__("it has forgotten this device: pair again with `moodmesh pair`")


class BadCode(MeshError):
    """This is not the form of a pairing code; the message says what it looks like."""


class PairingFailed(MeshError):
    """The exchange ended without a pair; the message says why. Nothing was stored."""


class WrongCode(PairingFailed):
    """One guess was spent: ask the other device for its new code."""


class NoWindow(PairingFailed):
    """There is no pairing window to join: none or several have the nameplate, or it is busy or locked."""


class BadMessage(MeshError):
    """A message broke the protocol: too large, not of its model, out of turn. The link is closed."""


class ArtefactError(MeshError):
    """Base of the errors of the artefact store and its transfers (routing §11)."""


class NotFound(ArtefactError):
    """There is no such artefact, or the asker may not read it: the two look alike on purpose."""


class NoSpace(ArtefactError):
    """The disk or the quota cannot take an artefact of `need` bytes and keep its reserve."""

    def __init__(self, need: int, free: int) -> None:
        super().__init__(
            f"Not enough disk space: {need / 2**20:.0f} MiB and 1 GiB of reserve are needed, {free / 2**20:.0f} MiB are free. "
            "Delete something, or move the data path."
        )
        self.need, self.free = need, free


class Corrupt(ArtefactError):
    """Bytes do not match the hash they were announced under; nothing was kept of them."""


def _list(versions: tuple[int, ...]) -> str:
    return ", ".join(map(str, versions)) or "none"
