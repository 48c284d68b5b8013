"""Several devices on one machine: real daemons with homes of their own, driven through the command line and the local API."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from moodmesh.nodes.cli.client import Client
from moodmesh.nodes.demo.keeper import Keeper
from moodmesh.nodes.errors import NoDaemon, NodeError

START_S = 60.0
CLI = (sys.executable, "-m", "moodmesh.nodes.cli")
LOOPBACK = "lo" if sys.platform == "linux" else "lo0"


class DemoFailed(NodeError):
    """A step of the demo did not go as it should; the message says which."""


@dataclass
class Device:
    """One daemon of the scene."""

    name: str
    home: Path
    extra: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def client(self) -> Client:
        """Its local API."""
        return Client(self.home)

    def near(self) -> set[int]:
        """The peer ports of the devices that it lists."""
        listed = self.client.get("near")["devices"]
        return {int(address.rpartition(":")[2]) for device in listed for address in device["addresses"]}

    def command(self, *arguments: str, wait: float = 120) -> Any:
        """Run the command line on this device with --json; its last object. `DemoFailed` with what it said otherwise."""
        done = subprocess.run(
            [*CLI, *arguments, "--json"], env=self.environment, capture_output=True, text=True, timeout=wait, check=False
        )
        if done.returncode:
            raise DemoFailed(
                f"`moodmesh {' '.join(arguments[:2])}` on {self.name}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return json.loads(done.stdout.strip().splitlines()[-1])

    @property
    def environment(self) -> dict[str, str]:
        """Of every process of this device."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MOODMESH_")}
        return clean | self.extra | {"MOODMESH_HOME": str(self.home)}


def demo_settings(duties: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The settings of each device of the demo, from `configs/demo.toml`; `duties` replaces throttles."""
    found = tomllib.loads(resources.files("moodmesh.configs").joinpath("demo.toml").read_text())
    return {
        name: {"node.profile": v["profile"], "pool.duty": duties.get(name, v["duty"]), "power.battery_floor": 0}
        for name, v in found.items()
    }


def diary() -> bytes:
    """The page that the demo reads when it is given none."""
    return resources.files("moodmesh.configs").joinpath("diary.txt").read_bytes()


class Scene:
    """Several devices; `close` leaves nothing of them behind."""

    def __init__(self, devices: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str] | None = None) -> None:
        self._keeper = Keeper()
        self.root = self._keeper.root
        self._common = {
            "mesh.interfaces": LOOPBACK,
            "mesh.hello_port": free_udp_port(),
            "pool.slots": 1,
            "pool.eager": "true",
        }
        self.devices = {name: Device(name, self.root / name, dict(environment or {})) for name in devices}
        for name, values in devices.items():
            self.start(self.devices[name], values)

    def start(self, device: Device, settings: Mapping[str, Any]) -> None:
        """Start a device's daemon, at first or again."""
        device.home.mkdir(mode=0o700, exist_ok=True)
        chosen = {**self._common, "node.name": device.name, **settings}
        options = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
        with (device.home / "daemon.log").open("ab") as log:
            device.process = subprocess.Popen(
                [*CLI, "up", *options], env=device.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait(self, what: str, done: Callable[[Device], bool], seconds: float = START_S) -> None:
        """Until `done` holds on every device that runs."""
        end = time.monotonic() + seconds
        for device in self.devices.values():
            while not _quietly(done, device):
                if device.process.poll() is not None or time.monotonic() > end:
                    raise DemoFailed(f"{device.name} is not {what}; its log ends:\n{self.log(device)}")
                time.sleep(0.05)

    def see_each_other(self, devices: Sequence[Device]) -> bool:
        """Whether each of these daemons lists all the others, by their ports: other daemons may be near."""
        ports = {d.name: int(d.client.get("status")["port"]) for d in devices}
        return all({port for name, port in ports.items() if name != d.name} <= d.near() for d in devices)

    def log(self, device: Device) -> str:
        """The end of a daemon's log."""
        return (device.home / "daemon.log").read_text(errors="replace")[-1500:]

    def close(self) -> None:
        """End everything and delete every file of it."""
        self._keeper.finish()
        for device in self.devices.values():
            device.process.wait()


def _quietly(done: Callable[[Device], bool], device: Device) -> bool:
    try:
        return done(device)
    except NoDaemon:
        return False


def free_udp_port() -> int:
    """A UDP port of loopback that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
