"""The replay of simulated worlds: what runs on real devices is what the world says, and what is compared is the same jobs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.bench.routing import real, trace_task
from moodmesh.nodes.bench.routing.baselines import IMAGE, Central
from moodmesh.nodes.bench.routing.engine import Attempt, Run
from moodmesh.nodes.bench.routing.real_mesh import Wire
from moodmesh.nodes.bench.routing.real_ray import GPU_BOX, play
from moodmesh.nodes.bench.routing.world import Cell, draw

WORLD = real.faster(draw(Cell(5, 0.5, jobs=60), 0), 10.0)


def test_a_task_sleeps_as_long_as_the_simulator_says_for_every_job_device_and_attempt(tmp_path: Path) -> None:
    trace_task.write(WORLD, tmp_path)
    run = Run(WORLD, Central)
    for job in range(len(WORLD.jobs)):
        for box, name in zip(run.boxes, trace_task.names(WORLD.machines), strict=True):
            for number in (0, 1, 5):
                said = run.true_seconds(Attempt(job, number, box, 0.0))
                assert trace_task.seconds(tmp_path, job, name, number) == pytest.approx(said)


def test_what_a_device_cannot_do_is_out_of_its_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    phone = next(m for m in WORLD.machines if m.kind == "phone")
    monkeypatch.setenv(trace_task.UNABLE, trace_task.unable(phone))
    assert trace_task.Image().spec.variants[0].memory_mb == trace_task.OUT_OF_REACH_MB
    assert trace_task.Midi().spec.variants[0].memory_mb < 100


def test_a_faster_world_has_the_same_load_and_nobody_leaves() -> None:
    slow = draw(Cell(5, 0.5, jobs=60), 0)
    assert WORLD.jobs[-1].at == pytest.approx(slow.jobs[-1].at / 10)
    assert WORLD.machines[1].seconds[2] == pytest.approx(slow.machines[1].seconds[2] / 10)
    assert not any(WORLD.absences)


@pytest.mark.parametrize("tags", [False, True])
def test_ray_is_asked_for_what_the_baseline_is_allowed(tags: bool) -> None:
    found = play(WORLD, tags=tags)
    for number, (job, drawn) in enumerate(zip(found["jobs"], WORLD.jobs, strict=True)):
        able = [
            index
            for index, device in enumerate(found["devices"])
            if all(device["resources"].get(name, 0.0) >= need for name, need in job["resources"].items())
        ]
        allowed = [i for i, m in enumerate(WORLD.machines) if m.seconds[drawn.kind] < math.inf]
        if tags and drawn.kind == IMAGE:
            allowed = [i for i in allowed if WORLD.machines[i].kind == "gpu"]
            assert GPU_BOX in job["resources"]
        assert able == allowed
        for index in able:
            said = WORLD.machines[index].seconds[drawn.kind] * WORLD.jobs[number].luck(index, 0)
            assert job["seconds"][index] == pytest.approx(said)


def test_a_model_that_is_off_is_seen_to_be_off_and_a_lost_job_is_counted() -> None:
    simulated = real.simulate(WORLD, Central, Wire(0.0, 1e9))[:1]
    report = Report("routing-real", quick=True)
    same = real.compare(report, "same", WORLD, simulated[0], simulated)
    assert same["ratio"] == same["p95_ratio"] == 1.0
    twice = real.compare(report, "twice", WORLD, [2 * s for s in simulated[0]], simulated)
    assert twice["ratio"] == pytest.approx(2.0, rel=0.01)
    lost = real.compare(report, "lost", WORLD, [math.nan, *simulated[0][1:]], simulated)
    assert (same["lost"], lost["lost"]) == (0, 1)
    assert {row["jobs"] for row in report.rows} == {"all", "analyse/base", "midi/base", "image/base"}


def test_jobs_keep_their_numbers_when_their_arrivals_are_moved() -> None:
    moved = real._moved(WORLD, 3)
    assert [(j.kind, j.origin, j.draws) for j in moved] == [(j.kind, j.origin, j.draws) for j in WORLD.jobs]
    assert [j.at for j in moved] != [j.at for j in WORLD.jobs]


def test_one_figure_that_is_off_or_one_lost_job_tells() -> None:
    def judged(**off: float) -> tuple[bool, bool]:
        good = {"ratio": 1.1, "p95_ratio": 0.9, "lost": 0}
        report = Report("routing-real", quick=True, summary={"mesh": good, "ray": {"ray+tags": good | off}, "outage": good})
        real.conclude(report)
        return report.summary["within_20_percent"], report.failed

    assert judged() == (True, False)
    assert judged(p95_ratio=1.21) == judged(ratio=0.79) == (False, False)
    assert judged(lost=1) == (True, True)


def test_jobs_are_handed_in_where_nobody_leaves() -> None:
    world = real.FULL.outage()
    assert world is not None
    left = {index for index, absences in enumerate(world.absences) if absences}
    assert left == {index for index, machine in enumerate(world.machines) if machine.kind == "gpu"}
    assert not left & {job.origin for job in world.jobs}
