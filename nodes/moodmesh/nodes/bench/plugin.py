"""Tasks of a benchmark, installed for its time through the same door as anyone's plug-in."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path


def install(directory: Path, tasks: Mapping[str, str]) -> Path:
    """Make an installed distribution of tasks (name: `module:Class`) below `directory`; the folder to put on PYTHONPATH."""
    folder = Path(tempfile.mkdtemp(dir=directory)) / "plugins"
    info = folder / "moodmesh_bench-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moodmesh-bench\nVersion: 1\n")
    lines = [f"{name} = {where}" for name, where in tasks.items()]
    (info / "entry_points.txt").write_text("\n".join(["[moodmesh.tasks]", *lines, ""]))
    return folder
