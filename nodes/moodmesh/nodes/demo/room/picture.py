"""What a room told beside what its people felt: a PNG with a panel for each axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moodmesh.nodes.demo.picture import AXES

NORMAL_95 = 1.96


def png(rows: Sequence[dict[str, Any]], title: str, label: str, file: Path) -> None:
    """Readings with the 95 % range of their noise, the value shown, the filtered mood with its own, and the hidden truth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    told = [row for row in rows if "shown" in row]
    at = [row["epoch"] for row in told]
    figure, panels = pyplot.subplots(2, 1, figsize=(9, 6), layout="constrained", sharex=True)
    for axis, (name, panel) in enumerate(zip(AXES, panels, strict=True)):
        truth = [row["truth"][axis] for row in rows]
        panel.plot([row["epoch"] for row in rows], truth, color="black", linewidth=1.2, label="truth, hidden")
        error, raw = [NORMAL_95 * row["raw_rms"] for row in told], [row["raw"][axis] for row in told]
        panel.errorbar(at, raw, yerr=error, fmt="o", color="#8a8f98", markersize=4, capsize=3, label="reading, 95 %")
        panel.plot(
            at, [row["shown"][axis] for row in told], "D", color="#c2453d", markersize=6, label="shown", fillstyle="none"
        )
        smooth, sd = [row["filtered"][axis] for row in told], [NORMAL_95 * row["filtered_sd"] for row in told]
        panel.plot(at, smooth, color="#2f6f9f", label="filtered, 95 %")
        low, high = ([v + sign * s for v, s in zip(smooth, sd, strict=True)] for sign in (-1, 1))
        panel.fill_between(at, low, high, color="#2f6f9f", alpha=0.15, linewidth=0)
        for row in rows:
            if "why" in row:
                panel.axvline(row["epoch"], color="#d9a441", linestyle=":", linewidth=1)
        panel.axhline(0, color="grey", linewidth=0.6)
        panel.set(ylabel=f"{name}, −1 … 1", ylim=(-1.3, 1.3), xticks=[row["epoch"] for row in rows])
    panels[0].legend(loc="upper right", frameon=False, ncols=4)
    panels[1].set_xlabel(f"epoch (dotted: nothing was told)\n{label}")
    figure.suptitle(title)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
