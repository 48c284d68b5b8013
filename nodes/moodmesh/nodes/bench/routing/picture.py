"""The table as a picture: the ratio to Ray with GPU tags, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moodmesh.nodes.bench.routing.cells import OURS


def draw(table: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A point a cell: ratio of means; the bar ends at the worst seed. Left of 1 is better than Ray with tags."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "routing", "svg.fonttype": "none"}
    rows = sorted((row for row in table if row["policy"] == OURS and "ratio" in row), key=lambda row: row["cell"], reverse=True)
    figure, panel = pyplot.subplots(figsize=(7, 1 + 0.2 * len(rows)), layout="constrained")
    heights = range(len(rows))
    for height, row in zip(heights, rows, strict=True):
        panel.plot([row["median_ratio"], row["worst_ratio"]], [height, height], color="#9db8cc", linewidth=2)
    panel.plot([row["ratio"] for row in rows], list(heights), "o", color="#2f6f9f", markersize=4, label="ratio of means")
    panel.plot([row["worst_ratio"] for row in rows], list(heights), "|", color="#c2453d", markersize=7, label="worst seed")
    panel.axvline(1.0, color="#888888", linewidth=1)
    panel.set_yticks(list(heights), [row["cell"] for row in rows], fontsize=7)
    panel.set(xlabel="mean completion time / that of Ray with GPU tags", xlim=(0, None))
    panel.legend(loc="lower right", frameon=False, fontsize=8)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
