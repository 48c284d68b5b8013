"""Predicted against actual, once an attempt has ended (routing §10): how far off, by which term, best in hindsight or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABOUT = 1.15
"""Up to this ratio a prediction was right."""


def compared(attempt: Mapping[str, Any], explain: Mapping[str, Any]) -> dict[str, Any] | None:
    """Seconds from the placement to the result, predicted (at the median; `mean_s` is what the table adds up to) and actual;
    None without a result or a table.

    `terms`: (predicted, actual) of the wait before the task's first line, of the work, and of what came after it. `regret_s`:
    how much sooner the best of the other devices would have been by its own prediction, were the work as long as it was; a
    device that has only guessed is not held against the choice.
    """
    chosen, created, finished = explain.get("chosen"), attempt["created"], attempt["finished"]
    if attempt["state"] != "COMMITTED" or finished is None or not chosen or "total" not in chosen:
        return None
    actual, worked = max(0.0, finished - created), attempt["worked"]
    likely = chosen.get("likely", chosen["total"])
    found = {
        "predicted_s": likely, "mean_s": chosen["total"], "p95_s": chosen["p95"], "actual_s": actual,
        "ratio": actual / likely if likely > 0 else None, "within_p95": actual <= chosen["p95"],
        "terms": {} if attempt["started"] is None or worked is None else _terms(attempt, chosen, likely),
    }  # fmt: skip
    harder = worked / chosen["service"] if worked is not None and chosen["service"] > 0 else 1.0
    others = [
        r["total"] + (harder - 1) * r["service"]
        for r in explain["rows"]
        if "total" in r and not r["gate"] and not r.get("guess") and r["device"] != chosen["device"]
    ]
    return found | {"regret_s": max(0.0, actual - min(others)) if others else 0.0}


def _terms(attempt: Mapping[str, Any], chosen: Mapping[str, Any], likely: float) -> dict[str, list[float]]:
    """Messages and journals are half before and half after the work."""
    created, started, finished, worked = (attempt[name] for name in ("created", "started", "finished", "worked"))
    hand = chosen.get("hand", 0.0) / 2
    ahead, way = max(chosen["transfer"], chosen["queue"]) + chosen["load"] + hand, chosen["back"] + hand
    return {
        "wait": [ahead, max(0.0, started - created)],
        "work": [likely - ahead - way, worked],
        "after": [way, max(0.0, finished - started - worked)],
    }


def words(found: Mapping[str, Any]) -> list[str]:
    """The comparison for people, in one or two lines."""
    half, mean, most = (seconds(found[name]) for name in ("predicted_s", "mean_s", "p95_s"))
    expected = f"predicted: {half} at the median, {mean} in the mean, 19 of 20 within {most}"
    lines = [f"it took {seconds(found['actual_s'])}: {_verdict(found)} ({expected})"]
    if found["regret_s"] > max(0.05, 0.1 * found["actual_s"]):
        sooner = seconds(found["regret_s"])
        lines.append(
            f"in hindsight another device might have been {sooner} faster, as it predicted and with work as long as this was"
        )
    return lines


def _verdict(found: Mapping[str, Any]) -> str:
    ratio = found["ratio"]
    if ratio is None or (1 / ABOUT <= ratio <= ABOUT and found["within_p95"]):
        return "as predicted"
    late = ratio > 1
    how = (
        f"{ratio:{'.2f' if ratio < ABOUT else '.1f'}} x the predicted median"
        if late
        else f"{ratio:.0%} of the predicted median"
    )
    if not found["terms"]:
        return how
    name, (said, was) = max(found["terms"].items(), key=lambda term: (term[1][1] - term[1][0]) * (1 if late else -1))
    return f"{how}, {NAMES[name]} {seconds(was)} instead of {seconds(said)}"


NAMES = {"wait": "until its first line", "work": "the work itself", "after": "the way back, and until it was fetched,"}


def seconds(value: float) -> str:
    """Seconds as a person says them."""
    return f"{1000 * value:.0f} ms" if value < 0.9995 else f"{value:.3g} s" if value < 120 else f"{value / 60:.1f} min"
