"""The simulator keeps its own account: worlds are pairs, no job is lost, time is conserved, and the table is what rows say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from moodmesh.nodes.bench.routing import bench, cells
from moodmesh.nodes.bench.routing.cells import (
    ABLATIONS,
    BAR,
    FIFO,
    OURS,
    REFERENCES,
    Task,
    main_cells,
    odd_cells,
    run_all,
    run_one,
    tasks,
)
from moodmesh.nodes.bench.routing.engine import Attempt, Run
from moodmesh.nodes.bench.routing.meshed import Meshed, Switches
from moodmesh.nodes.bench.routing.table import markdown, summary, tabled
from moodmesh.nodes.bench.routing.world import SMALL, TEN, Cell, capacity, draw, fluid
from moodmesh.nodes.errors import UsageError

SHORT = Cell(5, 0.5, "churn", 120)
POLICIES = [*REFERENCES, OURS, "fifo variant", *ABLATIONS]


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_loses_a_job_or_answers_one_twice(policy: str) -> None:
    row = run_one(Task(policy, SHORT, 7))
    assert row["lost"] == 0
    assert row["duplicates"] == 0
    assert 0 < row["p50"] <= row["p95"] <= row["p99"]
    assert 0 <= row["waste"] < 100


@pytest.mark.parametrize(
    "cell", [*odd_cells(), Cell(20, 0.7, "blackout", 150), Cell(20, 0.1, "gone", 150)], ids=lambda c: c.name
)
def test_every_kind_of_cell_ends(cell: Cell) -> None:
    short = Cell(cell.devices, cell.load, cell.leaving, 150, cell.away_s, cell.arrivals, cell.odd)
    assert run_one(Task(OURS, short, 3))["lost"] == 0


def test_a_result_that_becomes_visible_twice_is_counted() -> None:
    class Forgetful(Run):
        def _arrive(self, attempt: Attempt, boot: int) -> None:
            self.done[attempt.job] = False
            super()._arrive(attempt, boot)

    class Careless(Meshed):
        def _cancel(self, attempt: Attempt) -> None:
            """The second attempt goes on."""

    world = draw(Cell(20, 0.5, jobs=600), 0)
    assert Run(world, Careless).run().duplicates == 0
    found = Forgetful(world, Careless).run()
    assert found.duplicates > 0


def test_a_seed_gives_the_same_world_and_the_same_run() -> None:
    assert draw(SHORT, 1) == draw(SHORT, 1)
    assert draw(SHORT, 1).jobs != draw(SHORT, 2).jobs
    assert run_one(Task(OURS, SHORT, 1)) == run_one(Task(OURS, SHORT, 1))


def test_the_account_is_the_work_that_was_done() -> None:
    """Every committed job has run once for exactly its drawn time; the rest is waste."""
    world = draw(Cell(5, 0.4, jobs=80), 4)
    run = Run(world, lambda r: Meshed(r, Switches(hedging=False)))
    found = run.run()
    best = sum(min(m.seconds[j.kind] for m in world.machines) * min(j.draws) for j in world.jobs)
    assert found.wasted_s == 0
    assert found.used_s >= best
    assert all(not math.isnan(c) and c > 0 for c in found.completion)


def test_nobody_runs_more_than_its_slots_hold() -> None:
    world = draw(Cell(20, 0.9, "churn", 300), 2)
    run = Run(world, Meshed)
    begin = run.begin

    def watched(attempt, blocked_s=0.0):
        blocked = begin(attempt, blocked_s)
        assert len(attempt.box.running) <= attempt.box.machine.slots
        assert attempt.box.up
        return blocked

    run.begin = watched  # type: ignore[method-assign]
    run.run()


def test_routing_blindly_a_fleet_does_less_than_the_fluid_bound() -> None:
    for names in (*SMALL.values(), TEN, TEN * 2):
        assert capacity(names) <= fluid(names) * (1 + 1e-6)
    assert capacity(TEN * 2) == pytest.approx(2 * capacity(TEN))


def test_the_daemons_policy_beats_what_does_not_predict() -> None:
    cell = Cell(20, 0.5, jobs=250)
    means = {p: run_one(Task(p, cell, 5))["mean"] for p in (OURS, "random", "fastest", "oracle")}
    assert means["oracle"] < means[OURS] < means["fastest"]
    assert means[OURS] < means["random"] / 5


def test_fifo_and_every_ablation_differ_from_the_policy() -> None:
    plain = Switches()
    assert plain != FIFO
    assert all(switches != plain for switches in ABLATIONS.values())


def test_the_table_is_what_the_rows_say() -> None:
    cells = [Cell(5, 0.5), Cell(20, 0.7, "blackout")]
    rows = [
        {"policy": p, "cell": c.name, "seed": s, "mean": m * (s + 1), "p50": 1, "p95": 2, "p99": 3, "slowdown": 1.5, "waste": w,
         "lost": 0, "duplicates": 0, "honesty": None}
        for c, ours in zip(cells, (2.0, 3.0), strict=True)
        for p, m, w in ((OURS, ours, 4.0), (BAR, 4.0, 1.0))
        for s in range(3)
    ]  # fmt: skip
    rows[1]["mean"] = 6.0  # ours, first cell, second seed: 1.5 instead of .5 of the bar
    table = tabled(rows)
    first = next(row for row in table if row["cell"] == cells[0].name and row["policy"] == OURS)
    expected = (14 / 24, 0.5, 0.75)
    assert (first["ratio"], first["median_ratio"], first["worst_ratio"]) == pytest.approx(expected, abs=1e-3)
    found = summary(table, cells)
    assert found["calm_median_ratio_max"] == 0.5
    assert found["other_mean_ratio_max"] == found["other_worst_seed_max"] == 0.75
    assert found["wasted_percent"] == 4.0
    assert found["oracle_ratio_max_n20"] is None, "nobody ran it: not measured is not 0"
    assert cells[0].name in markdown(table, cells, list(ABLATIONS))
    assert summary(tabled([row | {"waste": 0.0} for row in rows]), cells)["wasted_percent"] == 0.0


def test_what_is_kept_so_far_is_told_in_whole_seeds(tmp_path: Path) -> None:
    def row(task: Task) -> str:
        return json.dumps({"policy": task.policy, "cell": task.cell.name, "seed": task.seed})

    todo = tasks(False, range(2))
    first = [t for t in todo if (t.cell, t.seed) == (todo[0].cell, 0)]
    kept = tmp_path / "kept"
    kept.write_text("\n".join(map(row, todo[: len(first) + 1])) + "\n")
    assert cells.done(todo, kept) == first
    with pytest.raises(UsageError, match="no run is kept"):
        bench.run(False, out=tmp_path, so_far=True)


def test_the_benchmark_has_every_cell_of_the_specification() -> None:
    cells = main_cells()
    assert {c.devices for c in cells} == {2, 5, 20, 100, 200}
    assert {c.load for c in cells if c.leaving != "gone"} == {0.3, 0.5, 0.7, 0.9}
    assert {c.leaving for c in cells} == {"calm", "churn", "blackout", "gone"}
    seeds = {t.seed for t in tasks(False)}
    assert len(seeds) >= 10


def test_what_is_done_is_not_run_again(tmp_path: Path) -> None:
    kept, told = tmp_path / "runs.jsonl", []
    todo = [Task(BAR, Cell(2, 0.3, jobs=50), seed) for seed in range(3)]
    first = run_all(todo[:2], kept, lambda done, of: told.append((done, of)), workers=1)
    again = run_all(todo, kept, lambda done, of: told.append((done, of)), workers=1)
    assert again[:2] == first
    assert told == [(1, 2), (2, 2), (3, 3)]
    assert len(kept.read_text().splitlines()) == 3
    kept.write_text(kept.read_text()[:-20])  # broken off while it wrote
    assert run_all(todo, kept, lambda done, of: None, workers=1) == again
    assert [json.loads(line)["seed"] for line in kept.read_text().splitlines()] == [0, 1, 2]
    assert json.loads(kept.read_text().splitlines()[0])["policy"] == BAR


def test_resume_without_a_place_is_refused() -> None:
    with pytest.raises(Exception, match="--resume and --so-far need --out"):
        bench.run(True, resume=True)
