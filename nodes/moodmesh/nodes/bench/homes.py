"""Homes that are paired before their daemons start: for tests and benchmarks that are not about pairing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from moodmesh.mesh.identity import Identity
from moodmesh.nodes.permissions import preset
from moodmesh.nodes.reset import STORE_FILE
from moodmesh.nodes.store import Store
from moodmesh.tasks import registry


@dataclass(frozen=True)
class Home:
    """A device on disk: its directory, name, the peer port it will listen on, and its key."""

    path: Path
    name: str
    port: int
    identity: Identity


def make(path: Path, name: str) -> Home:
    """A new home with a key and a port that is free now."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Home(path, name, free_port(), Identity.load_or_create(path / "identity"))


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def introduce(homes: Iterable[Home], rules: str = "own", tasks: Iterable[str] = ()) -> None:
    """Write a pair of each two into their stores, with last-known addresses; each gives the other a preset.

    `tasks`: names that the preset counts as installed beside those of this process.
    """
    installed, homes = [*registry.load()[0], *tasks], list(homes)
    for home in homes:
        store = Store(home.path / STORE_FILE)
        store.open()
        store.close()
    for one, other in combinations(homes, 2):
        secret = os.urandom(32)
        for us, them in ((one, other), (other, one)):
            certificate, addresses = them.identity.credential.certificate, json.dumps([["127.0.0.1", them.port]])
            row = (them.identity.id, them.name, certificate, secret, 0, time.time(), addresses)
            with contextlib.closing(sqlite3.connect(us.path / STORE_FILE)) as db, db:
                db.execute(
                    "INSERT INTO peer (device, name, certificate, k_pair, half, paired, addresses) VALUES (?,?,?,?,?,?,?)", row
                )
                for action, limits in preset(rules, installed).items():
                    db.execute("INSERT INTO rule VALUES (?, ?, ?)", (them.identity.id, action, limits.model_dump_json()))
