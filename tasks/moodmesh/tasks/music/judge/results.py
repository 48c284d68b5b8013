"""`moodmesh results music.judge`: how good judges are and what the gate lets pass, from cached predictions (evaluation §9)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.corpus.sets import data_dir
from moodmesh.tasks.music.judge import CARDS, fit, measures, report
from moodmesh.tasks.music.judge.bench import Arrays, Bench, retrain, shuffled_labels
from moodmesh.tasks.music.judge.controls import MOODS
from moodmesh.tasks.music.judge.gatebench import BARS, OF_EACH
from moodmesh.tasks.music.judge.heard import Floats, Ints
from moodmesh.tasks.music.judge.labelled import Labelled
from moodmesh.tasks.music.judge.ship import SHUFFLES
from moodmesh.tasks.tables import Table, attempt, command, finish, hashes, head, shas, short, strays

TABLE = "music.judge"
SCHEMA = 1
FLOOR = "12 statistics"
SEALED_SCORINGS = 1  # the linear baseline, scored before this project (evaluation §4)
PUBLISHED_FLOOR = (0.686, 0.903, 0.750)  # evaluation §4
TUNING = {
    FLOOR: "none",
    "12 statistics, as published": "none",
    "majority": "none",
    "length only": "none",
    "tiny": "none",
    "rich, chosen inside each fold": "best of three ways by inner cross-validation",
}
"""What was chosen on which rows; every other row: `_WAYS`."""
_WAYS = "strengths, width and learning rate from a handful on this cross-validation: it flatters them a little"


def judge_rows(found: dict[str, Arrays], rows: dict[str, Labelled]) -> list[Table]:
    """One JSON row a part, system and metric."""
    made: list[Table] = []
    for part in ("emopia", "half", "vgmidi"):
        systems = {"majority": _majority(rows[part])} | {name: runs.astype(float) for name, runs in found[part].items()}
        floor = systems.get(FLOOR, systems.get("tiny"))
        for name, runs in systems.items():
            highs = [_truth(name, rows[part].high, seed) for seed in range(len(runs))]
            made += _rows(part, name, runs, highs, rows[part].groups, floor)
    for name, runs in found["cross"].items():
        target = rows["vgmidi" if name.endswith("VGMIDI") else "half"]
        made += _rows("cross", name, runs.astype(float), [target.high], target.groups, None)
    return made


def _truth(name: str, high: Ints, seed: int) -> Ints:
    return shuffled_labels(high, seed) if name == "labels shuffled" else high


def _majority(rows: Labelled) -> Floats:
    """[1, n, 2] what is most common outside of each fold."""
    made = np.zeros((1, *rows.high.shape))
    for train, held in fit.folds(rows.groups, 0):
        made[0, held] = rows.high[train].mean(0)
    return made


def _rows(
    part: str, name: str, runs: Floats, highs: Sequence[Ints], groups: Sequence[str], floor: Floats | None
) -> Iterator[Table]:
    correct = np.array([measures.right(run, high) for run, high in zip(runs, highs, strict=True)])
    each = correct.mean(1)
    drawn = measures.drawn(correct.mean(0), groups)
    between = measures.interval(drawn)
    f1 = np.mean([measures.macro_f1(run, high) for run, high in zip(runs, highs, strict=True)], axis=0)
    ece = np.mean([measures.calibration_error(run, high) for run, high in zip(runs, highs, strict=True)], axis=0)
    even = np.mean([measures.balanced(run, high) for run, high in zip(runs, highs, strict=True)], axis=0)
    p = None
    if floor is not None and floor is not runs and name != "labels shuffled":
        base = np.mean([measures.right(run, highs[0]) for run in floor], axis=0)
        gap = drawn - measures.drawn(base, groups)
        p = np.clip(2 * np.minimum((gap <= 0).mean(0), (gap >= 0).mean(0)), 1 / len(gap), 1)
    for n, metric in enumerate(measures.METRICS):
        yield {
            "part": part,
            "system": name,
            "metric": metric,
            "mean": short(each[:, n].mean()),
            "sd": short(each[:, n].std(ddof=1)) if len(each) > 1 else None,
            "ci95": [short(between[n, 0]), short(between[n, 1])],
            "macro_f1": short(f1[n]),
            "balanced": None if n == 0 else short(even[n - 1]),
            "ece": None if n == 0 else short(ece[n - 1]),
            "seeds": len(each),
            "n": correct.shape[1],
            "n_groups": len(set(groups)),
            "tuning": TUNING.get(name, _WAYS),
            "p_against_floor": None if p is None else short(p[n]),
        }


def gate_rows(found: Arrays) -> list[Table]:
    """The share of each kind that each of the three lets pass, and all of them."""
    kinds = {name: flags for name, flags in found.items() if not name.startswith("judged/")}
    kinds["real/all"] = np.concatenate([flags for name, flags in kinds.items() if name.startswith("real/")])
    made = []
    for name, flags in sorted(kinds.items()):
        whole = np.asarray(flags.astype(bool).all(axis=1))
        low, high = _wilson(int(whole.sum()), len(flags))
        shares = dict(zip(("real", "nll", "structure"), (short(share) for share in flags.astype(float).mean(0)), strict=True))
        made.append({"what": name, "n": len(flags), "passes": short(whole.mean()), "ci95": [short(low), short(high)], **shares})
    return made


def _wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share, width = hits / n, z * np.sqrt(hits / n * (1 - hits / n) / n + z * z / (4 * n * n))
    middle = share + z * z / (2 * n)
    return float((middle - width) / (1 + z * z / n)), float((middle + width) / (1 + z * z / n))


def counted(found: Arrays) -> list[Table]:
    """Of each control and judge, the share judged as intended, alone and where the gate lets the piece pass as well."""
    intended = np.array([(mood[1] > 0, mood[0] > 0) for mood in MOODS for _ in range(OF_EACH)], np.int64)
    made = []
    for name in sorted(found):
        if name.startswith("judged/"):
            _, control, judge = name.split("/")
            correct = measures.right(found[name].astype(float), intended)
            through = found[f"control/{control}"].astype(bool).all(axis=1, keepdims=True)
            alone, gated = correct.mean(0), (correct * through).mean(0)
            shares = {metric: [short(alone[n]), short(gated[n])] for n, metric in enumerate(measures.METRICS)}
            made.append({"control": control, "judge": judge, "n": len(correct), **shares})
    return made


def compute(bench: Bench, quick: bool) -> Table:
    """The whole table as JSON, `summary` in it."""
    rows = bench.labels()
    parts = ("emopia", "half", "vgmidi", "cross", "gate")
    found = {part: bench.load(part) for part in parts}
    judged = judge_rows(found, rows)
    top = head(TABLE, SCHEMA, quick, _data(bench, rows), {"shuffles of the folds": SHUFFLES}, shas(CARDS))
    table: Table = top | {
        "rows": judged,
        "confusion": _confusion(found["half"]["base"], rows["half"]),
        "gate": {"bars": BARS, "rows": gate_rows(found["gate"])},
        "counted": counted(found["gate"]),
        "controls": {"published_floor": dict(zip(measures.METRICS, PUBLISHED_FLOOR, strict=True))},
        "sealed_scorings": SEALED_SCORINGS,
        "notes": list(report.NOTES),
    }
    return table | {"summary": summary(table)}


def _confusion(runs: Any, rows: Labelled) -> list[list[float]]:
    """[4][4] mean counts over shuffles, rows as labelled."""
    mean = np.mean([measures.confusion(run, rows.high) for run in runs.astype(float)], axis=0)
    return [[short(value) for value in row] for row in mean.tolist()]


def _data(bench: Bench, rows: dict[str, Labelled]) -> list[Table]:
    named = split.sha256(split.load(bench.configs))
    return [
        {
            "name": name,
            "part": "open",
            "files": hashes([bench.root / "music" / name / "index.csv", bench.root / "music" / name / "midi.tar.xz"]),
            "split": named,
            "rows": len(rows[name].names),
            "groups": len(set(rows[name].groups)),
            "licence_class": licence,
        }
        for name, licence in (("emopia", "N"), ("vgmidi", "R"))
    ]


def summary(table: Table) -> Table:
    """Accuracies that goals are stated in, the share of real music that passes, and of random notes that counts."""
    means = {(row["part"], row["system"], row["metric"]): row["mean"] for row in table["rows"]}
    systems = {
        "floor": ("emopia", FLOOR),
        "method": ("emopia", "rich, logistic and kernel"),
        "tiny": ("half", "tiny"),
        "base": ("half", "base"),
        "second": ("vgmidi", "base"),
    }
    passes = {row["what"]: row["passes"] for row in table["gate"]["rows"]}
    base = {row["control"]: row for row in table["counted"] if row["judge"] == "base"}
    return {
        **{name: [means[(*key, metric)] for metric in measures.METRICS] for name, key in systems.items()},
        "real_passes": passes["real/all"],
        "random_counts": {name: max(row["arousal"][1], row["valence"][1]) for name, row in base.items() if "random" in name},
    }


def check(stored: Table, computed: Table) -> list[str]:
    """Means that left their stored 95 % interval, as sentences."""
    return strays(stored, computed, ("part", "system", "metric"), "mean", "ci95")


def main(arguments: Sequence[str]) -> int:
    """The command after `moodmesh results music.judge`; the exit code: 0 done, 1 failed or cannot run."""
    parser = command(TABLE, __doc__, "nothing: all of it takes seconds")
    parser.add_argument("--retrain", action="store_true", help="fill the cache of predictions first, part by part")
    parser.add_argument("--cache", type=Path, default=Path(".cache/music"), help="prepared pieces; made where they are not")
    return attempt(_run, parser.parse_args(arguments))


def _run(args: argparse.Namespace) -> int:
    bench = Bench(data_dir(args.data), args.configs.parent, args.cache, args.out / "predictions")
    if args.retrain:
        retrain(bench, lambda line: print(line, file=sys.stderr, flush=True))
    table = compute(bench, args.quick)
    return finish(args, table, report.markdown(table), check)
