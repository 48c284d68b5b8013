"""Pool, pull, steal, hedge and detached attempts between whole nodes on the twins (routing §7, §8, §14)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.bench.virtual import VirtualLoop, run
from moodmesh.nodes.jobs.pursuit import Over
from moodmesh.nodes.jobs.submitter import Submitter
from moodmesh.nodes.messages import Capability, HeapDoc, Heartbeat, Pool, Take
from moodmesh.nodes.permissions import Limits
from moodmesh.nodes.pool.memory import MemoryPool
from moodmesh.nodes.pool.seam import AttemptFailed, Done, Event, Work

from .sim import EFFECTS, PURE, Node, World, attempts

Story = Callable[[World], Awaitable[None]]


def simulate(story: Story, *means: float) -> World:
    """A story of as many nodes as there are speeds, in seconds per unit; nothing may be wrong at its end."""
    loop = VirtualLoop()
    worlds: list[World] = []

    async def whole() -> list[str]:
        world = World(loop, 1, len(means))
        worlds.append(world)
        for node, mean in zip(world.nodes, means, strict=True):
            node.mean, node.mains = mean, True
        await world.start()
        await asyncio.sleep(1.5)
        await story(world)
        await world.settle()
        return world.verdict(set())

    assert run(whole(), loop) == []
    return worlds[0]


def job(node: Node, key: str) -> tuple[str, str, str]:
    (row,) = node.rows("SELECT status, substate, message FROM job WHERE id=?", key)
    held = node.submitter._open.get(key)
    return (held.status, held.substate, held.message) if held else (row["status"], row["substate"], row["message"])


def reasons(node: Node, key: str) -> list[str]:
    """What is on disk about why each attempt ended."""
    return [r["message"] for r in node.rows("SELECT message FROM attempt WHERE job=? ORDER BY number", key)]


def test_a_job_is_parked_for_an_absent_fast_device_which_takes_it_when_it_returns() -> None:
    async def story(world: World) -> None:
        phone, box = world.nodes
        box.crash()
        await asyncio.sleep(6)
        key = await phone.submit(units=60)
        await asyncio.sleep(0.5)
        status, substate, message = job(phone, key)
        assert (status, substate) == ("PENDING", "pooled")
        faster = rf"parked: {box.id[:6]} \(away for [67][.0-9]* s\) is 20 x faster than node"
        assert re.fullmatch(rf"{faster}; will run on node if that stays idle for 12 s", message), message
        await box.start()
        await asyncio.sleep(10)
        assert attempts(phone, key) == [(box.id, "COMMITTED")]

    simulate(story, 2.0, 0.1)


def test_a_parked_job_runs_on_the_slow_device_once_that_was_idle_for_a_tenth_of_its_time() -> None:
    async def story(world: World) -> None:
        phone, box = world.nodes
        box.crash()
        await asyncio.sleep(6)
        world.connecting = False
        await phone.submit(units=1, on=phone)  # its slot is not idle before this has ended
        await asyncio.sleep(1.9)
        key = await phone.submit(units=60)
        await asyncio.sleep(11)
        assert job(phone, key)[1] == "pooled"
        await asyncio.sleep(3)
        assert job(phone, key)[0] == "RUNNING"
        chosen = json.loads(phone.rows("SELECT explain FROM attempt WHERE job=?", key)[0]["explain"])
        assert "was free and took it" in chosen["why"]
        await asyncio.sleep(120)
        assert attempts(phone, key) == [(phone.id, "COMMITTED")]

    simulate(story, 2.0, 0.1)


def test_a_job_that_waits_in_a_long_queue_is_taken_by_a_device_that_falls_idle() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        first = await one.submit(units=30, on=other)
        long = await one.submit(units=10, on=one)
        await asyncio.sleep(0.5)
        moved = await one.submit(units=20)  # soonest here, after the ten: by then the other was busy for longer
        await asyncio.sleep(1)
        await one.submitter.cancel(first)
        await asyncio.sleep(40)
        assert job(one, long)[0] == "SUCCEEDED"
        assert attempts(one, moved) == [(one.id, "WITHDRAWN"), (other.id, "COMMITTED")]

    simulate(story, 1.0, 1.0)


def test_a_started_attempt_is_not_moved() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        key = await one.submit(units=10, on=one)
        await asyncio.sleep(1)
        other.peers.send(one.id, Take(task="test.pure", variant="tiny", queued=True))
        (live,) = one.submitter.desk.live.values()
        live.attempt.state = "RESERVED"  # as if its start were still on the way
        live.may_run = lambda: frozenset({other.id})
        one.submitter.take(other.id, Take(task="test.pure", variant="tiny", queued=True))
        await asyncio.sleep(20)
        assert attempts(one, key) == [(one.id, "COMMITTED")]

    simulate(story, 1.0, 1.0)


def test_a_straggler_is_overtaken_by_a_second_attempt() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        other.slow = 50.0
        key = await one.submit(units=4)
        await asyncio.sleep(1)
        assert attempts(one, key) == [(other.id, "RUNNING")]
        await asyncio.sleep(40)
        assert attempts(one, key) == [(other.id, "CANCELLED"), (one.id, "COMMITTED")]
        assert reasons(one, key) == ["attempt 2 on node was done first", ""]
        why = [
            json.loads(r["explain"])["why"] for r in one.rows("SELECT explain FROM attempt WHERE job=? ORDER BY number", key)
        ]
        assert "beside the attempt that takes long" in why[1]
        assert not [words for words in why if "only device" in words or "this device" in words]
        assert not other.workers
        assert job(one, key)[0] == "SUCCEEDED"

    simulate(story, 1.5, 1.0)


def test_the_first_attempt_may_still_win_and_the_second_is_cancelled() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        other.slow = 3.0
        one.slow = 20.0
        key = await one.submit(units=4)
        await asyncio.sleep(40)
        assert attempts(one, key) == [(other.id, "COMMITTED"), (one.id, "CANCELLED")]
        assert reasons(one, key) == ["", f"attempt 1 on {other.id[:6]} was done first"]

    simulate(story, 1.5, 1.0)


@pytest.mark.parametrize("expire_s", [None, 5.0])
def test_an_attempt_that_was_stopped_says_by_whom(expire_s: float | None) -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        key = await one.submit(units=100, on=other)
        await asyncio.sleep(3)
        if expire_s is None:
            await one.submitter.cancel(key)
        else:
            await one.submitter.cancel(key, "expired", "it had no result 5 s after its submission (--expire)")
        await asyncio.sleep(2)
        assert attempts(one, key) == [(other.id, "CANCELLED")]
        late = "expired: it had no result 5 s after its submission (--expire)"
        assert reasons(one, key) == [late if expire_s else "stopped by its user"]

    simulate(story, 1.5, 1.0)


def test_a_job_goes_on_when_one_of_its_two_attempts_is_lost() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        other.slow = 50.0
        key = await one.submit(units=4)
        await asyncio.sleep(10)
        assert len(attempts(one, key)) == 2
        other.crash()
        await asyncio.sleep(1)
        assert job(one, key)[0] == "RUNNING"
        await asyncio.sleep(20)
        assert attempts(one, key) == [(other.id, "LOST"), (one.id, "COMMITTED")]

    simulate(story, 1.5, 1.0)


def test_what_replaces_a_lost_attempt_is_not_told_as_a_second_one_and_a_late_winner_says_both() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        key = await one.submit(units=12)
        await asyncio.sleep(1)
        world.islands = [{one.id}, {other.id}]
        await asyncio.sleep(13)
        assert attempts(one, key) == [(other.id, "LOST"), (one.id, "RUNNING")]
        world.islands = []
        await asyncio.sleep(10)
        assert attempts(one, key) == [(other.id, "COMMITTED"), (one.id, "CANCELLED")]
        late, replaced = reasons(one, key)
        assert re.fullmatch(rf"was given up \({other.id[:6]} is gone: .*\), its result came all the same", late)
        assert replaced == f"attempt 1 on {other.id[:6]} was done first"
        (second,) = one.rows("SELECT explain FROM attempt WHERE job=? AND number=2", key)
        assert "beside" not in second["explain"]

    simulate(story, 4.0, 1.0)


def test_what_has_effects_is_never_started_twice_however_slow() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        other.slow = 10.0
        key = await one.submit(EFFECTS, units=4)
        await asyncio.sleep(60)
        assert attempts(one, key) == [(other.id, "COMMITTED")]

    simulate(story, 1.5, 1.0)


def test_second_attempts_have_a_budget() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        other.slow = 5.0
        for _ in range(6):
            await one.submit(units=2)
            await asyncio.sleep(25)
        second = one.rows("SELECT count(*) AS n FROM attempt WHERE number > 1")[0]["n"]
        assert 1 <= second <= 2  # two at the start, and a twentieth for each job

    simulate(story, 1.3, 1.0)


def test_an_attempt_survives_the_absence_of_its_submitter_and_is_found_again() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        key = await one.submit(units=30, on=other)
        await asyncio.sleep(2)
        one.crash()
        await asyncio.sleep(12)
        assert other.workers
        await one.start()
        await asyncio.sleep(30)
        assert attempts(one, key) == [(other.id, "COMMITTED")]
        assert len(world.ran) == 1

    simulate(story, 1.0, 1.0)


def test_a_result_made_while_the_submitter_was_away_is_kept_for_it() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        key = await one.submit(units=10, on=other)
        await asyncio.sleep(2)
        one.crash()
        await asyncio.sleep(60)
        assert not other.workers
        await one.start()
        await asyncio.sleep(10)
        assert attempts(one, key) == [(other.id, "COMMITTED")]
        assert len(world.ran) == 1

    simulate(story, 1.0, 1.0)


def test_on_battery_nothing_runs_on_without_its_submitter() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        other.mains = False
        await one.submit(units=30, on=other)
        await asyncio.sleep(2)
        one.crash()
        await asyncio.sleep(8)
        assert not other.workers

    simulate(story, 1.0, 1.0)


def test_a_pool_holds_only_what_the_peer_may_run() -> None:
    async def story(world: World) -> None:
        one, box, other = world.nodes
        box.crash()
        await asyncio.sleep(6)
        world.connecting = False
        await one.access.allow(other.id, {"test.*": Limits(concurrent=9)}, instead=True)
        private = await one.submit(units=60, personal=True)
        await asyncio.sleep(1)
        assert job(one, private)[1] == "pooled"
        assert one.submitter.desk.heaps_for(other.id) == []
        assert other.peers.peers[one.id].held == []
        one.submitter.take(other.id, Take(task="test.pure", variant="tiny"))
        await asyncio.sleep(2)
        assert all(device != other.id for device, _ in attempts(one, private))

    simulate(story, 2.0, 0.1, 2.0)


def test_asking_for_what_is_not_there_costs_nothing() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        heard: list[Pool] = []
        pool_heard = other.executor.pool_heard
        other.executor.pool_heard = lambda peer: (heard.append(Pool()), pool_heard(peer))  # type: ignore[method-assign, func-returns-value, assignment]
        for _ in range(100):
            one.submitter.take(other.id, Take(task="test.pure", variant="tiny"))
            one.submitter.take(other.id, Take(task="no.such", variant="x", queued=True))
        await asyncio.sleep(2)
        assert len(heard) == 200
        assert other.executor._free() == 1

    simulate(story, 1.0, 1.0)


def test_a_lost_answer_gives_the_slot_back() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        other.executor._pulling._send(one.id, "test.pure/tiny", newest=False, queued=False)
        one.submitter.take = lambda peer, message: None  # type: ignore[method-assign]
        assert other.executor._free() == 0
        await asyncio.sleep(1.5)
        assert other.executor._free() == 1

    simulate(story, 1.0, 1.0)


def test_a_peer_that_offers_and_never_answers_does_not_keep_a_slot_from_others() -> None:
    async def story(world: World) -> None:
        liar, honest, box = world.nodes
        liar.submitter.take = lambda peer, message: None  # type: ignore[method-assign]
        bait = HeapDoc(task="test.pure", variant="tiny", count=9, units=9.0, size=0, oldest=(1.0, 500.0), newest=(1.0, 1.0))
        asked = 0
        kept = 0
        send = box.executor._pulling._send

        def counted(peer: DeviceId, kind: str, *, newest: bool, queued: bool) -> bool:
            nonlocal asked
            asked += peer == liar.id
            return send(peer, kind, newest=newest, queued=queued)

        box.executor._pulling._send = counted  # type: ignore[method-assign]
        for n in range(600):
            if n < 300 or not box.executor._pulling.kept:  # first it answers with more of the same, then not at all
                liar.peers.send(box.id, Pool(held=[bait]))
            await asyncio.sleep(0.1)
            kept += box.executor._pulling.kept
        assert 3 <= asked <= 20
        assert kept < 40  # of 600 looks: seldom, and less and less
        key = await honest.submit(units=1, on=box)
        await asyncio.sleep(3)
        assert job(honest, key)[0] == "SUCCEEDED"

    simulate(story, 1.0, 1.0, 1.0)


def test_who_waits_in_a_queue_is_told_when_it_will_start() -> None:
    async def story(world: World) -> None:
        one, other = world.nodes
        beats: list[Heartbeat] = []
        beaten = one.peers._beaten

        async def watched(p, beat):
            beats.append(beat)
            await beaten(p, beat)

        one.peers._beaten = watched  # type: ignore[method-assign]
        await one.submit(units=10, on=other)
        await asyncio.sleep(0.5)
        await one.submit(units=12, on=other)
        await asyncio.sleep(2)
        waits = [live.start_in_s for beat in beats for live in beat.yours if live.start_in_s]
        assert waits
        assert 6 < waits[-1] < 10

    simulate(story, 1.0, 1.0)


def test_without_the_answer_not_started_a_job_with_effects_would_run_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation of `withdraw`: the submitter moves the job without waiting for the answer."""

    def story_with(world: World) -> Awaitable[None]:
        async def story() -> None:
            one, other = world.nodes
            await one.submit(EFFECTS, units=10, on=one)
            await asyncio.sleep(1)
            (pursuit,) = one.submitter._pursuits.values()
            (live,) = pursuit.lives
            live.attempt.state, live.may_run = "RESERVED", lambda: frozenset({other.id})
            one.submitter._open[live.job.id].spec = replace(live.job.spec, on=None)
            one.submitter.take(other.id, Take(task=EFFECTS, variant="tiny", queued=True))
            await asyncio.sleep(60)

        return story()

    simulate(story_with, 1.0, 1.0)

    def impatient(self: Submitter, peer: DeviceId, message: Take) -> None:
        for live in self.desk.movable(peer):
            live.moving_to = peer
            self._over(live, Over("WITHDRAWN", "moved"))

    monkeypatch.setattr(Submitter, "take", impatient)
    with pytest.raises(AssertionError, match="effects ran 2 times"):
        simulate(story_with, 1.0, 1.0)


