"""Real BlueZ: every module in `inside` runs in one virtual machine, whose logs stay."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from bluez import vm

INSIDE = Path(__file__).parent / "inside"
FIGURES = "bench-ble-bluez.json"
"""What `FIGURES=docs/results ./run test -m bluez` keeps there."""
pytestmark = [pytest.mark.bluez, pytest.mark.timeout(600), pytest.mark.skipif(vm.missing(), reason=vm.NO_GUEST)]
MODULES = sorted(INSIDE.glob("test_*.py"))


@pytest.fixture(scope="module")
def ran() -> vm.Ran:
    came = vm.run(MODULES, Path(tempfile.mkdtemp(prefix="moodmesh-bluez-")))
    print((came.logs / "console.log").read_text(errors="replace"))
    print(f"logs: {came.logs}")
    figures = came.logs / FIGURES
    if figures.exists() and (kept := os.environ.get("FIGURES")):
        shutil.copy(figures, kept)
    return came


@pytest.mark.parametrize("module", [path.stem for path in MODULES])
def test_over_real_bluez(ran: vm.Ran, module: str) -> None:
    wrong = {name: what for name, what in ran.failed.items() if module in name or not ran.passed}
    assert not wrong, f"{ran.logs}\n" + "\n\n".join(f"{name}\n{what}" for name, what in wrong.items())
    assert any(module in name for name in ran.passed)


def test_the_log_names_the_bluez_it_ran_on(ran: vm.Ran) -> None:
    assert re.search(r"bluetoothd \d+\.\d+, Linux \d+\.", (ran.logs / "console.log").read_text(errors="replace"))
