"""The service data of an advertisement: fixed sizes, nothing about the device or its owner (mesh-lessons §6, pairing §4).

    version 2 bits | window 1 | room 1 | counter 4    one byte
    rid[:n]                                           n = 3 under a 128-bit service UUID, 15 under an assigned 16-bit one
    two slots of 3 bytes                              pair tags over rid[:n], or the room tag, or the nameplate, or random

A legacy advertisement has room for 10 bytes of service data with a 128-bit UUID and for 22 with a 16-bit one.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1
SLOTS, SLOT_BYTES = 2, 3
COUNTER = 16
ASSIGNED: int | None = None
"""The 16-bit service UUID that the Bluetooth SIG assigned to us; until it did, None: nobody else's is borrowed."""
OWN = "6d6f6f64-6d65-4d48-8000-5e1c0a55b1e0"
SERVICE = OWN if ASSIGNED is None else f"0000{ASSIGNED:04x}-0000-1000-8000-00805f9b34fb"
"""The same on every device: a derived one would shrink the crowd to hide in."""
SHORT, LONG = 10, 22
SIZE = SHORT if ASSIGNED is None else LONG
"""Bytes that this device shows; others may show either."""
ID_BYTES = {size: size - 1 - SLOTS * SLOT_BYTES for size in (SHORT, LONG)}


@dataclass(frozen=True)
class Payload:
    """What one advertisement says. `nameplate`: of an open pairing window; it then takes the place of the second slot."""

    rid: bytes
    slots: tuple[bytes, bytes]
    nameplate: int | None = None
    room: bool = False
    counter: int = 0

    def encode(self) -> bytes:
        """10 bytes for a rid of 3, 22 for one of 15."""
        flags = VERSION << 6 | (self.nameplate is not None) << 5 | self.room << 4 | self.counter % COUNTER
        first, second = self.slots
        if self.nameplate is not None:
            second = bytes((self.nameplate,)) + second[1:]
        return bytes((flags,)) + self.rid + first + second


def decode(data: bytes) -> Payload | None:
    """What the service data of our UUID says; None for anything that is not of this version."""
    if len(data) not in ID_BYTES or data[0] >> 6 != VERSION:
        return None
    window, room, counter = bool(data[0] & 0x20), bool(data[0] & 0x10), data[0] & 0x0F
    first, second = data[-6:-3], data[-3:]
    if window and second[0] > 99:
        return None
    return Payload(data[1:-6], (first, second), second[0] if window else None, room, counter)
