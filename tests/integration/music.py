"""The music tasks for daemons of tests, whatever of them is installed, and a look at every message that a daemon sends."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from integration.daemons import Daemon
from moodmesh.nodes.bench.plugin import install
from moodmesh.tasks import registry

TASKS = {
    "music.generate": "moodmesh.tasks.music.generate:MusicGenerate",
    "music.transfer": "moodmesh.tasks.music.transfer:MusicTransfer",
}
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


def missing(root: Path) -> list[str]:
    """Folders for PYTHONPATH that install the music tasks which this environment does not have yet."""
    lacking = {name: where for name, where in TASKS.items() if name not in registry.load()[0]}
    return [str(install(root, lacking))] if lacking else []


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
