"""The results of generation as one picture: judged as asked, the grid of moods, confusion, the curve of labels."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moodmesh.tasks.music.results.systems import REAL
from moodmesh.tasks.tables import Table

_BLUE, _ORANGE = "#0072B2", "#E69F00"


def draw(table: Table, file: Path) -> None:
    """Write an SVG, the same bytes for the same table."""
    names = list(table["confusion"])
    shown = next((name for name in reversed(names) if name.endswith(", int8")), names[0])  # the largest that ships
    grids = [(name, found) for name, found in table["grid"].items() if name == shown] or list(table["grid"].items())[:1]
    with mpl.rc_context({"svg.hashsalt": "generation", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure((15, 9), layout="constrained")
        parts = figure.add_gridspec(2, 5, height_ratios=[1.1, 1])
        _bars(figure.add_subplot(parts[0, :]), table)
        *axes, last = [figure.add_subplot(parts[1, at]) for at in range(5)]
        _curve(last, table["labels"])
        for axis, part in zip(axes, ("arousal", "valence"), strict=False):
            for name, found in grids:
                _cells(axis, found["axes"], found[f"cells_{part}"], f"{name}: judged {part}")
        for axis, name in zip(axes[2:], (shown, REAL), strict=True):
            _confusion(axis, table["confusion"][name], name)
        figure.savefig(file, metadata={"Date": None})


def _bars(axes: Axes, table: Table) -> None:
    rows = {(row["system"], row["metric"], row["gate"]): row for row in table["rows"] if row["judge"] == "base"}
    names = list(dict.fromkeys(system for system, _, _ in rows if "takes" not in system))
    for place, (metric, colour) in enumerate((("arousal", _BLUE), ("valence", _ORANGE))):
        at = [number + 0.38 * place for number in range(len(names))]
        axes.bar(at, [rows[name, metric, False]["mean"] for name in names], 0.36, color=colour, alpha=0.25)
        gated = [rows[name, metric, True] for name in names]
        means = [row["mean"] for row in gated]
        apart = [[max(m - row["ci95"][0], 0) for m, row in zip(means, gated, strict=True)],
                 [max(row["ci95"][1] - m, 0) for m, row in zip(means, gated, strict=True)]]  # fmt: skip
        axes.bar(at, means, 0.36, yerr=apart, color=colour, label=f"{metric}; pale: without the gate", error_kw={"lw": 0.8})
    axes.set_xticks([number + 0.19 for number in range(len(names))], [name.replace(", ", ",\n") for name in names], rotation=25)
    axes.set_title("Judged as asked, by the base judge")
    axes.set_ylim(0, 1)
    axes.legend(loc="upper right", ncols=2)


def _cells(axes: Axes, marks: list[list[float]], cells: list[list[float]], title: str) -> None:
    axes.imshow(cells, origin="lower", vmin=0, vmax=1, cmap="viridis")
    axes.set_xticks(range(len(marks[1])), [f"{mark:g}" for mark in marks[1]])
    axes.set_yticks(range(len(marks[0])), [f"{mark:g}" for mark in marks[0]])
    axes.set_xlabel("valence asked for")
    axes.set_ylabel("arousal asked for")
    axes.set_title(title, fontsize=8)
    _numbers(axes, [[f"{value:.2f}" for value in row] for row in cells], [[value < 0.5 for value in row] for row in cells])


def _confusion(axes: Axes, counts: list[list[int]], title: str) -> None:
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    quadrants = ["Q1 happy", "Q2 angry", "Q3 sad", "Q4 calm"]
    axes.set_xticks(range(4), [name[:2] for name in quadrants])
    axes.set_yticks(range(4), quadrants)
    axes.set_xlabel("judged")
    axes.set_title(f"{title}, asked for", fontsize=8)
    _numbers(axes, [[f"{share:.2f}" for share in row] for row in shares], [[share > 0.5 for share in row] for row in shares])


def _curve(axes: Axes, found: list[Table]) -> None:
    places = range(len(found))
    for metric, colour in (("arousal", _BLUE), ("valence", _ORANGE)):
        axes.plot(places, [one[metric] for one in found], "o-", color=colour, label=f"{metric} judged, with the gate")
        axes.plot(places, [one[f"q(y), {metric}"] for one in found], "s--", color=colour, label=f"{metric} named by q(y)")
    axes.set_xticks(places, [f"{100 * one['share']:g} %" if one["share"] else "scrambled" for one in found])
    axes.set_ylim(0, 1)
    axes.set_xlabel("labels that GMVAEs learned with")
    axes.set_title("By the share of labels", fontsize=8)
    if found:
        axes.legend(loc="lower right", fontsize=7)


def _numbers(axes: Axes, said: list[list[str]], light: list[list[bool]]) -> None:
    for y, row in enumerate(said):
        for x, text in enumerate(row):
            axes.text(x, y, text, ha="center", va="center", fontsize=7, color="white" if light[y][x] else "black")
