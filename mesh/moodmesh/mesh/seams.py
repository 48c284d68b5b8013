"""The two seams of the mesh: `Link` (bytes to a peer) and `Finder` (who is near). In-memory twins live in `memory.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NewType, Protocol

from .tagslots import slots, spare_slots

DeviceId = NewType("DeviceId", str)
"""52 lower-case base32 characters: SHA-256 of the device key's SubjectPublicKeyInfo (pairing §2)."""


@dataclass(frozen=True)
class Envelope:
    """One message on a link: its kind, and a JSON object (`chunk`: raw bytes) of at most the cap of that kind."""

    kind: str
    body: bytes


class LinkClosed(ConnectionError):
    """The link is gone; what was sent last may or may not have arrived."""


class Link(Protocol):
    """An authenticated, ordered, two-way message pipe to one paired peer, up once `welcome` was exchanged."""

    peer: DeviceId

    @property
    def slow(self) -> bool:
        """Whether it is by radio."""

    async def send(self, envelope: Envelope) -> None:
        """Queue one message and wait while the pipe is full; `LinkClosed` when the link is gone."""

    async def receive(self) -> Envelope:
        """The next message; `LinkClosed` after the last."""

    async def close(self) -> None:
        """Close both directions at once."""


@dataclass(frozen=True)
class Sighting:
    """A hint that some device is at an address; never trusted, only dialled (mesh-lessons §4).

    `host` is an IP literal, with scope for IPv6 link-local, or a host behind a radio (`reach`). `rid` and the pair tags may
    be cut short by the radio; `signal` is in dBm. `nameplate` and `window_port`
    are set while that device has a pairing window open, `room_port` while it is in a room. `at` is monotonic, `ttl_s` how
    long the hint lives; 0 means gone.
    """

    radio: str
    rid: bytes
    host: str
    port: int
    tags: frozenset[bytes]
    at: float
    ttl_s: float
    nameplate: int | None = None
    window_port: int | None = None
    signal: float | None = None
    room_port: int | None = None


@dataclass(frozen=True)
class Beacon:
    """What this device shows of itself until the next one: nothing that outlives a rotation of `rid` but `port`.

    `tags`: one a pair; `spare`: fills their unused slots, the same for the life of the rid; `turn` counts rids.
    `room_port`: of the open listener, while this device is in rooms, whose tags are then the first `rooms` of the tags.
    """

    rid: bytes
    port: int
    tags: tuple[bytes, ...]
    nameplate: int | None = None
    window_port: int | None = None
    spare: tuple[bytes, ...] = field(default_factory=spare_slots)
    turn: int = 0
    room_port: int | None = None
    rooms: int = 0

    def slots(self, count: int) -> tuple[bytes, ...]:
        """The tag slots of a radio that has room for `count` (pairing §4); where it is scarce, one is for a room."""
        first = self.tags[: min(self.rooms, max(1, count - 1))]
        return slots(self.tags[len(first) :], self.spare, count, self.turn, first)


class Unavailable(Exception):
    """A finder or radio cannot work here: `reason` says why, `remedy` the command or step that mends it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


class Finder(Protocol):
    """One way to notice devices and be noticed."""

    radio: str
    id_bytes: int
    """How much of the rid it shows; the tags in its beacon are over so much of it."""

    async def run(self, seen: Callable[[Sighting], None]) -> None:
        """Announce and listen until cancelled, then say goodbye; raises `Unavailable`."""

    def show(self, beacon: Beacon) -> None:
        """Announce this from now on; may be called before and during `run`."""

    async def ask(self, host: str) -> None:
        """Ask whoever is at an address to announce itself there; a finder that cannot does nothing."""
