"""HOST:PORT, written and read."""

from __future__ import annotations

import pytest

from moodmesh.mesh.address import Address, parse, show
from moodmesh.mesh.discovery.hello import _host


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.168.1.7:40100", ("192.168.1.7", 40100)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("kitchen.local:65535", ("kitchen.local", 65535)),
    ],
)
def test_what_is_written_is_read(text: str, address: Address) -> None:
    assert parse(text) == address
    assert show(address) == text


@pytest.mark.parametrize(
    "text", ["", "host", ":1", "host:", "host:0", "host:65536", "host:x", "host:٣", "fe80::1:40100", "[]:1"]
)
def test_anything_else_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT, like 192\.168\.1\.7:40100"):
        parse(text)


def test_the_sender_of_a_datagram_keeps_its_interface() -> None:
    assert _host(("192.0.2.1", 5)) == "192.0.2.1"
    assert _host(("fe80::1", 5, 0, 3)) == "fe80::1%3"
    assert _host(("fe80::1%eth0", 5, 0, 3)) == "fe80::1%eth0"
    assert _host(("2001:db8::1", 5, 0, 0)) == "2001:db8::1"
