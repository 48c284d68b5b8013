"""The instruments of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moodmesh.nodes.bench.report import Report, p, quantiles
from moodmesh.nodes.bench.timing import cases, welch


def test_welchs_t_is_its_formula() -> None:
    assert welch([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]) == pytest.approx(-1 / (1 / 3 + 1 / 3) ** 0.5)
    assert welch([1.0], [2.0, 3.0]) == welch([5.0, 5.0], [5.0, 5.0]) == 0.0


def test_the_two_classes_of_a_timing_differ_and_the_operations_take_both() -> None:
    for what, operation, (one, other) in cases():
        assert one() != other(), what
        operation(one())
        operation(other())


def test_quantiles_and_a_report_on_disk(tmp_path: Path) -> None:
    assert quantiles(range(100)) == {"p50": 49.5, "p95": 95, "p99": 99, "max": 99}
    assert p([1.0, 3.0], 0.5) == 2.0
    report = Report("x", quick=True, summary={"a": 1})
    report.row("what", [0.001, 0.002])
    kept = json.loads(report.write(tmp_path).read_text())
    assert kept["summary"] == {"a": 1}
    assert kept["quick"]
    assert kept["rows"][0]["n"] == 2
