"""Histories of nodes in trouble: how one is played, what may happen to a device, and the first seed that goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from moodmesh.nodes.bench.virtual import VirtualLoop, run

from .sim import Faults, World

T = TypeVar("T")
History = Callable[[World], Awaitable[list[str]]]
MUTANT_SEEDS = range(60)


def outcome(story: Callable[[World], Awaitable[T]], seed: int = 1, count: int = 3, faults: Faults | None = None) -> T:
    """What a story of so many devices comes to."""
    loop = VirtualLoop()
    return run(story(World(loop, seed, count, faults)), loop)  # type: ignore[arg-type]


def trouble(world: World) -> None:
    """Something happens to each device, or to what links them."""
    rnd = world.random
    for node in world.nodes:
        if node.dead and rnd.random() < 0.5:
            world.loop.create_task(node.start())
        elif rnd.random() < 0.25:
            node.disk.crash_in = rnd.randint(1, 6)
        elif rnd.random() < 0.1:
            node.clock.offset += rnd.choice([-7200, 7200, -86400 * 3])
        node.disk.full = rnd.random() < 0.05
    match rnd.randrange(6):
        case 0:
            world.islands = [{rnd.choice(world.nodes).id}]
        case 1:
            world.islands = []
        case 2:
            world.break_links()
        case 3:
            rnd.choice(world.nodes).crash()


def first_bad(words: str, story: History) -> int | None:
    """The first seed whose history goes wrong in these words."""
    return next((seed for seed in MUTANT_SEEDS if any(words in wrong for wrong in outcome(story, seed))), None)
