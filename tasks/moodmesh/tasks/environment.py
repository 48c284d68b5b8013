"""Where a results file was made: code, machine, libraries (evaluation §9)."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "onnxruntime", "numpy", "scikit-learn", "tokenizers")


def software() -> dict[str, str]:
    """Versions of Python and the libraries that decide the figures."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def hardware() -> dict[str, Any]:
    """CPU model, cores, memory and the load at this moment."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 1e9, 1),
        "accelerator": None,
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def commit(folder: Path) -> dict[str, Any]:
    """The commit of the checkout around `folder`, and whether tracked files differ from it; "unknown" outside of one."""
    try:
        found, changed = (
            subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=True).stdout.strip()
            for args in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "dirty": True}
    return {"commit": found, "dirty": bool(changed)}
