"""Devices that make music quickly or not at all, a faulty task, and a look at every message that a daemon sends."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from integration.daemons import Daemon
from moodmesh.nodes.bench.plugin import install

FAST = {"jobs__benchmark": "false", "music__soundfont": "built-in"}
WIRE = """
import os
from moodmesh.nodes.peers import Peers
put = Peers._put
def written(self, p, message):
    if not p.here:
        with open(os.path.join(os.environ["MOODMESH_HOME"], "wire"), "ab") as wire:
            sent = message.envelope()
            wire.write(p.name.encode() + b" " + sent.kind.encode() + b" " + sent.body + b"\\n")
    put(self, p, message)
Peers._put = written
"""
"""Keeps the bytes of each message to another device in the file `wire` of the home."""


def devices(root: Path) -> list[Daemon]:
    """Ann, whose device has no room for the task, so that whatever is made is made elsewhere; bob; and cleo."""
    room = {"ann": {"pool__memory_mb": "60"}, "bob": {}, "cleo": {}}
    return [Daemon(root / name, name, **FAST, **more) for name, more in room.items()]


def instead(root: Path, task: str) -> str:
    """A folder for PYTHONPATH that installs a faulty `music.generate` in place of ours."""
    folder = install(root, {"music.generate": f"faulty_music:{task}"})
    shutil.copy(Path(__file__).parent / "plugin" / "faulty_music.py", folder)
    return str(folder)


def start_with(daemon: Daemon, *folders: str) -> None:
    """Start a daemon whose PYTHONPATH begins with these folders."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *([before] if before else [])])
    try:
        daemon.start()
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ.update({} if before is None else {"PYTHONPATH": before})


def sent(daemon: Daemon) -> list[tuple[str, str, dict[str, Any]]]:
    """What a daemon with `WIRE` sent of jobs: to whom, which kind, and the message."""
    file = daemon.home / "wire"
    lines = [line.split(b" ", 2) for line in (file.read_bytes() if file.exists() else b"").splitlines()]
    found = [(to.decode(), kind.decode(), json.loads(body)) for to, kind, body in lines]
    return [one for one in found if one[1] in ("reserve", "start")]
