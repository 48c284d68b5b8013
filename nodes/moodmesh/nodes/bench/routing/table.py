"""Rows of runs to a table of cells: means over seeds, worst seeds, ratios to the bar seed by seed (routing §15)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from moodmesh.nodes.bench.routing.cells import ABLATIONS, BAR, FIFO_VARIANT, OURS
from moodmesh.nodes.bench.routing.world import Cell

Rows = Mapping[int, Mapping[str, Any]]
By = Mapping[tuple[str, str], Mapping[str, Any]]
CELL = ("mean", "worst_seed", "p95", "ratio", "median_ratio", "worst_ratio")
FIGURES = ("p50", "p95", "p99", "slowdown", "waste", "honesty")


def tabled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per cell and policy, with the ratio to the bar and to ours, each in the same seeds."""
    by: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        by.setdefault((row["cell"], row["policy"]), {})[row["seed"]] = row
    return [
        _row(cell, policy, found) | ratios(found, by.get((cell, BAR), {})) | _times(found, by.get((cell, OURS), {}))
        for (cell, policy), found in by.items()
    ]


def _row(cell: str, policy: str, found: Rows) -> dict[str, Any]:
    means = [row["mean"] for row in found.values()]
    row: dict[str, Any] = {
        "cell": cell, "policy": policy, "seeds": len(found), "mean": round(statistics.fmean(means), 3),
        "median_seed": round(statistics.median(means), 3), "worst_seed": round(max(means), 3),
    }  # fmt: skip
    for name in FIGURES:
        values = [r[name] for r in found.values() if r[name] is not None]
        row[name] = round(statistics.fmean(values), 3) if values else None
    return row | {"lost": sum(r["lost"] for r in found.values()), "duplicates": sum(r["duplicates"] for r in found.values())}


def ratios(found: Rows, bar: Rows) -> dict[str, Any]:
    """Ratio of means, and median and worst ratio seed by seed; nothing without common seeds."""
    seeds = sorted(found.keys() & bar.keys())
    if not seeds:
        return {}
    each = [found[s]["mean"] / bar[s]["mean"] for s in seeds]
    whole = sum(found[s]["mean"] for s in seeds) / sum(bar[s]["mean"] for s in seeds)
    return {"ratio": round(whole, 3), "median_ratio": round(statistics.median(each), 3), "worst_ratio": round(max(each), 3)}


def _times(found: Rows, ours: Rows) -> dict[str, list[float]]:
    """Mean and p99 as multiples of ours."""
    seeds = sorted(found.keys() & ours.keys())
    each = [sum(found[s][name] for s in seeds) / sum(ours[s][name] for s in seeds) for name in ("mean", "p99") if seeds]
    return {"times": [round(one, 3) for one in each]} if each else {}


def summary(table: Sequence[Mapping[str, Any]], cells: Sequence[Cell]) -> dict[str, Any]:
    """The figures of the gates, over the cells of the specification: see routing §15, machine summary."""
    known = {cell.name: cell for cell in cells}
    ours = {row["cell"]: row for row in table if row["policy"] == OURS and row["cell"] in known}
    oracle = {row["cell"]: row for row in table if row["policy"] == "oracle"}
    calm = [row for name, row in ours.items() if _calm(known[name])]
    other = [row for name, row in ours.items() if not _calm(known[name]) and "ratio" in row]
    twenty = [
        row["mean"] / oracle[name]["mean"]
        for name, row in ours.items()
        if name in oracle and known[name].leaving == "calm" and known[name].devices == 20 and known[name].load <= 0.7
    ]
    return {
        "calm_median_ratio_max": _most(row["median_ratio"] for row in calm),
        "other_mean_ratio_max": _most(row["ratio"] for row in other),
        "other_worst_seed_max": _most(row["worst_ratio"] for row in other),
        "oracle_ratio_max_n20": _most(twenty),
        "gone_ratio_max": _most(gone({(row["cell"], row["policy"]): row for row in table}).values()),
        "wasted_percent": _most(row["waste"] for row in ours.values()),
        "lost": sum(row["lost"] for row in ours.values()),
        "duplicates": sum(row["duplicates"] for row in ours.values()),
        "cells": {name: {k: row[k] for k in CELL if k in row} for name, row in ours.items()},
    }  # fmt: skip


