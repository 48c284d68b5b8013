"""A decision as data (kept with each attempt, shown by `job explain`), and as a table for people (routing §10)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from moodmesh.nodes.placement.score import Z95, Placement, Row

COLUMNS = ("transfer", "queue", "load", "service", "back", "total")


def summary(placement: Placement) -> dict[str, Any]:
    """The decision as JSON: every device with its terms in seconds, or the gate that barred it; and why the first won."""
    ordered = sorted(
        placement.rows,
        key=lambda r: (r is not placement.chosen, r.terms.total if r.terms else math.inf, r.name, r.device, r.variant or ""),
    )
    rows = [_row(row, row is placement.chosen) for row in ordered]
    return {"rows": rows, "chosen": next((r for r in rows if r["chosen"]), None), "why": why(placement)}


def _row(row: Row, chosen: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"device": row.device, "name": row.name, "here": row.here, "variant": row.variant, "chosen": chosen}
    found["quality"] = row.quality
    if row.terms is not None:
        t = row.terms
        found |= {k: v for k, v in t._asdict().items() if not k.startswith("log_")}
        found |= {"total": t.total, "p95": t.slow(Z95), "guess": row.guess}
    return found | {"gate": asdict(row.gate) if row.gate else None}


def why(placement: Placement) -> str:
    """One sentence: why the chosen device won."""
    best = placement.chosen
    if best is None or best.terms is None:
        return "no device can run it now"
    if placement.taken:
        return f"{'this device' if best.here else best.name} was free and took it: {best.terms.total:.2f} s predicted"
    others = [r for r in placement.rows if r is not best and r.terms and not r.gate and r.variant == best.variant]
    place_ = "this device" if best.here else best.name
    if not others:
        barred = [r for r in placement.rows if r.gate and r.device != best.device and r.variant in (None, best.variant)]
        barred.sort(key=lambda r: (r.name, r.device))
        return f"{place_} is the only device that may run {best.variant}" + (
            "; " + ", ".join(f"{r.name}: {r.gate.name}" for r in barred if r.gate) if barred else ""
        )
    second = min(others, key=lambda r: r.terms.total if r.terms else 0)
    assert second.terms is not None
    return (
        f"{place_} returns the result soonest: {best.terms.total:.2f} s predicted, "
        f"{second.terms.total:.2f} s on {'this device' if second.here else second.name}"
    )


def table(explain: Mapping[str, Any]) -> list[str]:
    """The rows of `summary` as aligned lines."""
    rows: Sequence[Mapping[str, Any]] = explain["rows"]
    width = max([6, *(len(label(r)) for r in rows)])
    lines = [f"  {'device':<{width}}  " + " ".join(f"{c:>9}" for c in COLUMNS) + "   verdict"]
    for row in rows:
        cells = " ".join(f"{row[c]:>9.3f}" if c in row else f"{'-':>9}" for c in COLUMNS)
        lines.append(f"  {label(row):<{width}}  {cells}   {verdict(row)}")
    return lines


def label(row: Mapping[str, Any]) -> str:
    """Device and variant of a row."""
    name = f"{row['name']} (here)" if row["here"] else str(row["name"])
    return f"{name} {row['variant']}" if row["variant"] else name


def verdict(row: Mapping[str, Any]) -> str:
    """Why a row won or not."""
    if row["chosen"]:
        return "chosen"
    if row["gate"]:
        return f"gate {row['gate']['name']}: {row['gate']['detail']}"
    return "later" + (", a guess" if row.get("guess") else "")
