"""The demo as its user sees it: checks what it needs, plays it in namespaces of its own, and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from moodmesh.nodes.cli.output import progress, say
from moodmesh.nodes.demo.keeper import Keeper
from moodmesh.nodes.demo.scene import DemoFailed
from moodmesh.nodes.errors import UsageError

TOOLS = ("unshare", "nsenter", "ip")
STEPS = 8


def play(told: Callable[[str], None] = say) -> dict[str, Any]:
    """Play it; the summary. `DemoFailed`, `UsageError` where something that it needs is missing."""
    _ready()
    keeper, result, failed = Keeper(), None, ""
    command = ["unshare", "-Urnm", sys.executable, "-m", "moodmesh.nodes.demo.bluetooth.stage", str(keeper.root)]
    try:
        with (
            progress("starting two devices") as bar,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as stage,
        ):
            assert stage.stdout is not None
            assert stage.stderr is not None
            for done, line in enumerate(stage.stdout, start=1):
                match json.loads(line):
                    case {"told": text}:
                        told(text)
                        bar(min(0.95, done / STEPS), f"step {done}")
                    case {"result": found}:
                        result = found
                    case {"failed": why}:
                        failed = why
            rest = stage.stderr.read()
    finally:
        keeper.finish()
    if result is None:
        raise DemoFailed(failed or f"the demo ended early: {rest[-1500:]}")
    return dict(result)


def _ready() -> None:
    if sys.platform != "linux":
        raise UsageError("this demo cuts devices off from each other with network namespaces, which only Linux has")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise UsageError(f"this demo needs {', '.join(missing)}: sudo apt install util-linux iproute2")
    if importlib.util.find_spec("bumble") is None:
        raise UsageError("this demo needs virtual radios: pip install 'moodmesh[bench-ble]'")
    if subprocess.run(["unshare", "-Urnm", "true"], capture_output=True, check=False).returncode:
        raise UsageError("this user may make no network namespaces: run it as root, or allow user namespaces")