def _calm(cell: Cell) -> bool:
    return cell.leaving == "calm" and cell.devices >= 5 and cell.load <= 0.7


def _most(values: Iterable[float]) -> float | None:
    """The largest; None when nothing was measured, which is not 0."""
    found = list(values)
    return round(max(found), 3) if found else None


def markdown(table: Sequence[Mapping[str, Any]], cells: Sequence[Cell], ablations: Sequence[str]) -> str:
    """The table for readers: ours beside the bar, then what each mechanism is worth."""
    ours = {row["cell"]: row for row in table if row["policy"] == OURS}
    by = {(row["cell"], row["policy"]): row for row in table}
    lines = [
        "| cell | Ray hybrid | Ray+tags: mean (worst seed), p95 | Moodmesh: mean (worst seed), p95, p99 "
        "| ratio: of means, median seed, worst seed "
        "| oracle | waste |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in ours.items():
        hybrid, bar, oracle = (by.get((name, p)) for p in ("ray hybrid", BAR, "oracle"))
        lines.append(
            f"| {name} | {_mean(hybrid)} | {_mean(bar, spread=True)} | **{row['mean']:.2f}** ({row['worst_seed']:.2f}), "
            f"{row['p95']:.1f}, {row['p99']:.1f} | {_ratios(row)} "
            f"| {_mean(oracle)} | {row['waste']:.0f} % |"
        )
    fifo = [f"- {cell}: {ratio:.2f} times the FIFO variant, which waits for nobody" for cell, ratio in gone(by).items()]
    parts = [lines, fifo, _everybody(by)]
    places = [name for name in ours if (name, ablations[0]) in by]
    if places:
        head = ["Each mechanism off in turn: mean and p99 as multiples of the policy's, in the same seeds.", ""]
        parts.append([*head, *_crossed(ablations, places, by, lambda row: ", ".join(f"{one:.2f}" for one in row["times"]))])
    return "\n\n".join("\n".join(part) for part in parts if part)


def gone(by: By) -> dict[str, float]:
    """By cell where the fast devices never return: our mean as a multiple of the FIFO variant's, which remembers nobody."""
    fifo = {cell: row for (cell, policy), row in by.items() if policy == FIFO_VARIANT and cell.startswith("gone")}
    return {cell: round(1 / row["times"][0], 3) for cell, row in fifo.items()}


def _everybody(by: By) -> list[str]:
    """All policies, where all were run."""
    places = [cell for cell, policy in by if policy == "random"]
    policies = dict.fromkeys(policy for cell, policy in by if cell in places and policy not in ABLATIONS)
    head = ["Everybody, mean seconds:", ""]
    return [*head, *_crossed(list(policies), places, by, lambda row: f"{row['mean']:.2f}")] if places else []


def _crossed(policies: Sequence[str], places: Sequence[str], by: By, said: Callable[[Mapping[str, Any]], str]) -> list[str]:
    lines = ["| | " + " | ".join(places) + " |", "|---|" + "---|" * len(places)]
    for policy in policies:
        found = [by.get((place, policy)) for place in places]
        lines.append(f"| {policy} | " + " | ".join("-" if row is None else said(row) for row in found) + " |")
    return lines


def _mean(row: Mapping[str, Any] | None, *, spread: bool = False) -> str:
    if row is None:
        return "-"
    return f"{row['mean']:.2f} ({row['worst_seed']:.2f}), {row['p95']:.1f}" if spread else f"{row['mean']:.2f}"


def _ratios(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{row[name]:.2f}" for name in ("ratio", "median_ratio", "worst_ratio") if name in row) or "-"
