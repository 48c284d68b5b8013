"""Processor time by role, over the size of the room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLOURS = ("#2f6f9f", "#6aa84f", "#d9a441", "#c2453d", "#333333")


def draw(rows: Sequence[Mapping[str, Any]], roles: Sequence[str], file: Path) -> None:
    """A line for each role."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "roomscale", "svg.fonttype": "none"}
    figure, panel = pyplot.subplots(figsize=(5.5, 3.6), layout="constrained")
    for role, colour in zip(roles, COLOURS, strict=True):
        has = [row for row in rows if f"{role}_ms" in row]
        style = "--" if role == "busiest" else "-"
        panel.plot([r["n"] for r in has], [r[f"{role}_ms"] for r in has], f"o{style}", color=colour, label=role, markersize=4)
    panel.set(xscale="log", yscale="log", xlabel="people in the room", ylabel="processor ms in an epoch")
    panel.set_xticks([row["n"] for row in rows], [str(row["n"]) for row in rows], minor=False)
    panel.legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
