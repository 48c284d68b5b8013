"""The replay on real daemons: every job comes back, and runs as long as its world says, where it says it can."""

from __future__ import annotations

import math

import pytest

from moodmesh.nodes.bench.routing import real, real_mesh
from moodmesh.nodes.bench.routing.world import Cell, World, draw

SLACK_S = 0.25


@pytest.mark.slow
def test_a_small_world_on_three_daemons_one_of_which_is_killed() -> None:
    drawn = real.faster(draw(Cell(5, 0.5, jobs=16), 1), 40.0)
    machines = drawn.machines[:3]
    jobs = [j._replace(origin=2 * (j.origin % 2)) for j in drawn.jobs]
    world = World(drawn.cell, machines, jobs, [(), ((0.3, 0.5),), ()])
    mesh = real_mesh.RealMesh(world)
    try:
        mesh.start()
        found = mesh.replay()
    finally:
        mesh.close()
    assert not any(map(math.isnan, found.completion))
    ((left, back),) = found.absences[1]
    assert left >= 0.3
    assert back > 0.5
    assert {ran.job for ran in found.ran if ran.ended} == set(range(len(world.jobs)))
    for ran in found.ran:
        index, job = int(ran.device[-1]), world.jobs[ran.job]
        seconds = machines[index].seconds[job.kind] * job.luck(index, ran.number)
        assert seconds < math.inf
        if ran.ended is not None:
            assert seconds - 0.01 <= ran.ended - ran.began < seconds + SLACK_S
