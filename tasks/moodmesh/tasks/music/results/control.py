"""How far a mood that is asked for is judged as meant, with the gate and without it (evaluation §5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from moodmesh.tasks.music.judge import measures
from moodmesh.tasks.music.judge.controls import MOODS
from moodmesh.tasks.music.judge.heard import Floats, Ints
from moodmesh.tasks.music.results.figures import ATTRIBUTES, Arrays
from moodmesh.tasks.music.results.real import JUDGES
from moodmesh.tasks.music.rules.attributes import Attributes, distance, wanted
from moodmesh.tasks.music.rules.moods import Mood
from moodmesh.tasks.tables import Table, short

NAMED = {"poly": "arousal", "mode": "valence"}
"""What the latents of a GMVAE stand for."""
GROUPS = 5
"""Groups of seeds that a row is sampled in."""


def asked(found: Arrays) -> Ints:
    """[n, 2] whether high arousal and high valence were asked for."""
    moods = np.array([(arousal > 0, valence > 0) for valence, arousal in MOODS], np.int64)
    return np.asarray(moods[found["quadrant"].astype(int)])


def right(found: Arrays, judge: int) -> Floats:
    """[n, 3] 1 where quadrant, arousal, valence are judged as asked; a piece that cannot be judged is never right."""
    chances = found["chances"][:, judge]
    return np.asarray(measures.right(chances, asked(found)) * np.isfinite(chances).all(1, keepdims=True))


def through(found: Arrays) -> Floats:
    """[n, 1] 1 where a piece passes the gate."""
    return np.asarray(found["passes"].min(1, keepdims=True))


def rows(name: str, found: Arrays, against: Arrays | None) -> list[Table]:
    """A JSON row a judge, counted alone and under the gate, and metric; intervals are bootstraps over seeds.

    `against` is the row of the attribute table: with the same seeds, differences are drawn in pairs.
    """
    made = []
    seeds = [str(int(seed)) for seed in found["seed"]]
    group = found["seed"].astype(int) * GROUPS // (int(found["seed"].max()) + 1)
    for number, judge in enumerate(JUDGES):
        for gated in (False, True):
            correct = right(found, number) * (through(found) if gated else 1.0)
            drawn = measures.drawn(correct, seeds)
            between = measures.interval(drawn)
            apart = _apart(drawn, against, number, gated)
            spread = [correct[group == one].mean(0) for one in range(GROUPS) if (group == one).any()]
            for n, metric in enumerate(measures.METRICS):
                made.append(
                    {
                        "system": name,
                        "judge": judge,
                        "gate": gated,
                        "metric": metric,
                        "mean": short(correct[:, n].mean()),
                        "sd": short(np.std(spread, axis=0, ddof=1)[n]) if len(spread) > 1 else None,
                        "ci95": [short(value) for value in between[n]],
                        "less_table": None if apart is None else [short(value) for value in apart[n]],
                        "n": len(correct),
                        "n_groups": len(set(seeds)),
                    }
                )
    return made


def _apart(drawn: Floats, against: Arrays | None, number: int, gated: bool) -> Floats | None:
    """[3, 3] mean and interval of what a row has above the attribute table; None without one."""
    if against is None:
        return None
    correct = right(against, number) * (through(against) if gated else 1.0)
    gap = drawn - measures.drawn(correct, [str(int(seed)) for seed in against["seed"]])
    return np.column_stack([gap.mean(0), measures.interval(gap)])


def training(found: dict[str, Arrays]) -> dict[str, Table]:
    """By row, all its training seeds together: how many, and [mean, sd] of each metric by the base judge under the gate."""
    seeds: dict[str, list[Floats]] = {}
    for name, rows_ in found.items():
        right_ = right(rows_, JUDGES.index("base")) * through(rows_)
        seeds.setdefault(name.split(", seed ")[0], []).append(right_.mean(0))
    return {
        name: {"seeds": len(means)}
        | {
            metric: [short(np.mean(means, axis=0)[n]), short(np.std(means, axis=0, ddof=1)[n])]
            for n, metric in enumerate(measures.METRICS)
        }
        for name, means in seeds.items()
        if len(means) > 1
    }


def labels(rows_: Sequence[Table], latents: dict[str, Table], shares: dict[str, float]) -> list[Table]:
    """By share of labels, over its training seeds: the mean of arousal and valence judged as asked by the base judge under the
    gate, and of clips of the judges' half whose arousal and valence q(y | x) names."""
    judged = {(row["system"], row["metric"]): row["mean"] for row in rows_ if row["judge"] == "base" and row["gate"]}
    made = []
    for share in sorted(set(shares.values())):
        mine = [name for name, its in shares.items() if its == share and name in latents and (name, "4Q") in judged]
        if mine:
            found = {metric: [judged[name, metric] for name in mine] for metric in ("arousal", "valence")}
            found |= {f"q(y), {said}": [latents[name]["named"][axis][0] for name in mine] for axis, said in NAMED.items()}
            means = {said: short(np.mean(values)) for said, values in found.items()}
            made.append({"share": share, "seeds": len(mine)} | means)
    return made


