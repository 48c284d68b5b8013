"""`--by T` counts from submission: what an earlier attempt took is no longer there for the next one (routing §4)."""

from __future__ import annotations

from moodmesh.nodes.bench.virtual import VirtualLoop, run
from moodmesh.nodes.jobs.model import Job, Spec
from moodmesh.nodes.messages import Blob

from .sim import PURE, World


def test_the_time_that_is_left_decides_each_placement() -> None:
    async def story(world: World) -> list[float | None]:
        await world.start()
        node = world.nodes[0]
        spec = Spec(PURE, 1, {}, 1.0, 0, 0, False, False, 1, by_s=10.0)
        jobs = [Job("j" * 32, spec, Blob.of(b""), node.clock.wall() - waited) for waited in (0.0, 4.0, 60.0, -7200.0)]
        return [node.submitter.desk.ask(job).by_s for job in jobs]

    loop = VirtualLoop()
    left = run(story(World(loop, 1, count=1)), loop)
    assert left == [10.0, 6.0, 0.0, 10.0]
