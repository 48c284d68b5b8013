"""What a decision costs in quality: the variant it takes beside the best one present (routing §4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OPEN = (None, "quality", "deadline", "variant")
"""Gates that what was asked for closed, and nothing about the device."""


def stated(explain: Mapping[str, Any], measure: str, figures: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """The loss of a decision against the best variant present, also where `--on` left that out, from the table kept with it
    (`explain.summary`); None where there was no device to choose.

    `loss` is None when the best variant present was taken, and empty when its cards have no figures to compare. `words` say
    it, and that a deadline will not be met (`explain.late`).
    """
    chosen = explain.get("chosen") or explain.get("best")
    if not chosen:
        return None
    able = [row for row in explain["rows"] if row["variant"] and (row["gate"] or {}).get("name") in OPEN]
    if there := explain.get("elsewhere"):
        able.append(there)
    best = max(able, key=_rank, default=chosen)
    used, late = chosen["variant"], str(explain.get("late", ""))
    found: dict[str, Any] = {"variant": used, "best_present": best["variant"], "measure": measure, "loss": None, "words": ""}
    if _rank(best) <= _rank(chosen):
        return found | {"best_present": used, "words": late}
    pairs = list(zip(figures.get(best["variant"], ()), figures.get(used, ()), strict=False))
    loss = [round(theirs - ours, 4) for theirs, ours in pairs]
    words = _words(used, best["variant"], measure, pairs)
    return found | {"loss": loss, "words": f"{words}; {late}" if late else words}


def _rank(row: Mapping[str, Any]) -> int:
    return int(row.get("quality", 0))


def _words(used: str, best: str, measure: str, pairs: Sequence[tuple[float, float]]) -> str:
    if not pairs:
        return f"{used} answers although {best} is present; their cards have no figures to compare"
    ours, theirs = ("/".join(figure(pair[n]) for pair in pairs) for n in (1, 0))
    return f"{used} answers although {best} is present: {ours} instead of {theirs}, {measure}"


def figure(value: float) -> str:
    """Three digits, without the zero before the point."""
    return f"{value:.3f}".replace("0.", ".", 1)
