"""Where a device of an open room goes: to places that it sighted, or that can only be in its own network."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from moodmesh.mesh.seams import LinkClosed
from moodmesh.nodes.rooms import around

DOOR = (40001).to_bytes(2, "little")


async def asked(address: bytes, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was dialled when a gatherer named this address."""
    dialled: list[bytes] = []

    async def enter(at: bytes) -> Any:
        dialled.append(at)

    monkeypatch.setattr(around, "enter", enter)
    here = around.Near(b"r" * 16, 40000, lambda: [(b"s" * 16, ("93.184.216.34", 40001)), (b"t" * 16, ("10.0.0.7", 40001))])
    with contextlib.suppress(LinkClosed):
        await here.open(address)
    return dialled


@pytest.mark.parametrize("host", ["10.0.0.7", "192.168.1.9", "fe80::1%2", "fd00::5", "127.0.0.1", "93.184.216.34"])
async def test_what_is_near_or_sighted_is_dialled(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await asked(DOOR + host.encode(), monkeypatch) == [DOOR + host.encode()]


@pytest.mark.parametrize("host", ["93.184.216.35", "2606:4700::1111", "239.1.2.3", "example.org", "", "10.0.0.7@x"])
async def test_a_gatherer_sends_nobody_elsewhere(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await asked(DOOR + host.encode(), monkeypatch) == []


async def test_nor_to_a_service_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await asked((443).to_bytes(2, "little") + b"192.168.1.1", monkeypatch) == []


async def test_a_device_that_believes_the_gatherer_goes_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: every address is near."""
    monkeypatch.setattr(around, "near", lambda address: True)
    assert await asked(DOOR + b"93.184.216.35", monkeypatch) != []
