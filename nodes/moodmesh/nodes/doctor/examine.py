"""The whole examination, with or without a running daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from moodmesh.nodes.cli.client import Client
from moodmesh.nodes.config import Config, load
from moodmesh.nodes.doctor.bluetooth import bluetooth
from moodmesh.nodes.doctor.device import device
from moodmesh.nodes.doctor.finding import Finding, State, broken, ok
from moodmesh.nodes.doctor.network import network
from moodmesh.nodes.doctor.software import software
from moodmesh.nodes.errors import NoDaemon, NodeError


def examine(home: Path) -> list[Finding]:
    """Every finding about the node of this home; changes nothing."""
    findings: list[Finding] = []
    try:
        config, _ = load(home, {})
        findings.append(ok("configuration", f"{home / 'moodmesh.toml'}, environment and defaults"))
    except NodeError as error:
        config = Config()
        findings.append(broken("configuration", str(error), "mend that line; the rest is judged with the defaults"))
    status = parts = None
    client, peers = Client(home, timeout=5), []
    try:
        status, parts, peers = client.get("status"), client.get("health")["parts"], client.get("peers")["peers"]
        running = client.get("config")["values"]
        sections = {"mesh": config.mesh, "power": config.power}
        config = config.model_copy(update={n: s.model_validate(_section(running, n)) for n, s in sections.items()})
    except NoDaemon:
        pass
    except (NodeError, OSError) as error:
        findings.append(broken("local API", str(error), "stop the daemon and run `moodmesh up` again"))
    findings += device(home, status)
    findings += asyncio.run(network(config.mesh, status))
    findings += asyncio.run(bluetooth(config.mesh))
    findings += software(config, home)
    findings += of_daemon(parts or {}, findings)
    findings += [broken(f"peer {p['name']}", p["trouble"], "see the sentence before") for p in peers if p["trouble"]]
    return findings


def of_daemon(parts: Mapping[str, Mapping[str, str]], told: Sequence[Finding]) -> list[Finding]:
    """What a running daemon says of its parts: what failed, and what a finder lacks unless that was told before."""
    findings = []
    for name, part in parts.items():
        if part["state"] == "failed":
            findings.append(broken(f"daemon: {name}", part["detail"], part["remedy"]))
        elif name.startswith("finder ") and part["detail"] and not any(part["detail"] in finding.detail for finding in told):
            state: State = "ok" if part["state"] == "ok" else "missing"
            findings.append(Finding(f"daemon: {name}", state, part["detail"], part["remedy"]))
    return findings


def _section(values: dict[str, object], name: str) -> dict[str, object]:
    """A section of what the running daemon was started with: its flags count, not the file's."""
    found = {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
