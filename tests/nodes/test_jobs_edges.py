"""Submitter and executor at their edges, on the twins: quotas settled, slots counted, nonsense survived."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moodmesh.mesh.memory import MemoryNet
from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.mesh.seams import DeviceId, LinkClosed
from moodmesh.nodes.api.peers import PeersView
from moodmesh.nodes.bench.virtual import LoopClock, VirtualLoop, run
from moodmesh.nodes.blobs import NodeBlobs
from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.jobs import acceptance, submitter
from moodmesh.nodes.jobs.executor import GRACE_S, LEASE_S
from moodmesh.nodes.jobs.pursuit import MOST_WAITING, Pursuit
from moodmesh.nodes.messages import Blob, Granted, Heartbeat, LogLine, ProgressNow, Provenance, Reserve, Result, Start
from moodmesh.nodes.permissions import Limits

from .sim import EFFECTS, IDENTITIES, PURE, Node, World, simulate, status


def test_a_killed_attempt_no_longer_counts_as_running() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        await b.access.allow(a.id, {"test.*": Limits(concurrent=1, seconds_per_day=1000)}, instead=True)
        first = await a.submit(units=30, on=b)
        await asyncio.sleep(3)
        assert b.access.denial(a.id, PURE, 1, 1) == "concurrent"
        await a.submitter.cancel(first)
        await asyncio.sleep(1)
        assert b.access.denial(a.id, PURE, 1, 1) is None
        second = await a.submit(units=1, on=b)
        await asyncio.sleep(3)
        assert status(a, second)[0] == "SUCCEEDED"

    simulate(story)


def test_a_slot_is_free_only_when_its_worker_is_gone() -> None:
    async def story(world: World) -> None:
        a, _ = world.nodes
        running, most = 0, 0
        real = a.run

        async def slow_to_die(work, emit):
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await real(work, emit)
            except asyncio.CancelledError:
                await asyncio.sleep(1.5)
                raise
            finally:
                running -= 1

        a.run = slow_to_die  # type: ignore[method-assign]
        first = await a.submit(units=20, on=a)
        await asyncio.sleep(1)
        second = await a.submit(units=1, on=a)
        await a.submitter.cancel(first)
        await asyncio.sleep(6)
        assert status(a, second)[0] == "SUCCEEDED"
        assert most == 1

    simulate(story)


def test_personal_input_stays_when_the_owner_thinks_better_of_it_while_it_waits() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        long = await b.submit(units=20, on=b)
        await asyncio.sleep(0.5)
        job = await a.submit(units=1, on=b, personal=True)
        await asyncio.sleep(1)
        started: list[Start] = []
        send = a.peers.send
        a.peers.send = lambda peer, m: (started.append(m) if isinstance(m, Start) else None, send(peer, m))[1]  # type: ignore[method-assign]
        await a.access.allow(b.id, {"test.*": Limits()}, instead=True)
        await asyncio.sleep(30)
        assert status(b, long)[0] == "SUCCEEDED"
        assert status(a, job)[0] == "PENDING"
        assert started == []
        await a.access.allow(b.id, {"own.device": Limits()})
        await asyncio.sleep(30)
        assert status(a, job)[0] == "SUCCEEDED"

    simulate(story)


def test_a_peer_that_refuses_again_and_again_is_asked_ever_more_seldom() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        await b.access.allow(a.id, {"test.*": Limits(jobs_per_hour=0)}, instead=True)
        job = await a.submit(units=1, on=b)
        await asyncio.sleep(3600)
        assert status(a, job)[0] == "PENDING"
        (count,) = a.rows("SELECT count(*) FROM attempt WHERE job=?", job)
        assert 3 < count[0] < 25

    simulate(story)


def test_a_job_stopped_before_its_first_step_leaves_nothing_behind() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        for _ in range(5):
            job = await a.submit(units=5, on=b)
            await a.submitter.cancel(job)
        await asyncio.sleep(10)
        assert not a.submitter.desk.live
        assert not a.submitter._open
        assert not b.executor._held
        assert not b.workers

    simulate(story)


def forged(job: str, **more: object) -> Result:
    return Result(job=job, attempt=1, outputs={"value": Blob.of(b"{}")}, **more)  # type: ignore[arg-type]


def test_forged_late_results_are_not_believed_and_end_nothing() -> None:
    provenance = dict.fromkeys(("engine", "model", "model_sha256"), "") | {
        "device": "x", "pid": 1, "task": PURE, "version": 1, "variant": "tiny", "seed": 1, "input_sha256": "0" * 64,
        "output_sha256": {"value": "0" * 64}, "started": 0.0, "finished": 0.0, "seconds": 0.0, "load_s": 0.0,
    }  # fmt: skip

    async def story(world: World) -> None:
        a, b = world.nodes
        b.crash()
        await asyncio.sleep(1)
        job = await a.submit(units=1, on=b)
        a.submitter._open[job].attempts.append(
            submitter.Attempt(job, 1, b.id, "tiny", "LOST", {}, 0.0)
        )  # as if it had been sent there before
        for lie in (
            forged(job),
            forged(job, signature="zz", provenance=Provenance(**provenance)),
            forged(job, signature="ab" * 64, provenance=Provenance(**provenance)),
        ):
            await a.submitter.hear(b.id, lie)
            await asyncio.sleep(0.1)
        assert status(a, job)[0] == "PENDING"
        assert not a.submitter._late_now

    simulate(story)


def test_a_peer_cannot_fill_this_device_with_reservations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodmesh.nodes.jobs.bounds.MAX_LIVE", 20)

    async def story(world: World) -> None:
        a, b = world.nodes
        for n in range(60):
            ask = Reserve(
                job=f"{n:032x}", attempt=1, task=PURE, version=1, variant="tiny", units=1.0, input_bytes=0, result_bytes=0,
                personal=False, waited=0.0,
            )  # fmt: skip
            await b.executor.hear(a.id, ask)
        assert len(b.executor._held) <= 20
        await asyncio.sleep(3)
        assert not b.executor._held  # and what its submitter does not know of is gone with the next heartbeat

    simulate(story)


def test_a_late_grant_is_cancelled_and_its_slot_free_again() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        sent = b.peers.send

        def late(peer, message):
            if isinstance(message, Granted):
                world.loop.call_later(2.0, sent, peer, message)
                return True
            return sent(peer, message)

        b.peers.send = late  # type: ignore[method-assign]
        job = await a.submit(units=1)
        a.submitter.look_again()
        await asyncio.sleep(10)
        assert status(a, job)[0] == "SUCCEEDED"
        assert not b.executor._held

    simulate(story)


def test_a_heartbeat_that_was_overtaken_is_ignored() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=5, on=b)
        await asyncio.sleep(3)
        peer = b.peers.peers[a.id]
        await b.peers._beaten(peer, Heartbeat(seq=peer.their_seq, echo=0, held_s=0.0, mine=[], yours=[]))
        await asyncio.sleep(5)
        assert status(a, job)[0] == "SUCCEEDED"
        (count,) = a.rows("SELECT count(*) FROM attempt WHERE job=?", job)
        assert count[0] == 1

    simulate(story)


def test_a_task_with_effects_is_not_tried_again_after_an_error() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.fails = True
        job = await a.submit(EFFECTS, units=1, on=b)
        await asyncio.sleep(10)
        assert status(a, job) == ("FAILED", "task_error")
        assert len(world.ran) == 1

    simulate(story)


def test_a_forgotten_peer_loses_its_rules_in_memory_too() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        assert b.access.may(a.id, PURE)
        b.peers._pair_changed(a.id, None)
        assert not b.access.may(a.id, PURE)

    simulate(story)


def test_whoever_loses_an_attempt_reads_a_name_and_why() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        b.peers.peers[a.id].name = a.peers.peers[b.id].name = a.peers.peers[c.id].name = "den"
        denied, vanished = await a.submit(units=30, on=b), await a.submit(units=30, on=c)
        await asyncio.sleep(3)
        await b.access.deny(a.id)
        await b.executor.drop_peer(a.id)
        c.executor._held.clear()
        await asyncio.sleep(3)
        said = [a.rows("SELECT state, message FROM attempt WHERE job=?", job)[0] for job in (denied, vanished)]
        assert [tuple(row) for row in said] == [
            ("LOST", "given back: revoked, this device may no longer run it there"),
            ("LOST", "den no longer holds it"),
        ]

    simulate(story, 3)


def test_an_attempt_whose_end_is_not_on_disk_is_not_listed_as_live() -> None:
    """The peer would wait for it: an attempt without a result is none, even while a full disk keeps its row."""

    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=30, on=b)
        await asyncio.sleep(3)
        b.disk.full = True
        with pytest.raises(StoreError):
            await b.executor.drop_peer(a.id)
        assert b.executor.live(a.id) == []
        await asyncio.sleep(3)
        (first,) = a.rows("SELECT state FROM attempt WHERE job=? AND number=1", job)
        assert first["state"] == "LOST"
        b.disk.full = False
        await asyncio.sleep(20)
        assert not [row for row in b.rows("SELECT number FROM execution") if row["number"] == 1], "forgotten with a heartbeat"
        await asyncio.sleep(40)
        assert status(a, job)[0] == "SUCCEEDED"
        assert not b.executor.results.waiting
        assert not b.rows("SELECT * FROM execution")

    simulate(story)


def test_a_result_that_cannot_be_journalled_is_not_said_and_the_job_runs_again() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        real, dropped, said = b.executor._result, [], []
        send, drop = b.peers.send, b.executor._blobs.drop

        async def then_the_disk_is_full(e, done):
            b.disk.full = True
            world.loop.call_later(20, lambda: setattr(b.disk, "full", False))
            return await real(e, done)

        async def dropping(blob):
            dropped.append(blob)
            await drop(blob)

        b.executor._result = then_the_disk_is_full  # type: ignore[method-assign]
        b.executor._blobs.drop = dropping  # type: ignore[method-assign]
        b.peers.send = lambda peer, m: (said.append(m), send(peer, m))[1]  # type: ignore[method-assign]
        job = await a.submit(units=1, on=b)
        await asyncio.sleep(8)
        b.executor._result = real  # type: ignore[method-assign]
        assert not [m for m in said if isinstance(m, Result)]
        assert b.executor.live(a.id) == []
        assert dropped, "its outputs do not stay"
        await asyncio.sleep(120)
        assert status(a, job)[0] == "SUCCEEDED"
        (first,) = a.rows("SELECT state, message FROM attempt WHERE job=? AND number=1", job)
        assert (first["state"], first["message"]) == ("LOST", "given back: disk")

    simulate(story)


def test_an_unexpected_error_ends_the_attempt_and_not_the_job(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        heard, failures = Pursuit._heard, iter([KeyError("a fault of ours")])

        async def broken(self, live, message):
            if isinstance(message, Result) and (error := next(failures, None)):
                raise error
            return await heard(self, live, message)

        monkeypatch.setattr(Pursuit, "_heard", broken)
        job = await a.submit(units=1, on=b)
        await asyncio.sleep(20)
        assert status(a, job)[0] == "SUCCEEDED"
        states = [row["state"] for row in a.rows("SELECT state FROM attempt WHERE job=? ORDER BY number", job)]
        assert states.count("COMMITTED") == 1, "its result came again, or it ran again"
        assert not b.executor._held

    simulate(story)


def test_a_job_that_cannot_be_placed_at_all_fails_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.crash()
        await asyncio.sleep(10)
        job = await a.submit(units=1, on=b)

        def broken(job, devices):
            raise KeyError("a fault of ours")

        a.submitter.desk.placement = broken  # type: ignore[method-assign]
        a.disk.full = True
        a.submitter.look_again()
        await asyncio.sleep(30)
        a.disk.full = False
        await asyncio.sleep(10)
        (row,) = a.rows("SELECT status, substate, message FROM job WHERE id=?", job)
        assert (row["status"], row["substate"]) == ("FAILED", "internal")
        assert "Submit the job again" in row["message"]
        assert not a.submitter._open
        assert not a.submitter._drivers

    simulate(story)


def test_a_stopped_job_is_withdrawn_also_when_the_disk_is_full_by_then() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=300, on=b)
        await asyncio.sleep(3)
        assert b.workers
        world.break_links = lambda: None  # type: ignore[method-assign]
        step = a.jobs.step

        async def full(*args, **more):
            raise StoreError("the disk is full")

        a.jobs.step = full  # type: ignore[method-assign]
        await a.submitter.cancel(job)
        await asyncio.sleep(0.5)  # before any heartbeat tells the other side
        a.jobs.step = step  # type: ignore[method-assign]
        assert not b.workers
        assert status(a, job)[0] == "STOPPED"

    simulate(story)


def test_a_job_that_was_not_accepted_leaves_no_input() -> None:
    async def story(world: World) -> None:
        a, _ = world.nodes
        dropped = []

        async def dropping(blob):
            dropped.append(blob)

        a.submitter._blobs.drop = dropping  # type: ignore[method-assign]
        a.disk.full = True
        with pytest.raises(StoreError):
            await a.submit(units=1)
        assert len(dropped) == 1
        assert not a.submitter.desk.live

    simulate(story)


def test_a_flood_of_messages_about_one_attempt_is_bounded() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=5, on=b)
        await asyncio.sleep(3)
        for seq in range(50_000):
            await a.submitter.hear(b.id, ProgressNow(job=job, attempt=1, seq=seq, share=0.5))
        assert a.submitter._pursuits[job]._inbox.qsize() <= MOST_WAITING
        await asyncio.sleep(10)
        assert status(a, job)[0] == "SUCCEEDED"

    simulate(story)


def test_a_peer_that_takes_nothing_for_long_loses_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodmesh.nodes.peers.UNREAD_S", 4.0)

    async def story(world: World) -> None:
        a, b = world.nodes
        link = world.links[a.id, b.id]

        async def stuck(envelope):
            await asyncio.sleep(1000)

        link.send = stuck  # type: ignore[method-assign]
        reasons = []
        link.us.peers.link_down = lambda peer, reason: reasons.append(reason)  # type: ignore[method-assign]
        a.peers.tell_rights(b.id)
        await asyncio.sleep(5)
        assert reasons == ["it has read nothing for 4 s"]

    simulate(story)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000, b"[]", b"7"])
def test_a_value_that_is_no_object_or_endlessly_nested_is_none(data: bytes) -> None:
    with contextlib.suppress(ValueError):  # no JSON at all: the caller takes it as the same
        assert not acceptance._is_object(data)


def test_twenty_nodes_on_real_links_find_each_other_and_run_a_job_each() -> None:
    loop = VirtualLoop()

    async def story() -> None:
        world = World(loop, 3, count=20)
        for node in world.nodes:
            await node.start()
        net = MemoryNet(LoopClock(loop), delay_s=0.002)
        books = {node.id: Pairs() for node in world.nodes}
        for one, other in itertools.permutations(world.nodes, 2):
            books[one.id].add(Pair(other.id, other.id[:6], other.identity.credential.certificate, b"k" * 32))
        links = {node.id: net.join(node.id, books[node.id], node.peers) for node in world.nodes}
        for one, other in itertools.combinations(world.nodes, 2):
            links[one.id].seek(other.id, [net.address(other.id)], net.rid(other.id))
        await asyncio.sleep(5)
        assert {len(list(node.peers.linked())) for node in world.nodes} == {19}
        jobs = [(node, await node.submit(units=1)) for node in world.nodes]
        await asyncio.sleep(30)
        assert {status(node, job)[0] for node, job in jobs} == {"SUCCEEDED"}
        assert len({device for _, _, device in world.ran}) > 5
        await asyncio.gather(*(link.close() for link in links.values()))

    assert len(IDENTITIES) == 20
    run(story(), loop)


def test_a_log_without_end_is_kept_to_a_limit_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=5, on=b)
        await asyncio.sleep(2)
        (live,) = a.submitter.desk.live.values()
        live.log_room = 10_000
        for seq in range(1, 300):
            b.peers.send(a.id, LogLine(job=job, attempt=1, seq=1000 + seq, line="x" * 100))
            await asyncio.sleep(0.01)
        await asyncio.sleep(10)
        assert status(a, job)[0] == "SUCCEEDED"
        lines = [row["line"] for row in a.rows("SELECT line FROM job_log WHERE job=? ORDER BY seq", job)]
        assert 40 < len(lines) < 60
        assert "the log is full" in lines[-1]

    simulate(story)


def test_a_copy_that_is_gone_is_forgotten_after_a_while() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        a.peers.link_duplicate(b.id, "peer")
        b.peers.link_duplicate(a.id, "us")
        assert list(a.peers.copied()) == list(b.peers.copied()) == [b.id]
        await asyncio.sleep(130)
        assert not a.peers.copied()
        assert not b.peers.copied()

    simulate(story)


async def elsewhere(world: World, job: str, device: Node) -> float:
    """The seconds from now until the job starts on another device."""
    began = world.now()
    while not [ran for ran in world.ran if ran[0] == job and ran[2] != device.id]:
        assert world.now() < began + 30
        await asyncio.sleep(0.001)
    return world.now() - began


def test_what_ran_on_a_device_that_dies_runs_elsewhere_within_half_a_second() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30)
        await asyncio.sleep(2)
        assert b.workers, "the fastest"
        b.crash()
        assert 0.2 < await elsewhere(world, job, b) <= 0.5, "after a moment in which it may come back"

    simulate(story, count=3)


def test_what_ran_on_a_device_that_falls_silent_runs_elsewhere_within_five_seconds_and_its_worker_ends_with_the_lease() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30)
        await asyncio.sleep(2)
        assert b.workers, "the fastest"
        while world.now() - a.peers.peers[b.id].heard > 0.002:  # silent right after a word: the longest that it can take
            await asyncio.sleep(0.001)
        world.islands = [{b.id}]
        began = world.now()
        assert 4.0 < await elsewhere(world, job, b) <= 4.9
        assert b.workers, "its lease has not ended"
        while b.workers:
            await asyncio.sleep(0.01)
        assert 3.9 < world.now() - began <= LEASE_S + GRACE_S

    simulate(story, count=3)


def test_a_clock_that_was_wrong_for_a_while_costs_no_result() -> None:
    """A device without a clock of its own boots in 1970: what it did then is not years old once it knows the time."""

    async def story(world: World) -> None:
        a, _ = world.nodes
        wall, a.clock.wall = a.clock.wall, lambda: 1000.0
        job = await a.submit()
        await asyncio.sleep(5)
        a.clock.wall = wall
        assert await a.jobs.age(600.0, 86400.0) == []
        assert status(a, job)[0] == "SUCCEEDED"
        assert [row["finished"] < 2000 for row in a.rows("SELECT finished FROM job")] == [True]
        open_ = await a.submit(units=1000)
        dropped = await a.jobs.age(86400.0, 86400.0)
        assert len(dropped) == 2, "its input and its output"
        assert [row["id"] for row in a.rows("SELECT id FROM job")] == [open_], "what goes on does not age"

    simulate(story)


def test_a_job_outlives_the_restarts_of_its_own_submitter_while_its_input_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def inline(call: Callable[..., Any], *args: Any) -> Any:
        return call(*args)

    monkeypatch.setattr(asyncio, "to_thread", inline)  # threads know nothing of virtual time

    async def story(world: World) -> None:
        a, b = world.nodes

        async def travel(artefact: str, source: DeviceId, size: int) -> Any:
            links = world.links.get((b.id, a.id))
            for _ in range(30):
                await asyncio.sleep(0.1)
                if links is None or links.closed:
                    raise LinkClosed("link lost during a transfer")
            return SimpleNamespace(read_bytes=lambda: b"input")

        async def put(data: bytes) -> Blob:
            return Blob(size=len(data), id="a" * 64)

        blobs = b.executor._blobs = NodeBlobs(tmp_path / "artefacts", b.peers, b.jobs, b.clock)
        blobs._fetch = travel  # type: ignore[method-assign]
        blobs.store = SimpleNamespace(delete=lambda artefact: None)  # type: ignore[assignment]
        a.submitter._blobs.put = put  # type: ignore[method-assign]
        job = await a.submit(on=b)
        for _ in range(5):  # after each loss its device is left alone for longer
            async with asyncio.timeout(100):
                while not any(e.start is not None for e in b.executor._held.values()):
                    await asyncio.sleep(0.1)
            a.crash()
            await asyncio.sleep(0.5)
            await a.start()
        await asyncio.sleep(300)
        states = [row["state"] for row in a.rows("SELECT state FROM attempt WHERE job=? ORDER BY number", job)]
        assert status(a, job)[0] == "SUCCEEDED"
        assert states[-1] == "COMMITTED"
        assert len(states) > 5
        assert set(states[:-1]) == {"LOST"}

    simulate(story)


def test_a_clock_that_was_wrong_at_the_executor_costs_no_result_and_no_fence() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.mains = True
        b.clock.offset, right = 1000.0, b.clock.offset
        await a.submit(units=10, on=b)
        await asyncio.sleep(2)
        world.islands = [{a.id}]
        await asyncio.sleep(20)
        b.clock.offset = right
        for _ in range(2):
            await b.executor.results.expire(600.0)
            assert len(b.executor.results.waiting) == 1
            assert len(b.rows("SELECT * FROM fence")) == 1
            b.crash()
            await b.start()
        await b.executor.results.expire(86400.0)
        assert not b.executor.results.waiting
        assert not b.rows("SELECT * FROM execution")
        assert len(b.rows("SELECT * FROM fence")) == 1
        await b.executor.results.expire(30 * 86400.0)
        assert not b.rows("SELECT * FROM fence")

    simulate(story)


def test_a_device_that_is_forgotten_ends_what_it_runs_for_this_one() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.mains = True
        job = await a.submit(units=100)
        await asyncio.sleep(3)
        assert b.workers

        async def forget(peer: DeviceId) -> None:
            """As the pair book does: the link closes at once."""
            world.connecting = False
            world.links[a.id, b.id].broken("forgotten")
            world.links[b.id, a.id].broken("forgotten")
            a.peers._pair_changed(peer, None)

        book = SimpleNamespace(find=lambda name: a.peers._pairs.get(b.id), forget=forget)
        view = PeersView(SimpleNamespace(book=book, peers=a.peers, submitter=a.submitter))  # type: ignore[arg-type]
        await view.forget(SimpleNamespace(match_info={"name": "b"}))  # type: ignore[arg-type]
        await asyncio.sleep(2)
        assert not b.workers
        assert not b.rows("SELECT * FROM execution")
        assert a.rows("SELECT state, message FROM attempt WHERE number=1")[0][:] == ("LOST", "the peer was forgotten")
        assert [device for _, _, device in world.ran] == [b.id, a.id]
        assert status(a, job)[0] == "RUNNING"

    simulate(story)