def gate_row(name: str, found: Arrays) -> Table:
    """The shares that each of the three lets pass, and all of them, and where the gate never met their kind (`new`, of kinds
    that it otherwise has); how many have no note."""
    shares = dict(zip(("real", "nll", "structure"), (short(share) for share in found["passes"].mean(0)), strict=True))
    empty = int(np.isnan(found["chances"]).any((1, 2)).sum())
    new = short(found["new"].min(1).mean()) if "new" in found else None
    whole = short(through(found).mean())
    return {"system": name, "n": len(found["passes"]), "passes": whole, "new": new, **shares, "without notes": empty}


def confusion(found: Arrays, judge: int = 1) -> list[list[int]]:
    """[4][4] counts, the quadrant asked for by the one judged; pieces that cannot be judged are left out."""
    there = np.isfinite(found["chances"][:, judge]).all(1)
    counts: list[list[int]] = measures.confusion(found["chances"][there, judge], asked(found)[there]).tolist()
    return counts


def mode_match(found: Arrays) -> float:
    """The share of pieces whose best key is minor where valence is low and major where it is high."""
    return float(((found["attributes"][:, 0] > 0) != (asked(found)[:, 1] > 0)).mean())


def from_asked(found: Arrays, moods: Sequence[Mood]) -> float:
    """Mean `attributes.distance` of what is heard from what was asked, `moods` by quadrant."""
    rows = zip(found["quadrant"].astype(int), found["attributes"], strict=True)
    return float(np.mean([distance(wanted(*moods[quadrant]), _heard(row)) for quadrant, row in rows]))


def _heard(row: Floats) -> Attributes:
    minor, bpm, density, register, velocity, dynamics, articulation, polyphony, _ = row.tolist()
    return Attributes(minor > 0, bpm, density, register, velocity, dynamics, articulation, round(polyphony))


def speed(found: Arrays) -> Floats:
    """[n] tempo times density: moments a minute at which notes begin."""
    return np.asarray(found["attributes"][:, 1] * found["attributes"][:, 2])


def grid(found: Arrays) -> Table:
    """Over asked (valence, arousal): Spearman of tempo x density and of the judged chances with what was asked, and cells."""
    valence, arousal = found["asked"].T
    chances = found["chances"][:, 1]
    made: Table = {
        "n": len(arousal),
        "speed_arousal": _rank(speed(found), arousal),
        "judged_arousal": _rank(chances[:, 0], arousal),
        "judged_valence": _rank(chances[:, 1], valence),
    }
    axes = [sorted({float(value) for value in axis}) for axis in (arousal, valence)]
    cells = [[(arousal == a) & (valence == v) for v in axes[1]] for a in axes[0]]
    for axis, name in enumerate(("arousal", "valence")):
        made[f"cells_{name}"] = [[short(np.nanmean(chances[cell, axis])) for cell in row] for row in cells]
    return made | {"axes": axes}


def _rank(found: Floats, wanted: Floats) -> float:
    there = np.isfinite(found)
    return short(spearmanr(found[there], wanted[there]).statistic)


def mean_by_quadrant(found: Arrays) -> list[dict[str, float]]:
    """The mean of what is heard, by the quadrant that was asked for."""
    quadrants = [found["attributes"][found["quadrant"] == number].mean(0) for number in range(len(MOODS))]
    return [dict(zip(ATTRIBUTES, (short(value) for value in means), strict=True)) for means in quadrants]
