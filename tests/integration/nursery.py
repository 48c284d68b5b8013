"""The process of a test's daemon: `moodmesh up`, forked from one that has imported all of it (half a second less for each of
hundreds), or from a new interpreter where something is changed before anything of ours is imported."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["moodmesh.nodes.cli.main", "moodmesh.nodes.daemon"])
NEW = multiprocessing.get_context("spawn")


def begin(words: Sequence[str], environment: Mapping[str, str], log: Path, changed: str = "") -> BaseProcess:
    """A process that is the command line with these words; it ends with this one at the latest."""
    given = (list(words), dict(environment), str(log), changed)
    process = (NEW if changed else WARM).Process(target=_run, args=given, daemon=True)
    process.start()
    return process


def _run(words: list[str], environment: dict[str, str], log: str, changed: str) -> None:
    with open(log, "ab") as to:
        os.dup2(to.fileno(), 1)
        os.dup2(to.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["moodmesh", *words]
    sys.path[:0] = [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]  # where plug-ins lie
    exec(changed, {})
    from moodmesh.nodes.cli.main import main

    main()
