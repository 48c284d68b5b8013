"""A mesh where nobody knows everybody: work goes only to devices that are known, nothing is lost, bytes are real ones."""

from __future__ import annotations

import pytest

from moodmesh.nodes.bench.campus import bench
from moodmesh.nodes.bench.campus.campus import SKETCH, Campus, Plan
from moodmesh.nodes.bench.campus.traffic import Traffic
from moodmesh.nodes.bench.routing.board import Board
from moodmesh.nodes.bench.routing.engine import Run
from moodmesh.nodes.bench.routing.world import Cell, draw
from moodmesh.nodes.messages import Dynamic
from moodmesh.nodes.placement.pull import Waiting

FEW = Plan(random=6, best=3, every_s=1.0)


def play(cell: Cell, plan: Plan = FEW, **patches) -> tuple[Run, Campus]:
    run = Run(draw(cell, 5), lambda r: Campus(r, plan))
    campus = run.policy
    assert isinstance(campus, Campus)
    for name, patch in patches.items():
        setattr(campus, name, patch(campus, getattr(campus, name)))
    run.run()
    return run, campus


def test_a_job_goes_only_to_a_device_that_its_submitter_knows() -> None:
    asked: list[int] = []

    def watched(campus, reserve):
        def watch(desk, job, row):
            assert int(row.device) in campus.known(desk.index)
            asked.append(job)
            reserve(desk, job, row)

        return watch

    run, campus = play(Cell(60, 0.6, "churn", 240), _reserve=watched)
    assert len(asked) > 100
    assert sum(run.done) == 240
    most = 1 + max(map(len, campus._met)) + 3 * FEW.best * 2
    assert max(len(campus.known(i)) for i in range(60)) <= most < 60
    for board, index in zip(campus._boards, range(60), strict=True):  # what is heard comes from those who know the device
        assert all(index in campus.known(submitter) for submitter in board.waiting)
        assert all(index in campus.known(int(name)) for heaps in board.heaps.values() for name in heaps)


def test_names_that_are_swapped_make_the_fast_ones_known() -> None:
    world = draw(Cell(60, 0.6, jobs=20), 1)
    boxes = {i for i, machine in enumerate(world.machines) if machine.kind == "gpu"}
    campus = Run(world, lambda r: Campus(r, FEW)).policy
    met = sum(len(boxes & set(met)) for met in campus._met)
    assert sum(len(boxes & set(campus.known(i))) for i in range(60)) > 2 * met


def test_dice_keep_the_very_best_from_being_known_to_all() -> None:
    world = draw(Cell(200, 0.6, jobs=20), 1)
    sketched = Run(world, lambda r: Campus(r, Plan(random=6, best=3, dice=False))).policy
    drawn = Run(world, lambda r: Campus(r, FEW)).policy
    assert max(drawn.traffic.knowers) < 0.6 * max(sketched.traffic.knowers)
    assert not SKETCH.dice
    assert sum(drawn.traffic.knowers) == sum(drawn.traffic.known) == sum(map(len, drawn._known)) - 200  # itself left out


def document(free: int) -> Dynamic:
    return Dynamic(
        revision=1, valid_s=10.0, free_slots=free, running=[1.0], queue={}, power="ok", quiet=False, memory_free_mb=1,
        disk_free_mb=1, loaded=[],
    )  # fmt: skip


def test_a_document_is_said_once_to_each_that_knows_the_device_and_again_when_it_changed_or_works_on() -> None:
    traffic = Traffic(1000, 0.0, 100.0)
    traffic.link(1, [], [0, 1], 0.0)
    traffic.link(2, [], [0, 2], 0.0)
    first = traffic.few[0]
    assert first > 0  # what it can do went to both
    said = []
    for at, free in ((0.1, 1), (0.2, 1), (0.3, 0), (3.5, 0), (200.0, 1)):
        traffic.document(0, document(free), [1.0], True, at)
        said.append(round((traffic.few[0] - first) / 2))
    one = said[0]
    assert 150 < one < 400  # a real message
    assert said[1] == one
    assert said[2] == 2 * one
    assert said[3] == 5 * one  # three seconds of work
    assert said[4] == said[3]  # after the measurement
    assert traffic.full[0] == pytest.approx((traffic.few[0] - first) / 2 * 999)
    traffic.link(2, [0, 2], [2], 1.0)
    assert traffic.knowers[0] == 1


def test_an_empty_pool_is_said_once_after_a_full_one() -> None:
    traffic = Traffic(10, 0.0, 100.0)
    traffic.link(0, [], [0, 1, 2], 0.0)
    before = traffic.few[0]
    traffic.pool(0, 0, 0, 1.0)
    assert traffic.few[0] == before
    traffic.pool(0, 2, 1, 2.0)
    full = traffic.few[0]
    traffic.pool(0, 0, 0, 3.0)
    assert before < full < traffic.few[0]
    last = traffic.few[0]
    traffic.pool(0, 0, 0, 4.0)
    assert traffic.few[0] == last


def test_of_what_waits_the_longest_of_each_class_is_asked_for_once() -> None:
    board, short, long, other = Board(), *(Waiting(k, 1.0, 1, s) for k, s in (("a", 1.0), ("a", 9.0), ("b", 2.0)))
    board.hear(1, {}, [short, other])
    board.hear(2, {}, [long])
    assert board.longest() == [(2, long), (1, other)]
    board.asked(2, long)
    assert board.longest() == [(1, short), (1, other)]
    board.hear(1, {}, [])
    assert board.longest() == []


def test_the_loss_is_against_the_largest_fleet_where_all_are_known() -> None:
    def row(who, devices, mean, **more):
        more = {"bytes_per_s": 100, "to_all": 10 * devices, **more}
        return {
            "cell": f"calm N={devices}",
            "devices": devices,
            "policy": who,
            "mean": mean,
            "lost": 0,
            "duplicates": 0,
            **more,
        }

    rows = [row("few", 200, 1.0), row("few", 200, 3.0), row("all", 200, 2.0), row("few", 1000, 2.4), row("all", 1000, 2.0)]
    rows.append(row("few", 10_000, 2.5, lost=1) | {"cell": "calm N=10000"})
    found = bench.summary(rows)
    assert found["loss"] == 1.25
    assert found["loss_measured"] == {"200": 1.0, "1000": 1.2}
    assert found["share_of_traffic"] == 0.001
    assert found["met"]
    assert found["lost"] == 1
    assert not bench.summary([*rows[:-1], rows[-1] | {"mean": 2.7}])["met"]
    assert not bench.summary([*rows[:-1], rows[-1] | {"bytes_per_s": 2100}])["met"]


def test_the_benchmark_goes_to_ten_thousand() -> None:
    assert max(t.cell.devices for t in bench.trials(quick=False)) == 10_000
    assert {t.policy for t in bench.trials(quick=False) if t.cell.devices == 200} == set(bench.WHO)
    assert {t.policy for t in bench.trials(quick=False) if t.cell.devices == 1000} >= {"few", "all", "sketch"}
