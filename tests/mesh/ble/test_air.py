"""A process for each radio, and one for the air: each sees each, and any two have a stream."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from moodmesh.nodes.bench.ble.fleet import Device, fleet

SHOWN = "40{:02x}" + "00" * 8


@pytest.mark.parametrize("count", [2, pytest.param(5, marks=pytest.mark.slow)])
async def test_each_sees_each_and_any_two_have_a_stream(count: int) -> None:
    async with asyncio.timeout(60), fleet(count) as devices:
        await asyncio.gather(*[device.ask("show", data=SHOWN.format(number)) for number, device in enumerate(devices)])

        async def see_and_speak(number: int, device: Device) -> None:
            for other_number, other in enumerate(devices):
                if other is not device:
                    _, address = await device.ask("when", data=SHOWN.format(other_number))
                    assert address == other.address
                    said = bytes((number, other_number)).hex() * 1500
                    assert await device.ask("echo", address=address, data=said) == said

        await asyncio.gather(*itertools.starmap(see_and_speak, enumerate(devices)))


async def test_a_radio_that_is_not_shown_is_not_found_and_says_why_it_fails() -> None:
    async with asyncio.timeout(60), fleet(2) as (one, other):
        with pytest.raises(OSError, match="not in range"):
            await one.ask("echo", address=other.address, data="00")
