"""Shared by every test: helpers of `tests/` are importable by their path below it; skips are counted against a list."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
_skipped: Counter[str] = Counter()


def allowed_skips() -> dict[str, int]:
    lines = [line for line in (HERE / "skips.txt").read_text().splitlines() if line and not line.startswith("#")]
    return {reason: int(count) for count, _, reason in (line.partition(" ") for line in lines)}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped[report.longrepr[2].removeprefix("Skipped: ")] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip that nobody agreed to is a failure: what is not run must be known."""
    allowed = allowed_skips()
    surplus = {reason: count for reason, count in _skipped.items() if count > allowed.get(reason, 0)}
    if surplus:
        print(f"\nskips beyond tests/skips.txt: {surplus}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
