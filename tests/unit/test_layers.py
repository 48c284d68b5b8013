"""Each import contract, broken on purpose in an empty copy of the tree: the linter must see it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOTS = ("mesh", "nodes", "tasks", "privacy")
BREAKS = {
    "nodes above mesh | tasks above privacy": ("mesh/moodmesh/mesh/link.py", "import moodmesh.tasks.task"),
    "cli and the commands behind it above daemon above the rest of nodes": (
        "nodes/moodmesh/nodes/peers.py",
        "from moodmesh.nodes.cli import client",
    ),
    "mesh and what is shared never see raw mood": ("privacy/moodmesh/privacy/shared.py", "from moodmesh.privacy import raw"),
    "mesh knows of privacy what is shared, and no more": ("mesh/moodmesh/mesh/pipe.py", "import moodmesh.privacy.raw"),
    "tasks know no event loop, no ray, no network": ("tasks/moodmesh/tasks/registry.py", "import asyncio"),
    "ray in child processes only: the pool's, and the one of a benchmark": (
        "nodes/moodmesh/nodes/pool/process.py",
        "import ray.util",
    ),
    "virtual radios in the benchmark of Bluetooth only": ("nodes/moodmesh/nodes/bench/ble/figures.py", "import bumble"),
    "torch and onnxruntime in modules that run or train a model": ("tasks/moodmesh/tasks/models.py", "import onnxruntime"),
}


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every module of the project, empty."""
    copy = tmp_path_factory.mktemp("tree")
    for root in ROOTS:
        for file in (ROOT / root).rglob("*.py"):
            empty = copy / file.relative_to(ROOT)
            empty.parent.mkdir(parents=True, exist_ok=True)
            empty.touch()
    for module in ("pool/ray_host.py", "bench/routing/ray_cluster.py"):
        (copy / "nodes/moodmesh/nodes" / module).write_text("import ray\n")
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def lint(tree: Path) -> str:
    """What import-linter says of a tree."""
    program = (
        "import sys; from importlinter.cli import lint_imports_command; sys.argv[0] = 'lint-imports'; lint_imports_command()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(str(tree / root) for root in ROOTS), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return done.stdout


def test_every_contract_has_its_break() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == set(BREAKS)


def test_the_skeleton_itself_is_in_order(skeleton: Path) -> None:
    assert "0 broken" in lint(skeleton)


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_contract_is_seen(skeleton: Path, name: str) -> None:
    path, line = BREAKS[name]
    file = skeleton / path
    before = file.read_text()
    file.write_text(before + line + "\n")
    try:
        assert f"{name} BROKEN" in lint(skeleton)
    finally:
        file.write_text(before)
