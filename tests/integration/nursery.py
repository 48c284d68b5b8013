"""The command line of a test's device as a process: forked from one that has imported all of it (half a second less for each
of hundreds), or a new interpreter where something is changed before anything of ours is imported. Forked ones hash strings
alike: that devices which do not still agree is shown by the demo and by rooms, whose devices are interpreters of their own."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["moodmesh.nodes.cli.main", "moodmesh.nodes.cli.jobs", "moodmesh.nodes.daemon"])
NEW = multiprocessing.get_context("spawn")


def begin(words: Sequence[str], environment: Mapping[str, str], log: Path, changed: str = "") -> BaseProcess:
    """A process that is the command line with these words; it ends with this one at the latest."""
    return _start(NEW if changed else WARM, words, environment, (os.devnull, str(log), str(log)), changed)


def run(
    words: Sequence[str], environment: Mapping[str, str], input: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command line to its end, `input` on its standard input; TimeoutExpired after a minute."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("in", "out", "err")]
        files[0].write_text(input)
        process = _start(WARM, words, environment, (str(files[0]), str(files[1]), str(files[2])), cwd=str(cwd or Path.cwd()))
        process.join(60)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(list(words), 60)
        return subprocess.CompletedProcess(list(words), process.exitcode, files[1].read_text(), files[2].read_text())


def _start(
    how: multiprocessing.context.ForkServerContext | multiprocessing.context.SpawnContext,
    words: Sequence[str],
    environment: Mapping[str, str],
    streams: tuple[str, str, str],
    changed: str = "",
    cwd: str = ".",
) -> BaseProcess:
    process = how.Process(target=_main, args=(list(words), dict(environment), streams, changed, cwd), daemon=True)
    process.start()
    return process


def _main(words: list[str], environment: dict[str, str], streams: tuple[str, str, str], changed: str, cwd: str) -> None:
    for number, (file, mode) in enumerate(zip(streams, ("rb", "ab", "ab"), strict=True)):
        with open(file, mode) as stream:
            os.dup2(stream.fileno(), number)
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["moodmesh", *words]
    sys.path[:0] = [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]  # where plug-ins lie
    exec(changed, {})
    from moodmesh.nodes.cli.main import main

    main()
