"""In the guest: make a controller at /dev/vhci of one that speaks HCI over a serial port of the machine.

`radio.py PORT`. Its own process, so that a test can pull it. (`btattach` would do the same, but Linux takes a controller on a
serial line for one that cannot connect while it is connected to.)
"""

from __future__ import annotations

import os
import selectors
import sys

CREATE = b"\xff\x00"
"""Written to /dev/vhci: a controller, primary. What it says of it begins with the first of these."""
HEADS = {2: (5, 3, 2), 4: (3, 2, 1)}
"""Of data and events: bytes up to the body, where its length stands, and in how many bytes."""


def main(port: str) -> None:
    """Pass packets on until killed."""
    line, host = os.open(port, os.O_RDWR), os.open("/dev/vhci", os.O_RDWR)
    os.write(host, CREATE)
    came = bytearray()
    selector = selectors.DefaultSelector()
    for source in (line, host):
        selector.register(source, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            data = os.read(key.fd, 4096)
            if key.fd == line:
                came += data
                while packet := _packet(came):
                    os.write(host, packet)
                    del came[: len(packet)]
            elif data[0] != CREATE[0]:
                os.write(line, data)


def _packet(came: bytearray) -> bytes:
    """The first whole one, or nothing."""
    if not came:
        return b""
    head, at, wide = HEADS[came[0]]
    size = head + int.from_bytes(came[at : at + wide], "little")
    return bytes(came[:size]) if len(came) >= max(head, size) else b""


if __name__ == "__main__":
    main(sys.argv[1])
