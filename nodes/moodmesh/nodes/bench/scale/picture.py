"""The bytes a node says per second, over the size of the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def draw(curve: Mapping[str, Mapping[int, float]], file: Path) -> None:
    """A line for the idle mesh and one for the busy one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "scale", "svg.fonttype": "none"}
    figure, panel = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    for (state, found), colour in zip(curve.items(), ("#2f6f9f", "#c2453d"), strict=True):
        panel.plot(list(found), list(found.values()), "o-", color=colour, label=state, markersize=4)
    panel.set(xscale="log", yscale="log", xlabel="devices in the mesh", ylabel="bytes/s that a node sends")
    panel.set_xticks(list(next(iter(curve.values()))), [str(n) for n in next(iter(curve.values()))])
    panel.legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
