"""`moodmesh results generation`: is a mood expressed as it is asked for, as music, without copying (evaluation §5, §9)?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.corpus.sets import data_dir
from moodmesh.tasks.music.generate.novelty import LINES
from moodmesh.tasks.music.judge import CARDS
from moodmesh.tasks.music.judge.gates import SETS
from moodmesh.tasks.music.results import compared, control, habits, latents, picture, report, transfers
from moodmesh.tasks.music.results.bench import HELD, JUDGED, Bench, missing, mixed, names, retrain
from moodmesh.tasks.music.results.figures import Arrays
from moodmesh.tasks.music.results.likelihoods import MARKOV
from moodmesh.tasks.music.results.real import Real
from moodmesh.tasks.music.results.runs import PLANNED, found
from moodmesh.tasks.music.results.systems import MOODS, OF_REAL, REAL, TABLE
from moodmesh.tasks.tables import PredictionMissing, Table, attempt, command, finish, hashes, head, origin, shas, short, strays

SCHEMA = 1
NAME = "generation"
LOOK = "12 notes"
"""The figure of copying that the summary tells, fixed before any was computed: over all notes, runs of so many."""
LICENCES = {"pop909": "F", "emopia": "N", "jsb": "F", "giantmidi": "F", "vgmidi": "R"}


def compute(bench: Bench, quick: bool) -> Table:
    """The whole table as JSON; PredictionMissing when a row that can be made was not."""
    rows = {name: _needed(bench, name, weights) for name, weights in names(bench)}
    held, judged = _needed(bench, HELD, None), _needed(bench, JUDGED, None)
    unseen = {HELD: held["structure"], JUDGED: judged["structure"]}
    whole = {**rows, HELD: held}
    references = {bench.reference_of(name) for name in whole}
    if len(references) > 1 or mixed(bench):
        what = "by different gates" if len(references) > 1 else f"of different weights ({', '.join(mixed(bench))})"
        raise PredictionMissing(f"rows were measured {what}: run `moodmesh results generation --retrain`")
    seeds = {"a mood": bench.per, "groups": control.GROUPS, "bars": bench.bars, "windows": bench.windows}
    top = head(NAME, SCHEMA, quick, _data(bench), seeds, shas(CARDS) | _weights(bench, list(rows)))
    judged_rows = [one for name, found in rows.items() for one in control.rows(name, found, _table_for(name, rows))]
    probed = latents.tables(bench, PLANNED)
    table: Table = top | {
        "rows": judged_rows,
        "gate_reference": references.pop() or "order-3 Markov",
        "gate": [control.gate_row(name, found) for name, found in whole.items()],
        "confusion": {name: control.confusion(found) for name, found in rows.items()},
        "mode": {name: short(control.mode_match(found)) for name, found in rows.items()},
        "from_asked": {
            name: short(control.from_asked(found, MOODS)) for name, found in rows.items() if not name.endswith("matched")
        },
        "heard": {name: control.mean_by_quadrant(found) for name, found in rows.items()},
        "grid": {name: control.grid(found) for name in rows if (found := bench.load(f"{name} grid")) is not None},
        "nats": _nats(bench),
        "statistics": {
            name: compared.statistics(found, np.concatenate([one for other, one in unseen.items() if other != name]))
            for name, found in whole.items()
        },
        "copying": {name: compared.copying(found, held) for name, found in whole.items() if name not in OF_REAL},
        "habits": habits.table(bench, list(rows), HELD),
        "latents": probed,
        "transfer": transfers.table(bench, [one.row for one in PLANNED]),
        "training": control.training(rows),
        "labels": control.labels(judged_rows, probed, {one.row: one.labels for one in PLANNED if one.kind == "gmvae"}),
        "missing": [one.row for one in missing(bench)],
        "sealed_scorings": 0,
        "notes": list(report.NOTES),
    }
    return table | {"summary": summary(table)}


def _needed(bench: Bench, name: str, weights: str | None) -> Arrays:
    arrays = bench.load(name, weights)
    if arrays is None:
        raise PredictionMissing(f"no kept figures of '{name}': run `moodmesh results generation --retrain`")
    return arrays


def _table_for(name: str, rows: dict[str, Arrays]) -> Arrays | None:
    """The attribute table's row that a row is compared with: what is matched, or the best of n takes, with the same of the
    table; none for the table itself and REAL."""
    if name.startswith(TABLE) or name == REAL:
        return None
    way = name.rpartition(", ")[2]
    return rows.get(f"{TABLE}, {way}", rows[TABLE])


def _weights(bench: Bench, rows: list[str]) -> dict[str, str]:
    return {name: sha for name in rows if (sha := bench.weights_of(name))}


def _nats(bench: Bench) -> dict[str, dict[str, float]]:
    """By row and set, and over all."""
    made = {}
    for name in (MARKOV, *(one.row for one in PLANNED)):
        for row, values in (bench.load(f"nats {name}") or {}).items():
            made[row] = dict(zip((*SETS, "free", "all"), (short(value) for value in values), strict=True))
    return made


def _data(bench: Bench) -> list[Table]:
    named = split.sha256(split.load(bench.real.configs))
    made = []
    for name, licence in LICENCES.items():
        files = hashes(sorted(file for file in (bench.real.root / "music" / name).iterdir() if file.is_file()))
        made.append({"name": name, "part": "open", "files": files, "split": named, "licence_class": licence})
    return made


def summary(table: Table) -> Table:
    """What goals are stated in: of each row [alone, with the gate] by the base judge, what it has above the table, copies."""
    means = {(row["system"], row["judge"], row["gate"], row["metric"]): row for row in table["rows"]}
    made: Table = {"missing": table["missing"], "nats": {name: row["all"] for name, row in table["nats"].items()}}
    for name in {row["system"]: None for row in table["rows"]}:
        said = {}
        for metric in ("4Q", "arousal", "valence"):
            said[metric] = [means[name, "base", gated, metric]["mean"] for gated in (False, True)]
        over = means[name, "base", True, "valence"]["less_table"]
        copied = table["copying"].get(name)
        made[name] = {**said, "valence_above_table": over, "copied_beyond": copied and copied[LINES[0]][LOOK]["beyond"]}
    return made


def check(stored: Table, computed: Table) -> list[str]:
    """Means that left their stored 95 % interval, as sentences."""

    def said(table: Table) -> Table:
        return {"rows": [{**row, "gate": "gate" if row["gate"] else "alone"} for row in table["rows"]]}

    return strays(said(stored), said(computed), ("system", "judge", "gate", "metric"), "mean", "ci95")


def main(arguments: Sequence[str]) -> int:
    """The command after `moodmesh results generation`; the exit code: 0 done, 1 failed or cannot run."""
    parser = command(NAME, __doc__, "nothing: all of it takes seconds once the pieces are made")
    parser.add_argument("--retrain", action="store_true", help="make the pieces that are not there and measure them")
    parser.add_argument("--cache", type=Path, default=Path(".cache/music"), help="prepared pieces; made where they are not")
    parser.add_argument("--runs", type=Path, help="the training runs, a folder each (default: CACHE/runs)")
    parser.add_argument("--per", type=int, default=100, help="pieces a mood")
    parser.add_argument("--windows", type=int, default=16, help="windows of dev a set")
    return attempt(_run, parser.parse_args(arguments))


def _run(args: argparse.Namespace) -> int:
    real = Real(data_dir(args.data), args.cache, args.configs.parent)
    bench = Bench(real, args.runs or args.cache / "runs", args.out / "predictions", args.per, windows=args.windows)
    if args.retrain:
        retrain(bench, lambda line: print(line, file=sys.stderr, flush=True))
    elif not found(bench.runs)[0]:
        print(f"no weights in {bench.runs}: rows that need them come from kept figures", file=sys.stderr)
    table = compute(bench, args.quick)
    if not args.retrain:
        table |= origin(args.out / f"{NAME}.json")
    return finish(args, table, report.markdown(table), check, picture.draw)
