"""Shared by every test: helpers of `tests/` are importable by their path below it; skips are counted against a list."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side: more threads each only wait for one another
HERE = Path(__file__).parent
MUTATION = "mutation"
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


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests stay to the end: the garbage collector need not go through them again and again (a tenth of all)."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutations", action="store_true", help="print each mutation of the code, and the test that noticed it")


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test that makes the code worse, and that passes because this was noticed: by its name, or by what it says of itself."""
    says = getattr(item, "function", item).__doc__ or ""
    if MUTATION in item.name or "_would_" in item.name or MUTATION in says.lower():
        item.user_properties.append((MUTATION, " ".join(says.split())))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--mutations"):
        return
    caught = {
        r.nodeid: dict(r.user_properties)[MUTATION] for r in terminalreporter.stats.get("passed", ()) if r.user_properties
    }
    terminalreporter.section(f"{len(caught)} mutations, each noticed by the test named")
    for test, says in sorted(caught.items()):
        terminalreporter.line(f"{test}  {says}".rstrip())
