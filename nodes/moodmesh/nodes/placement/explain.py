"""A decision as data (kept with each attempt, shown by `job explain`), and as a table for people (routing §10)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from moodmesh.nodes.placement.gates import device_gate
from moodmesh.nodes.placement.hedge import idle
from moodmesh.nodes.placement.score import TIE, Z90, Z95, Placement, Row, place

ALL, SHOWN = 32, 16
REST = {"slower": "that are slower or busier", "absent": "that are absent"}
COLUMNS = ("transfer", "queue", "load", "service", "back", "hand", "total")
DISPLACED, HELD, LOST = "displaced", "held", "lost"
TOOK = "was free and took it"
BESIDE = "was idle, and runs it beside the attempt that takes long: expected to be done sooner than that has taken already"


def summary(placement: Placement) -> dict[str, Any]:
    """The decision as JSON: the devices with their terms in seconds, or the gate that barred them; and why the first won.

    What is held back has a `best` of the moment and no `chosen`. Of up to `ALL` devices every one; of more the best that were
    weighed, and the others counted by what kept them out.
    """
    few = len(placement.devices) <= ALL
    found = placement.rows if few else [placement.verdict(row) for row in placement.weighed]
    ordered = sorted(
        found,
        key=lambda r: (not placement.is_chosen(r), r.terms.total if r.terms else math.inf, r.name, r.device, r.variant or ""),
    )
    told = ordered if few else _best(ordered)
    rows = [_row(row, placement) for row in told]
    best = next((r for r in rows if r["chosen"] or HELD in r), None)
    more = {
        "best": best if placement.held else None,
        "late": late(placement),
        "elsewhere": _elsewhere(placement),
        "rest": {} if few else _rest(placement, told),
    }
    reason = f"held back, though {why(placement)}" if placement.held else why(placement)
    return {"rows": rows, "chosen": None if placement.held else best, "why": reason, **{k: v for k, v in more.items() if v}}


def _elsewhere(placement: Placement) -> dict[str, Any]:
    """The best variant that could answer, were no device asked for (`--on`): what that costs is said with the answer."""
    if placement.ask.on is None:
        return {}
    best = place(replace(placement.ask, on=None, variant=None, quality="best", by_s=None), placement.devices).chosen
    return {"variant": best.variant, "quality": best.quality} if best is not None else {}


def _best(ordered: Sequence[Row]) -> list[Row]:
    """The first of all, and the first of each quality: what was given up must be seen."""
    first = {row.quality: row for row in reversed(ordered) if row.terms}
    return [*ordered[:SHOWN], *(row for row in first.values() if row not in ordered[:SHOWN])]


def _rest(placement: Placement, told: Sequence[Row]) -> dict[str, int]:
    """How many devices are not in the table, by the gate that bars them; `slower`: none does."""
    shown = {row.device for row in told}
    gates = (device_gate(placement.ask, d) for d in placement.devices if d.id not in shown)
    return dict(Counter(gate.name if gate else "slower" for gate in gates).most_common())


def _row(row: Row, placement: Placement) -> dict[str, Any]:
    best = placement.is_chosen(row)
    found: dict[str, Any] = {"device": row.device, "name": row.name, "here": row.here, "variant": row.variant}
    found |= {"chosen": best and not placement.held, "quality": row.quality}
    found |= {HELD: True} if best and placement.held else {}
    if row.terms is not None:
        t = row.terms
        found |= {k: v for k, v in t._asdict().items() if not k.startswith("log_")}
        found |= {"total": t.total, "likely": t.likely, "p95": t.slow(Z95), "guess": row.guess}
        found |= {LOST: lost} if (lost := _lost(row, placement)) else {}
    return found | {"gate": asdict(row.gate) if row.gate else None}


def _lost(row: Row, placement: Placement) -> str:
    """Why a device that would be sooner took no part, where the totals were not all that was compared; else empty."""
    best = placement.chosen.terms if placement.chosen is not None else None
    if best is None or row.terms is None or row.terms.total >= best.total:
        return ""
    if placement.taken:
        return "did not ask for it"
    if row.device in placement.beside:
        return "runs the first attempt" if len(placement.beside) == 1 else "runs another attempt"
    device = next(d for d in placement.devices if d.id == row.device)
    if not placement.beside or idle(device):
        return ""
    return "not on mains" if device.dynamic is not None and device.dynamic.power != "ok" else "not idle"


def why(placement: Placement) -> str:
    """One sentence: why the chosen device won. It names devices, this one too: it may be read on another."""
    best = placement.chosen
    if best is None or best.terms is None:
        return "no device can run it now"
    predicted = f"{best.terms.total:.2f} s predicted"
    if asked := _asked(placement, best):
        return f"{asked}: {predicted}"
    of = "" if placement.any_quality else f" of {best.variant}"
    rows = placement.rows if len(placement.devices) <= ALL else [placement.verdict(row) for row in placement.weighed]
    others = [r for r in rows if not placement.is_chosen(r) and r.terms and not r.gate and _competed(placement, r)]
    if not others and len(placement.devices) > ALL:
        return f"{_who(placement, best)} returns the result{of} soonest: {predicted}, the work alone is longer elsewhere"
    return _against(placement, best, others, of, predicted) if others else _alone(placement, best, rows)


def _competed(placement: Placement, row: Row) -> bool:
    return placement.any_quality or placement.chosen is None or row.variant in (None, placement.chosen.variant)


def _who(placement: Placement, row: Row) -> str:
    """A device, with what it would run where that may differ."""
    return f"{row.name} with {row.variant}" if placement.any_quality else row.name


def _alone(placement: Placement, best: Row, rows: Sequence[Row]) -> str:
    barred = [r for r in rows if r.gate and r.device != best.device and _competed(placement, r)]
    barred.sort(key=lambda r: (r.name, r.device))
    told = dict.fromkeys(f"{r.name}: {r.gate.name}" for r in barred if r.gate)
    what = "it" if placement.any_quality else best.variant
    return f"{best.name} is the only device that may run {what}" + ("; " + ", ".join(told) if told else "")


def _against(placement: Placement, best: Row, others: Sequence[Row], of: str, predicted: str) -> str:
    """Against the best of the others: how many seconds decided, and what else counted where it was not they alone."""

    def seconds(row: Row) -> float:
        assert row.terms is not None
        return row.terms.slow(Z90) if placement.late else row.terms.total

    second = min(others, key=seconds)
    assert best.terms is not None
    assert second.terms is not None
    who, there = _who(placement, best), f"{seconds(second):.2f} s on {_who(placement, second)}"
    if placement.late:
        return f"nothing is likely to be in time; {who} is soonest for 9 of 10: within {seconds(best):.2f} s, {there}"
    if second.terms.total >= best.terms.total:
        return f"{who} returns the result{of} soonest: {predicted}, {there}"
    if second.terms.cost > best.terms.cost * (1 + TIE):
        lost = f"longer jobs that wait there would lose {second.terms.displaced:.2f} s by it"
        return f"{who} returns the result{of} at the least cost: {predicted}; {there}, but {lost}"
    return f"{who} returns the result{of} as soon as any: {predicted}, {there}; differences of {TIE:.0%} do not count"


def _asked(placement: Placement, best: Row) -> str:
    """Why there was no choice between devices; empty where there was one."""
    if placement.taken:
        return f"{best.name} {TOOK}"
    if placement.beside:
        return f"{best.name} {BESIDE}"
    if placement.ask.small_part:
        return f"{best.name} asked, and the small model of --escalate ({best.variant}) answers where it is asked"
    return f"{best.name} was asked for with --on" if placement.ask.on is not None else ""


def late(placement: Placement) -> str:
    """That the deadline asked for is not likely to be met, in words; empty when it is, or when none was."""
    best, by_s = placement.chosen, placement.ask.by_s
    if not placement.late or by_s is None or best is None or best.terms is None:
        return ""
    return f"it is late: 9 of 10 take up to {best.terms.slow(Z90):.3g} s even on {best.name}, {by_s:.3g} s are left"


def table(explain: Mapping[str, Any]) -> list[str]:
    """The rows of `summary` as aligned lines."""
    rows: Sequence[Mapping[str, Any]] = explain["rows"]
    width = max([6, *(len(label(r)) for r in rows)])
    soonest = next((float(row.get("total", 0.0)) for row in rows if row["chosen"] or row.get(HELD)), 0.0)
    shown = [*COLUMNS, *([DISPLACED] if any(row.get(DISPLACED) for row in rows) else [])]
    lines = [f"  {'device':<{width}}  " + " ".join(f"{c:>9}" for c in shown) + "   verdict"]
    for row in rows:
        cells = " ".join(f"{row[c]:>9.3f}" if c in row else f"{'-':>9}" for c in shown)
        lines.append(f"  {label(row):<{width}}  {cells}   {verdict(row, soonest)}")
    if rest := explain.get("rest"):
        lines.append(
            "  and " + ", ".join(f"{count} {REST.get(name, f'kept out by gate {name}')}" for name, count in rest.items())
        )
    return lines


def label(row: Mapping[str, Any]) -> str:
    """Device and variant of a row."""
    name = f"{row['name']} (here)" if row["here"] else str(row["name"])
    return f"{name} {row['variant']}" if row["variant"] else name


def verdict(row: Mapping[str, Any], chosen_s: float = 0.0) -> str:
    """Why a row won or not; `chosen_s`: the total of the one that did."""
    if row["chosen"]:
        return "chosen"
    if row.get(HELD):
        return "best now, but held back"
    if row["gate"]:
        return f"ruled out by {row['gate']['name']}: {row['gate']['detail']}"
    why = row.get(LOST, "not only that counted (see above)")
    lost = f"sooner, but {why}" if row.get("total", math.inf) < chosen_s else "later"
    return lost + (", a guess" if row.get("guess") else "")
