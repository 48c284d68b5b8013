"""The mood of a page over its sentences: a few lines for the terminal, and a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

BARS = "▁▂▃▄▅▆▇█"
AXES = ("valence", "arousal")


def sparkline(values: Sequence[float | None], low: float, high: float) -> str:
    """One character a value, from low to high; a blank for a value that is missing."""
    span = max(high - low, 1e-9)
    return "".join(" " if v is None else BARS[min(7, max(0, int((v - low) / span * 8)))] for v in values)


def terminal(items: Sequence[dict[str, Any]], text: str) -> list[str]:
    """Both curves, and the sentences where the page is darkest and brightest."""
    scored = [item for item in items if item["valence"] is not None]
    lines = []
    for axis in AXES:
        values = [item[axis] for item in items]
        found = [v for v in values if v is not None]
        low, high = min(found), max(found)
        lines.append(f"  {axis:<8} {sparkline(values, low, high)}  {low:+.2f} .. {high:+.2f}")
    for word, item in (("lowest", min(scored, key=_valence)), ("highest", max(scored, key=_valence))):
        sentence = " ".join(text[item["start"] : item["end"]].split())[:70] if "start" in item else ""
        lines.append(f"  {word:<8} {item['valence']:+.2f} ± {item['valence_sd']:.2f}  {sentence}")
    return lines


def _valence(item: dict[str, Any]) -> float:
    return float(item["valence"])


def png(items: Sequence[dict[str, Any]], title: str, file: Path) -> None:
    """Valence and arousal with their 80 % bands, sentence by sentence."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
    scored = [(i + 1, item) for i, item in enumerate(items) if item["valence"] is not None]
    for axis, colour in zip(AXES, ("#c2453d", "#2f6f9f"), strict=True):
        x = [i for i, _ in scored]
        y = [item[axis] for _, item in scored]
        band = [1.2816 * item[f"{axis}_sd"] for _, item in scored]
        axes.plot(x, y, color=colour, marker="o", markersize=3, label=axis)
        low, high = ([v + sign * b for v, b in zip(y, band, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(0, color="grey", linewidth=0.6)
    axes.set(xlabel="sentence", ylabel="−1 … 1", title=title, ylim=(-1, 1))
    axes.legend(loc="upper right", frameon=False)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
