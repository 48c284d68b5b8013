"""Over the size of the mesh: seconds until a result, and the bytes a device sends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

LINES = (
    ("few", "few known", "#2f6f9f", 0), ("all", "all known", "#c2453d", 0), ("ray+tags", "Ray with tags", "#888888", 0),
    ("bytes", "to those who know it", "#2f6f9f", 1), ("to_all", "to all", "#c2453d", 1),
)  # fmt: skip


def draw(curves: Mapping[str, Mapping[int, float]], file: Path) -> None:
    """Two panels, the second in powers of ten."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "campus", "svg.fonttype": "none"}
    figure, panels = pyplot.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
    for name, label, colour, panel in LINES:
        points = sorted(curves[name].items())
        if points:
            panels[panel].plot(*zip(*points, strict=True), "o-", color=colour, label=label, markersize=4)
    for panel, what in zip(panels, ("mean seconds until the result", "bytes/s that a device sends"), strict=True):
        panel.set(xscale="log", xlabel="devices in the mesh", ylabel=what)
        panel.legend(frameon=False)
    panels[0].set(ylim=(0, None))
    panels[1].set(yscale="log")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
