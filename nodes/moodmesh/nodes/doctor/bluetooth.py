"""Bluetooth adapters: which there are, what each can do, and by what everybody near can recognise it (room-mood §10)."""

from __future__ import annotations

import asyncio
import sys

from moodmesh.mesh.ble.platform import SCANS_ONLY
from moodmesh.mesh.ble.radio import RADIOS, UNSEEN, no_radio
from moodmesh.mesh.seams import Unavailable
from moodmesh.nodes.config import MeshSection
from moodmesh.nodes.doctor.finding import Finding, broken, missing, ok

_ADDRESS = {
    "public": "its address is the maker's: linkable by Bluetooth address, for whoever is near",
    "static": "its address stays the same while it is on: linkable by Bluetooth address, for whoever is near",
    "rotating": "its address changes every 15 minutes",
}
_PRIVATE = "Privacy = device in /etc/bluetooth/main.conf, then: sudo systemctl restart bluetooth"


async def bluetooth(mesh: MeshSection) -> list[Finding]:
    """One finding an adapter, or why there is none."""
    if mesh.bluetooth == "off":
        return [missing("Bluetooth", "Bluetooth is switched off", "mesh.bluetooth = active turns it on")]
    if sys.platform != "linux":
        return [ok("Bluetooth", SCANS_ONLY)]
    try:
        if not RADIOS.is_dir() or not any(RADIOS.iterdir()):
            raise no_radio()
        from moodmesh.mesh.ble.adapters import adapters  # with D-Bus, where there is a radio
        from moodmesh.mesh.ble.systembus import no_adapter, switched_off

        found = await adapters()
    except Unavailable as why:
        return [missing("Bluetooth", why.reason, why.remedy)]
    if mesh.adapter and mesh.adapter not in {one.name for one in found}:
        named = ", ".join(one.name for one in found) or "none"
        remedy = f"plug it in, or let mesh.adapter name another (there is {named}), or none"
        return [broken("Bluetooth", no_adapter(mesh.adapter).reason, remedy)]
    findings = []
    for one in found:
        subject = f"Bluetooth {one.name}"
        if not one.powered:
            off = await asyncio.to_thread(switched_off, one.name)
            findings.append(missing(subject, off.reason, off.remedy))
            continue
        seen = "" if one.peripheral else f"; this device: {UNSEEN}"
        kept = f" ({_PRIVATE})" if one.kind in ("public", "static") else ""
        findings.append(ok(subject, f"on; {_ADDRESS[one.kind]}{kept}{seen}"))
    return findings