def stuck(node: Node) -> Callable[[], None]:
    """Its worker takes work and says nothing any more, as one that is stopped; call it to end that."""
    gate, usual = asyncio.Event(), node.run

    async def run(work: Work, emit: Callable[[Event], None]) -> Done:
        await gate.wait()
        return await usual(work, emit)

    node.run = run  # type: ignore[method-assign]
    return gate.set


def test_what_waits_behind_a_worker_that_says_nothing_goes_elsewhere() -> None:
    """Neither the attempt that never starts nor what waits behind it keeps its job from idle devices."""

    async def story(world: World) -> None:
        asks, box, idle = world.nodes
        release = stuck(box)
        idle.crash()  # so that all of them are sent to the stuck one
        await asyncio.sleep(6)
        keys = [await asks.submit(units=3) for _ in range(3)]
        await asyncio.sleep(0.5)
        assert [attempts(asks, key)[0][0] for key in keys] == [box.id] * 3
        await idle.start()
        await asyncio.sleep(25)
        assert [job(asks, key)[0] for key in keys] == ["SUCCEEDED"] * 3
        assert all(device != box.id for key in keys for device, state in attempts(asks, key) if state == "COMMITTED")
        release()

    simulate(story, 60.0, 0.1, 0.2)


def test_a_second_attempt_does_not_answer_with_a_smaller_model() -> None:
    """Only the box has the better variant: that it runs late is no reason to answer with less, and say nothing."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        usual = box.offers.document

        def better(peer: DeviceId) -> Capability:
            document = usual(peer)
            doc = document.tasks[PURE]
            large = doc.variants["tiny"].model_copy(update={"quality": 2})
            tasks = {**document.tasks, PURE: doc.model_copy(update={"variants": {"base": large}})}
            return document.model_copy(update={"tasks": tasks})

        box.offers.document = better  # type: ignore[method-assign]
        box.peers.retell()
        await asyncio.sleep(1)
        box.slow = 40.0
        key = await asks.submit(units=10)
        await asyncio.sleep(30)
        assert [(a["device"], a["variant"]) for a in asks.rows("SELECT device, variant FROM attempt")] == [(box.id, "base")]
        await asyncio.sleep(30)
        assert job(asks, key)[0] == "SUCCEEDED"

    simulate(story, 0.2, 0.1)


@pytest.mark.parametrize("what", ["withdraw lost", "withdrawn lost", "disk full"])
def test_a_move_of_which_a_word_is_lost_comes_to_its_end(what: str) -> None:
    async def story(world: World) -> None:
        one, box, other = world.nodes
        for node in (one, box, other):
            await one.submit(units=10, on=node)
        await asyncio.sleep(0.5)
        key = await one.submit(units=20)
        await asyncio.sleep(1)
        holder = next(node for node in world.nodes if node.id == attempts(one, key)[0][0])
        thief = next(node for node in (box, other) if node is not holder)
        assert holder is not one

        def reset() -> None:
            for link in [link for link in world.links.values() if {link.us.id, link.them.id} == {one.id, holder.id}]:
                link.broken("reset")
            world.link(one, holder)

        holder.disk.full = what == "disk full"
        one.submitter.take(thief.id, Take(task=PURE, variant="tiny", queued=True))
        if what == "withdrawn lost":
            await one.submit(units=40, on=holder)  # beats go on for it
            while any(k[1] == key for k in holder.executor._held):
                await asyncio.sleep(0.0005)
        if what != "disk full":
            reset()
        await asyncio.sleep(3)
        holder.disk.full = False
        await asyncio.sleep(60)
        assert job(one, key)[0] == "SUCCEEDED", attempts(one, key)
        assert not any(k[1] == key for node in world.nodes for k in node.executor._held)

    simulate(story, 1.3, 1.0, 1.01)


def test_what_fails_on_a_device_for_now_is_tried_on_another() -> None:
    """Workers that die on the best device do not cost the job: the others come first before that is asked again."""

    async def story(world: World) -> None:
        asks, box, other = world.nodes

        def dies(work: Work, emit: Callable[[Event], None]) -> Done:
            raise AttemptFailed("transient", "a worker did not start")

        box.pool = MemoryPool(1, box.clock, dies, box._seconds)
        key = await asks.submit(units=10)
        await asyncio.sleep(30)
        assert job(asks, key)[0] == "SUCCEEDED"
        assert attempts(asks, key) == [(box.id, "ERRORED"), (other.id, "COMMITTED")]

    simulate(story, 2.0, 0.1, 0.5)


def test_what_waits_is_moved_once_its_device_has_turned_out_to_be_slow() -> None:
    """The submitter hears how long work takes there by now, and judges what it has waiting by that."""

    async def story(world: World) -> None:
        asks, box, other = world.nodes
        keys = [await asks.submit(units=6) for _ in range(4)]
        await asyncio.sleep(0.5)
        assert [attempts(asks, key)[0][0] for key in keys] == [box.id] * 4
        box.mean = box.offers._mean = 2.0
        await box.executor._observe(next(iter(box.executor._held.values())), 2.0, None)
        box.peers.retell()
        await asyncio.sleep(3)
        assert other.id in [attempts(asks, key)[-1][0] for key in keys], "taken at once by who is faster now"

    simulate(story, 9.0, 0.1, 0.6)
