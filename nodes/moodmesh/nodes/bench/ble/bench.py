"""`moodmesh bench ble`: five processes with a virtual radio each; discovery, connecting, TLS, round trips, bytes a second."""

from __future__ import annotations

import asyncio
import secrets
from importlib.util import find_spec
from typing import Any

from moodmesh.mesh.ble.payload import SHORT, Payload
from moodmesh.nodes.bench.ble.fleet import Device, fleet
from moodmesh.nodes.bench.report import Report, p
from moodmesh.nodes.cli.output import progress
from moodmesh.nodes.errors import UsageError

DEVICES = 5
ROUNDS, RUNS, ECHOES, SIZE = 10, 4, 50, 200_000
QUICK_ROUNDS, QUICK_RUNS, QUICK_ECHOES, QUICK_SIZE = 3, 1, 20, 50_000
WAIT_S = 30.0
ROWS = {
    "connect": "connect, and read what it offers",
    "stream": "from the wish for a stream to its first echo, all of that in it",
    "handshake": "mutual TLS over a stream, to its first echo",
    "rtt": "round trip of 1 KiB over a stream",
    "tls_rtt": "the same through TLS",
    "raw_rtt": "bare GATT: a write, and the notification that answers it",
}
RATES = {"up": "central to peripheral", "down": "peripheral to central"}


def run(quick: bool) -> Report:
    """Every device is found by the four others; each then measures its link to the next."""
    if find_spec("bumble") is None:
        raise UsageError("this needs virtual radios: pip install 'moodmesh[bench-ble]'")
    return asyncio.run(_run(quick))


async def _run(quick: bool) -> Report:
    report = Report("ble", quick)
    rounds, links = QUICK_ROUNDS if quick else ROUNDS, (QUICK_RUNS, QUICK_ECHOES, QUICK_SIZE) if quick else (RUNS, ECHOES, SIZE)
    with progress("bluetooth") as bar:
        async with fleet(DEVICES) as devices:
            found: list[float] = []
            for number in range(rounds * DEVICES):
                bar(0.3 * number / (rounds * DEVICES), "discovery")
                found += await discovery(devices, number % DEVICES)
            measured: dict[str, list[float]] = {}
            for number, device in enumerate(devices):
                bar(0.3 + 0.7 * number / DEVICES, f"link {number + 1} of {DEVICES}")
                for name, values in (await link(device, devices[(number + 1) % DEVICES], *links)).items():
                    measured.setdefault(name, []).extend(values if isinstance(values, list) else [values])
    fill(report, found, measured)
    report.notes += [
        "virtual radios (Bumble): no time on the air, no loss, one processor for all of them; real ones wait 7.5 to 50 ms for",
        "each turn. So compare rows of this run with each other: what a stream costs over bare GATT, not what a room will see.",
    ]
    return report


def fill(report: Report, found: list[float], measured: dict[str, list[float]]) -> None:
    """Rows and summary from seconds of discovery, and the lists of `Figures`; also those of other radios."""
    report.row("advertising begins to first heard, by another device", found)
    for name, what in ROWS.items():
        report.row(what, measured[name])
    frame = int(max(measured["frame"]))
    for way, what in RATES.items():
        ours, bare = (p(measured[name], 0.5) for name in (way, f"raw_{way}"))
        report.rows.append(
            {"what": f"{what}, kB/s", "n": len(measured[way]), "p50": round(ours, 1), "bare_gatt": round(bare, 1),
             "share": round(ours / bare, 2)}
        )  # fmt: skip
    report.notes.append(f"times in ms; bare GATT: writes without response, and notifications, of {frame} bytes each")
    report.summary = {
        "discovery_p50_s": round(p(found, 0.5), 3), "discovery_p95_s": round(p(found, 0.95), 3),
        **{f"{name}_p{q}_ms": round(1000 * p(measured[name], q / 100), 1) for name in ROWS for q in (50, 95)},
        **{f"{name}_kB_s": round(p(measured[name], 0.5), 1) for way in RATES for name in (way, f"raw_{way}")},
    }  # fmt: skip


async def discovery(devices: list[Device], number: int) -> list[float]:
    """Seconds until each other device heard this one, which begins to advertise anew."""
    data = Payload(secrets.token_bytes(3), (secrets.token_bytes(3), secrets.token_bytes(3))).encode().hex()
    assert len(data) == 2 * SHORT
    async with asyncio.timeout(WAIT_S):
        began = await devices[number].ask("show", data=data)
        others = [device for device in devices if device is not devices[number]]
        return [at - began for at, _ in await asyncio.gather(*[device.ask("when", data=data) for device in others])]


async def link(device: Device, other: Device, runs: int, echoes: int, size: int) -> dict[str, Any]:
    """`Figures` from one device to another, which is shown."""
    found: dict[str, Any] = await device.ask("measure", address=other.address, runs=runs, echoes=echoes, size=size)
    return found
