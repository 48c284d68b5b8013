"""What every benchmark reports: quantiles with their spread, the machine it ran on, one JSON object."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Report:
    """One run of a benchmark; `summary` holds the figures its goals are stated in."""

    name: str
    quick: bool
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: bool = False
    """Whether something was found that must never be."""

    def row(self, what: str, seconds: Sequence[float]) -> dict[str, Any]:
        """Add a row of quantiles in milliseconds."""
        found = {"what": what, "n": len(seconds), **{q: round(1000 * v, 3) for q, v in quantiles(seconds).items()}}
        self.rows.append(found)
        return found

    def data(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "bench": self.name,
            "quick": self.quick,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "hardware": hardware(),
            "rows": self.rows,
            "notes": self.notes,
            "summary": self.summary,
        }

    def text(self) -> list[str]:
        """For people."""
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        table = [keys, *[[str(row.get(key, "")) for key in keys] for row in self.rows]]
        widths = [max(len(line[i]) for line in table) for i in range(len(keys))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table]
        return [*lines, *self.notes, json.dumps({key: value for key, value in self.summary.items() if key != "rows"})]

    def write(self, directory: Path) -> Path:
        """Keep it under `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"bench-{self.name}.json"
        file.write_text(json.dumps(self.data(), indent=1) + "\n")
        return file


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the largest."""
    return {name: p(values, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))} | {"max": max(values)}


def p(values: Sequence[float], share: float) -> float:
    """One quantile."""
    return statistics.median(values) if share == 0.5 else sorted(values)[min(len(values) - 1, int(share * len(values)))]


def hardware() -> dict[str, Any]:
    """What this ran on, and how busy it was at the start."""
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    return {"cpu": model, "cores": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []
