"""`moodmesh results emotion.text.escalation`: quality against the share of sentences sent to base, for several routers.

Evaluation §2 and §9 say what must stand in it. `--retrain` makes the constants of the router that ships.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.emotion.text import CARDS, baselines, data
from moodmesh.tasks.emotion.text import statistics as stats
from moodmesh.tasks.emotion.text.bench import Bench, joined, open_bench, scored, scorer_of
from moodmesh.tasks.emotion.text.escalation import (
    LARGE,
    ROUTER_FILE,
    SMALL,
    Router,
    chosen,
    load_router,
    picture,
    report,
    routers,
)
from moodmesh.tasks.emotion.text.escalation.curve import SHARES, Measured, Pair, area, measure, numbered, share_needed
from moodmesh.tasks.emotion.text.escalation.routers import Rows
from moodmesh.tasks.emotion.text.predictions import Floats, Predicted
from moodmesh.tasks.tables import Table, attempt, command, finish, hashes, head, shas, short, strays

TABLE = "emotion.text.escalation"
SCHEMA = 1
DRAWS, QUICK_DRAWS = 1000, 100
SHIPPED = "predicted disagreement"
MEASURE = "mean Pearson r of valence, arousal, dominance on EmoBank dev"
KEEP, AT = 0.95, 0.4  # the goal of evaluation §6: 95 % of base's quality with 40 % of the sentences sent
POLICY_SHARES = tuple(n / 10 for n in range(11))


@dataclass(frozen=True)
class Part:
    """Held sentences, the scores of every router for them, and how far ratings spread in training."""

    name: str
    rows: Rows
    documents: list[str]
    scores: dict[str, Floats]

    def measured(self, draws: int) -> Measured:
        """Every router's curve."""
        return measure(Pair(self.rows.mood, self.rows.large, self.rows.truth, numbered(self.documents)), self.scores, draws)


@dataclass(frozen=True)
class Folds:
    """The held rows of all folds, predicted by models that had not seen their documents; base calibrated on the other folds."""

    rows: Rows
    held: list[data.Rated]
    fold: NDArray[np.int64]

    @property
    def train(self) -> Rows:
        """Those of the official train part: what a router for dev, and the one that ships, is fitted on."""
        return self.rows.part(np.array([row.part == "train" for row in self.held]))


def folds_of(bench: Bench) -> Folds:
    """From the cache; PredictionMissing names the command that fills it."""
    splits = data.document_folds(bench.rows)
    held = [row for split in splits for row in split.held]
    fold = np.repeat(np.arange(len(splits), dtype=np.int64), [len(split.held) for split in splits])
    tiny, base = (
        joined(bench.cache.load(system, recipe, split) for split in splits)
        for system, recipe in (("tiny", bench.tiny.sha256), ("base-s0", bench.base.sha256))
    )
    truth, large = baselines.vad(held), np.empty_like(base.mean)
    for n in range(len(splits)):
        others, own = fold != n, fold == n
        large[own] = routers.calibrated(base.mean[others], truth[others], base.mean[own])
    return Folds(_rows(held, tiny, large), held, fold)


def _rows(held: Sequence[data.Rated], small: Predicted, large: Floats) -> Rows:
    texts = [row.text for row in held]
    return Rows(small.mean, small.sd, np.array([len(text) for text in texts], float), large, baselines.vad(held), texts)


def cv_part(folds: Folds, *, ngrams: bool) -> Part:
    """All documents, each scored by routers that were fitted on the other folds."""
    rows, scale = folds.rows, folds.rows.truth.std(0)
    learned: dict[str, Floats] = {}
    for n in np.unique(folds.fold):
        own = folds.fold == n
        for name, found in routers.learned_scores(rows.part(~own), rows.part(own), scale, ngrams=ngrams).items():
            learned.setdefault(name, np.empty(len(own)))[own] = found
    every = routers.plain_scores(rows, scale) | learned | routers.oracle_scores(rows, scale)
    return Part("cv", rows, [row.document for row in folds.held], every)


def dev_part(bench: Bench, folds: Folds, *, ngrams: bool) -> Part:
    """The official dev part by the two files that ship."""
    held, scale = data.dev_split(bench.rows).held, folds.train.truth.std(0)
    rows = _rows(held, scored(scorer_of(SMALL), held), scored(scorer_of(LARGE), held).mean)
    learned = routers.learned_scores(folds.train, rows, scale, ngrams=ngrams)
    every = routers.plain_scores(rows, scale) | learned | routers.oracle_scores(rows, scale)
    return Part("dev", rows, [row.document for row in held], every)


def part_rows(part: Part, found: Measured) -> list[dict[str, Any]]:
    """One JSON row a router: its curve with intervals, the area over chance and over sd, and the goal."""
    chance = found.curves["random"].mean(1)
    return [_router_row(part, found, name, chance) for name in found.curves]


