"""What a link gives over real BlueZ on virtual controllers: the figures of `moodmesh bench ble`, kept beside the logs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from moodmesh.mesh.ble.adapters import adapters
from moodmesh.mesh.ble.bluez import BluezPeripheral
from moodmesh.mesh.ble.central import Central
from moodmesh.mesh.ble.payload import Payload
from moodmesh.mesh.ble.radio import Heard
from moodmesh.nodes.bench.ble.bench import fill
from moodmesh.nodes.bench.ble.figures import Site, measure
from moodmesh.nodes.bench.report import Report

KEPT = Path("/run/guest")
FOUND, RUNS, ECHOES, SIZE = 5, 2, 10, 20_000


def fresh() -> bytes:
    return Payload(os.urandom(3), (os.urandom(3), os.urandom(3))).encode()


@pytest.mark.timeout(100)
async def test_figures() -> None:
    one, other = (await adapters())[:2]
    central, peripheral = Central(one.name), BluezPeripheral(other.name)
    heard: dict[bytes, float] = {}
    news = asyncio.Event()

    def hear(told: Heard) -> None:
        heard.setdefault(told.data, time.monotonic())
        news.set()

    async def seen(data: bytes) -> float:
        while data not in heard:
            news.clear()
            await news.wait()
        return heard[data]

    site, found = Site(peripheral), []
    async with asyncio.timeout(90), central.scanning(hear):
        for _ in range(FOUND):
            data = fresh()
            async with site.shown(data) as began:
                found.append(await seen(data) - began)
        data = fresh()
        async with site.shown(data):
            await seen(data)
            figures = await measure(central, other.address, RUNS, ECHOES, SIZE)
    report = Report("ble-bluez", quick=False)
    fill(report, found, {name: v if isinstance(v, list) else [v] for name, v in asdict(figures).items()})
    version = subprocess.run(["bluetoothd", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    report.notes += [f"BlueZ {version}, virtual radios, Linux {os.uname().release} in an emulated machine (QEMU without KVM),"]
    report.notes += ["some 20 times slower than its host: no radio, no time on the air. Compare rows with each other."]
    report.write(KEPT)
    print("\n".join(report.text()))
