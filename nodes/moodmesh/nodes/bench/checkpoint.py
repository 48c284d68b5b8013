"""The runs that a long benchmark has done, a line of JSON each: it may be broken off at any moment, and go on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from moodmesh.nodes.errors import UsageError


def opened(out: Path | None, name: str, resume: bool) -> Path | None:
    """The file in `out` that runs are kept in, begun anew unless a bench resumes; None without a place to keep them."""
    if out is None:
        if resume:
            raise UsageError("--resume and --so-far need --out: the runs that are done are kept there")
        return None
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        (out / name).unlink(missing_ok=True)
    return out / name


def resumed(file: Path) -> list[dict[str, Any]]:
    """The runs that are kept. A last line that was cut off is none, and goes: the next run begins a line of its own."""
    if not file.exists():
        return []
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(file, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def add(file: Path, run: dict[str, Any]) -> None:
    """Keep one more run."""
    with file.open("a") as lines:
        lines.write(json.dumps(run) + "\n")