def _router_row(part: Part, found: Measured, name: str, chance: Floats) -> dict[str, Any]:
    quality, drawn = found.curves[name], found.draws[name]
    mean, over = quality.mean(1), area(drawn, found.draws["random"])
    between = stats.interval(drawn)
    kept = drawn[:, _at(AT)] / drawn[:, -1]
    return {
        "part": part.name,
        "router": name,
        "r": {axis: _list(quality[:, n]) for n, axis in enumerate(data.AXES)},
        "mean_r": _list(mean),
        "ci95": [_list(low_high) for low_high in between],
        "area_over_random": short(float(area(mean, chance))),
        "area_ci95": _list(np.quantile(over, [0.025, 0.975])),
        "p_against_random": None if name == "random" else _p(over),
        "p_against_sd": None if name in ("random", "sd") else _p(area(drawn, found.draws["sd"])),
        "share_for_95_percent": short(share_needed(mean, KEEP)),
        "kept_at_40_percent": short(mean[_at(AT)] / mean[-1]),
        "kept_at_40_percent_ci95": _list(np.quantile(kept, [0.025, 0.975])),
        "n": len(part.documents),
        "n_groups": len(set(part.documents)),
    }


def _at(share: float) -> int:
    return int(np.argmin(np.abs(SHARES - share)))


def _p(gap: Floats) -> float:
    return short(stats.two_sided(gap[:, None])[0])


def _list(values: Floats) -> list[float]:
    return [short(value) for value in values]


def policy_rows(part: Part, router: Router) -> list[dict[str, Any]]:
    """What `--escalate SHARE` does to dev, each document a request: the share sent, and the quality reached."""
    rows, documents = part.rows, np.array(part.documents)
    made = []
    for share in POLICY_SHARES:
        sent = np.zeros(len(documents), bool)
        for document in np.unique(documents):
            own = np.flatnonzero(documents == document)
            sent[own[list(chosen({"items": [_item(rows, int(n)) for n in own]}, share, router))]] = True
        mixed = np.where(sent[:, None], rows.large, rows.mood)
        r = stats.pearson(stats.row_sums(mixed, rows.truth).sum(0))
        made.append({"share": share, "sent": short(sent.mean()), "r": _list(r), "mean_r": short(r.mean())})
    return made


def _item(rows: Rows, n: int) -> dict[str, Any]:
    valence, arousal, dominance = rows.mood[n]
    end = int(rows.characters[n])
    return {"valence": valence, "arousal": arousal, "dominance": dominance, "start": 0, "end": end}


def made_router(bench: Bench, folds: Folds) -> Router:
    """The router that ships: fitted on official train rows; its quality is that on dev of the files that ship."""
    train, scale = folds.train, folds.train.truth.std(0)
    router = routers.fit(train, routers.disagreement(train, scale))
    steps = np.linspace(0, 1, routers.STEPS + 1)
    thresholds = np.quantile(routers.scores(router, train), 1 - steps)
    router = replace(router, thresholds=tuple(thresholds.tolist()), measure=MEASURE)
    reached = [row["mean_r"] for row in policy_rows(dev_part(bench, folds, ngrams=False), router)]
    return replace(router, reached=tuple(reached))


def compute(bench: Bench) -> Table:
    """The whole table as JSON, `summary` in it."""
    draws = QUICK_DRAWS if bench.quick else DRAWS
    seeds = {"base cv": [0], "routers": "deterministic", "draws": draws}
    top = head(TABLE, SCHEMA, bench.quick, bench.said(files=hashes(bench.files[:1])), seeds, shas(CARDS))
    folds, router = folds_of(bench), load_router()
    dev = dev_part(bench, folds, ngrams=not bench.quick)
    parts = [dev] if bench.quick else [dev, cv_part(folds, ngrams=True)]
    rows = [row for part in parts for row in part_rows(part, part.measured(draws))]
    return top | {
        "shares": _list(SHARES),
        "rows": rows,
        "policy": policy_rows(dev, router),
        "shipped": SHIPPED,
        "notes": list(report.NOTES),
        "summary": summary(rows),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For each part: the router that ships, beside sd and both oracles."""
    wanted = ("area_over_random", "area_ci95", "p_against_random", "share_for_95_percent", "kept_at_40_percent")
    names = {SHIPPED: "shipped", "sd": "sd", "random": "random", "oracle: disagreement": "oracle"}
    made: dict[str, Any] = {}
    for row in rows:
        if row["router"] in names:
            made.setdefault(row["part"], {})[names[row["router"]]] = {key: row[key] for key in wanted}
    return made


def check(stored: Table, computed: Table) -> list[str]:
    """Areas that left their stored 95 % interval, as sentences."""
    return strays(stored, computed, ("part", "router"), "area_over_random", "area_ci95")


def main(arguments: Sequence[str]) -> int:
    """The command after `moodmesh results emotion.text.escalation`; the exit code: 0 done, 1 failed or cannot run."""
    parser = command(TABLE, __doc__, "dev only, few bootstrap draws")
    parser.add_argument("--retrain", action="store_true", help="make the constants of the router that ships anew")
    return attempt(_run, parser.parse_args(arguments))


def _run(args: argparse.Namespace) -> int:
    bench = open_bench(data.data_dir(args.data), args.configs, args.out, quick=args.quick)
    if args.retrain:
        routers.save(made_router(bench, folds_of(bench)), ROUTER_FILE)
        print(f"wrote {ROUTER_FILE}", file=sys.stderr)
    table = compute(bench)
    return finish(args, table, report.markdown(table), check, picture.draw)
