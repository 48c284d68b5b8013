"""Random histories of jobs that two models answer: answered once, whatever dies between the parts (systems S29)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import Refused, StoreError
from moodmesh.nodes.jobs import escalation, submitter
from moodmesh.nodes.jobs.escalation import PATIENCE_S, Escalations, given_up
from moodmesh.nodes.jobs.journal import Jobs
from moodmesh.nodes.jobs.model import Job, Spec, part_id
from moodmesh.nodes.jobs.replicas import Elsewhere
from moodmesh.nodes.messages import Blob, Capability, TaskDoc, VariantDoc
from moodmesh.nodes.pool.seam import Done, Event, Work
from moodmesh.tasks import Escalation, Request, Rest

from . import sim
from .sim import PURE, SEE, Died, Faults, World
from .trouble import first_bad, outcome, trouble

SEEDS = range(16)
ITEMS = 6
ANSWERS = """
CREATE TRIGGER answered AFTER UPDATE OF status ON job WHEN NEW.status = 'SUCCEEDED' AND NEW.winner IS NULL
BEGIN INSERT INTO watched VALUES ('commit ' || NEW.id); END;
"""


class Answer(BaseModel):
    items: list[str]


def uncertain(request: Request, answer: Mapping[str, Any], share: float) -> Rest | None:
    sent = tuple(range(int(share * len(answer["items"]))))
    return Rest(Request({"units": float(len(sent))}, b"rest"), sent, len(answer["items"])) if sent else None


def merge(small: Mapping[str, Any], large: Mapping[str, Any], items: tuple[int, ...]) -> dict[str, Any]:
    if len(large["items"]) != len(items):
        raise ValueError("not the items that were asked for")
    return {"items": [large["items"][items.index(n)] if n in items else i for n, i in enumerate(small["items"])]}


WAY = Escalation("small", "large", uncertain, merge, reached=(0.4, 0.5, 0.6))
TASK: Any = SimpleNamespace(
    spec=SimpleNamespace(escalation=WAY, result=Answer), units=lambda r: r.params["units"], result_bytes=lambda r: 10
)


class Offers(sim.Offers):
    """The small model everywhere, the large one not on the first device."""

    def document(self, peer: DeviceId) -> Capability:
        found = super().document(peer)
        same = {"memory_mb": 1, "log_mean": 0.0, "log_var": 0.25, "count": 1, "guess": False, "load_s": 0.0}
        docs = {"small": VariantDoc(quality=1, mean=self._mean / 10, **same)}  # type: ignore[arg-type]
        if self._node.id != self._node.world.nodes[0].id:
            docs["large"] = VariantDoc(quality=2, mean=self._mean, **same)  # type: ignore[arg-type]
        return found.model_copy(update={"tasks": {PURE: TaskDoc(version=1, variants=docs)}})


class Node(sim.Node):
    """A device with `Escalations`."""

    broken = ""

    def _build(self) -> None:
        super()._build()
        self.disk.db.executescript(ANSWERS.replace("TRIGGER", "TRIGGER IF NOT EXISTS"))

        async def aside(call: Callable[..., Any], *args: Any) -> Any:
            return call(*args)

        self.escalations = Escalations(
            self.submitter, self.jobs, sim.InlineBlobs(), self.submitter.desk.events, self.clock, {PURE: TASK}, self.id, aside
        )
        self._inspect(self.escalations)

    async def _boot(self) -> None:
        await super()._boot()
        try:
            await self.escalations.resume()
        except Died:
            pass
        except StoreError:
            self.crash()

    def _perform(self, work: Work, emit: Callable[[Event], None]) -> Done:
        done = super()._perform(work, emit)
        name = self.broken or work.variant
        return Done({"items": [name] * int(work.params["units"])} if name != "nonsense" else {"no": 1}, seconds=done.seconds)

    async def ask(
        self, share: float = 0.5, by_s: float | None = None, personal: bool = False, expire_s: float | None = None
    ) -> str:
        spec = Spec(
            task=PURE, version=1, params={"units": float(ITEMS)}, units=float(ITEMS), input_bytes=5, result_bytes=10,
            personal=personal, effects=False, seed=1, escalate=share, by_s=by_s, expire_s=expire_s,
        )  # fmt: skip
        job = await self.world.loop.create_task(self.escalations.submit(spec, b"input"), context=self._context())
        return job.id

    def answer(self, job: str) -> list[str]:
        (row,) = self.rows("SELECT output FROM job WHERE id=?", job)
        return list(json.loads(Blob.model_validate(json.loads(row["output"])["value"]).data())["items"])

    def told(self, job: str) -> dict[str, Any]:
        (row,) = self.rows("SELECT provenance FROM job WHERE id=?", job)
        return dict(json.loads(row["provenance"])["escalation"])

    def status(self, job: str) -> str:
        return str(self.rows("SELECT status FROM job WHERE id=?", job)[0]["status"])


@pytest.fixture(autouse=True)
def _world(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level("CRITICAL")
    monkeypatch.setattr(escalation, "uuid", SimpleNamespace(uuid4=lambda: submitter.uuid.uuid4()))  # type: ignore[attr-defined]
    monkeypatch.setattr(sim, "Node", Node)
    monkeypatch.setattr(sim, "Offers", Offers)


def verdict(world: World, accepted: set[str]) -> list[str]:
    """What must never be, of parents as of any job; and an answer is whole."""
    wrong = world.verdict(accepted)
    for node in world.nodes:
        assert isinstance(node, Node)
        if node.escalations._open or node.escalations._drivers:
            wrong.append("a parent is held in memory")
        for row in node.rows("SELECT id FROM job WHERE status='SUCCEEDED' AND json_extract(spec, '$.escalate') IS NOT NULL"):
            told, items = node.told(row["id"]), node.answer(row["id"])
            if items != ["large"] * told["sent"] + ["small"] * (ITEMS - told["sent"]):
                wrong.append(f"a wrong answer: {items} {told}")
    return wrong


async def history(world: World) -> list[str]:
    """Eight such jobs in half a minute of trouble, some of them stopped, then peace."""
    await world.start()
    rnd, accepted, stopped = world.random, set(), set()
    for _ in range(8):
        await asyncio.sleep(rnd.uniform(0, 2))
        node = rnd.choice(world.nodes)
        assert isinstance(node, Node)
        if not node.dead:
            with contextlib.suppress(Died, asyncio.CancelledError, StoreError):
                job = await node.ask(rnd.choice([0.5, 1.0]), by_s=rnd.choice([None, None, 8.0]))
                accepted.add(job)
                if rnd.random() < 0.25:
                    await asyncio.sleep(rnd.uniform(0, 3))
                    with contextlib.suppress(Refused):
                        await world.loop.create_task(node.escalations.cancel(job), context=node._context())
                        stopped.add((node, job))
        trouble(world)
    await asyncio.sleep(rnd.uniform(0, 5))
    await world.settle()
    wrong = [f"did not stay stopped: {job}" for node, job in stopped if node.status(job) != "STOPPED"]
    return wrong + verdict(world, accepted)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_request_is_answered_once_whatever_breaks_between_its_parts(seed: int) -> None:
    faults = Faults(drop=0.05, duplicate=0.1, reorder=0.1, delay=0.2) if seed % 2 else Faults()
    wrong = outcome(history, seed, faults=faults)
    assert not wrong, f"seed {seed}: {wrong}"


def phone_of(world: World) -> Node:
    node = world.nodes[0]
    assert isinstance(node, Node)
    return node


@pytest.mark.parametrize("crash_in", range(1, 16))
def test_a_crash_at_every_step_of_the_journal(crash_in: int) -> None:
    async def story(world: World) -> tuple[list[str], set[str]]:
        await world.start()
        await asyncio.sleep(1)
        phone, accepted = phone_of(world), set()
        phone.disk.crash_in = crash_in
        with contextlib.suppress(Died, asyncio.CancelledError):
            accepted.add(await phone.ask())
        await asyncio.sleep(20)
        await world.settle()
        parents = {row["id"] for row in phone.rows("SELECT id FROM job WHERE json_extract(spec, '$.parent') IS NULL")}
        assert accepted <= parents
        return verdict(world, accepted) + [phone.status(job) for job in parents if phone.status(job) != "SUCCEEDED"], parents

    wrong, parents = outcome(story, count=2)
    assert wrong == []
    assert len(parents) <= 1


@pytest.mark.parametrize("moment", [0.1, 3.0, 5.99, 6.02, 7.0, 8.0])
def test_stopping_it_stops_both_parts(moment: float) -> None:
    async def story(world: World) -> list[str]:
        await world.start()
        await asyncio.sleep(1)
        phone = phone_of(world)
        job = await phone.ask(1.0)
        await asyncio.sleep(moment)
        await world.loop.create_task(phone.escalations.cancel(job), context=phone._context())
        await asyncio.sleep(3)
        assert not world.nodes[1].workers
        states = [row["status"] for row in phone.rows("SELECT status FROM job")]
        assert states[0] == "STOPPED"
        assert set(states) <= {"STOPPED", "SUCCEEDED"}
        await world.settle()
        return verdict(world, {job})

    assert outcome(story, count=2) == []


def test_without_anyone_for_the_large_part_the_small_answers_stand_and_say_so() -> None:
    async def story(world: World) -> tuple[list[str], dict[str, Any], float]:
        await world.start()
        phone = phone_of(world)
        await asyncio.sleep(1)
        world.nodes[1].crash()
        await asyncio.sleep(1)
        job, began = await phone.ask(), world.now()
        while phone.status(job) != "SUCCEEDED":
            await asyncio.sleep(0.1)
        took = world.now() - began
        await world.settle()
        assert verdict(world, {job}) == []
        assert phone.rows("SELECT status FROM job WHERE id=?", part_id(job, "large"))[0]["status"] == "STOPPED"
        return phone.answer(job), phone.told(job), took

    items, why, took = outcome(story, count=2)
    assert items == ["small"] * ITEMS
    assert "the answers of small stand" in why["why"]
    assert PATIENCE_S < took - ITEMS < PATIENCE_S + 2  # the small part takes a second an item


def test_a_deadline_ends_the_wait_for_the_large_part() -> None:
    async def story(world: World) -> tuple[dict[str, Any], float, list[str]]:
        await world.start()
        await asyncio.sleep(1)
        phone = phone_of(world)
        world.nodes[1].mean = world.nodes[1].offers._mean = 100.0  # slower than it said
        job, began = await phone.ask(by_s=9.0), world.now()
        while phone.status(job) != "SUCCEEDED":
            await asyncio.sleep(0.1)
        took, large = world.now() - began, part_id(job, "large")
        (part,), (attempt,) = (
            phone.rows(f"SELECT * FROM {t} WHERE {k}=?", large) for t, k in (("job", "id"), ("attempt", "job"))
        )
        return phone.told(job), took, [part["status"], part["substate"], part["message"], attempt["message"]]

    why, took, large = outcome(story, count=2)
    assert why["why"] == "the answers of small stand: large was not done within 9 s"
    assert 9 <= took < 11
    late = "large was not done within 9 s"
    assert large == ["STOPPED", "given up", late, f"given up: {late}"]
    assert why["figures"] == {"small+large": 0.4}


def test_what_was_sent_and_not_the_share_asked_for_decides_what_the_answer_is_worth() -> None:
    async def story(world: World) -> dict[str, Any]:
        await world.start()
        await asyncio.sleep(1)
        phone = phone_of(world)
        job = await phone.ask(share=0.4)
        while phone.status(job) != "SUCCEEDED":
            await asyncio.sleep(0.1)
        return phone.told(job)

    told = outcome(story, count=2)
    assert (told["sent"], told["of"]) == (2, ITEMS)
    assert told["figures"] == {"small+large": pytest.approx(0.4 + 0.2 * 2 / ITEMS)}


@pytest.mark.parametrize("down", [False, True])
def test_one_that_expires_is_stopped_with_its_part(down: bool) -> None:
    async def story(world: World) -> list[str]:
        await world.start()
        await asyncio.sleep(1)
        phone = phone_of(world)
        job = await phone.ask(1.0, expire_s=2.0)
        if down:
            await asyncio.sleep(1)
            phone.crash()
            await phone.start()
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.5 if not down else 0.1)
        before = phone.status(job)
        await asyncio.sleep(20)
        stopped = [f"{row['status']} {row['substate']}" for row in phone.rows("SELECT * FROM job")]
        return [before, *stopped, *verdict(world, {job})]

    assert outcome(story, count=2) == ["RUNNING", "STOPPED expired", "STOPPED expired"]


@pytest.mark.parametrize("broken", ["nonsense", "wrong"])
def test_an_answer_that_does_not_fit_is_not_merged(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken == "wrong":
        strict = SimpleNamespace(
            escalation=Escalation("small", "large", uncertain, lambda *_: {"items": "no list"}), result=Answer
        )
        monkeypatch.setattr(TASK, "spec", strict)

    async def story(world: World) -> tuple[list[str], dict[str, Any]]:
        await world.start()
        await asyncio.sleep(1)
        phone, other = phone_of(world), world.nodes[1]
        assert isinstance(other, Node)
        other.broken = "nonsense" if broken == "nonsense" else ""
        job = await phone.ask()
        await asyncio.sleep(20)
        return phone.answer(job), phone.told(job)

    items, why = outcome(story, count=2)
    assert items == ["small"] * ITEMS
    assert "does not fit" in why["why"]


@pytest.mark.parametrize(
    ("share", "certain", "why"),
    [
        (0.1, False, "at most 0.1 of so few is less than one"),
        (0.5, True, "small is expected to be no worse on what there is"),
        (1.0, True, "small is expected to be no worse on what there is"),
    ],
)
def test_where_nothing_is_sent_it_says_truly_why(
    share: float, certain: bool, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six items a tenth is none; a half would be three, but the small model is sure of all."""

    def sure(request: Request, answer: Mapping[str, Any], share: float) -> Rest | None:
        return uncertain(request, answer, share) if share == 1.0 and not all_sure else None

    all_sure = share == 1.0
    if certain:
        monkeypatch.setattr(TASK, "spec", SimpleNamespace(escalation=replace(WAY, uncertain=sure), result=Answer))

    async def story(world: World) -> dict[str, Any]:
        await world.start()
        await asyncio.sleep(1)
        phone = phone_of(world)
        job = await phone.ask(share)
        await asyncio.sleep(20)
        return phone.told(job)

    assert outcome(story, count=2)["why"] == f"nothing was sent to large: {why}"


@pytest.mark.parametrize("own", [True, False])
def test_personal_input_leaves_for_own_devices_only(own: bool) -> None:
    async def story(world: World) -> tuple[list[str], int]:
        await world.start()
        phone, other = phone_of(world), world.nodes[1]
        if not own:
            await phone.access.allow(other.id, {"test.*": phone.access.rules(other.id)["test.*"]}, instead=True)
        await asyncio.sleep(1)
        job = await phone.ask(personal=True)
        await asyncio.sleep(30)
        return phone.answer(job), sum(device == other.id for _, _, device in world.ran)

    items, elsewhere = outcome(story, count=2)
    assert ("large" in items) == own
    assert elsewhere == int(own)


def test_when_the_large_part_is_given_up() -> None:
    spec = Spec(PURE, 1, {}, 1.0, 0, 0, False, False, 1, escalate=0.5, by_s=10.0)
    parent, large = (
        Job("p", spec, Blob.of(b""), 100.0),
        Job("l", Spec(PURE, 1, {}, 1.0, 0, 0, False, False, 1, "large"), Blob.of(b""), 100.0),
    )
    assert given_up(parent, large, 0.0, 109.9) == ""
    assert given_up(parent, large, 0.0, 110.0) == "large was not done within 10 s"
    assert given_up(parent, large, PATIENCE_S - 0.1, 105.0) == ""
    assert "no device can run it now" in given_up(parent, large, PATIENCE_S, 105.0)


# -- each safeguard removed: some history must go wrong ----------------------------------------------------------------


async def stopped_at_the_end(world: World) -> list[str]:
    """The user stops it in the moment in which it is answered."""
    await world.start()
    await asyncio.sleep(1)
    phone = phone_of(world)
    job = await phone.ask()
    await asyncio.sleep(ITEMS)  # the small part takes a second an item
    while not phone.rows("SELECT 1 FROM job WHERE id=? AND status='SUCCEEDED'", part_id(job, "large")):
        await asyncio.sleep(0.001)
    await asyncio.sleep(world.random.uniform(0, 0.004))
    with contextlib.suppress(Refused):
        await world.loop.create_task(phone.escalations.cancel(job), context=phone._context())
    await world.settle()
    return verdict(world, {job})


@pytest.mark.parametrize("seed", range(6))
def test_stopped_in_the_moment_of_its_answer(seed: int) -> None:
    assert outcome(stopped_at_the_end, seed, count=2) == []


def test_without_the_conditional_update_what_was_stopped_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(self: Jobs, job: Job, outputs: dict[str, Blob], provenance: dict[str, Any], at: float) -> bool:
        named = json.dumps({name: blob.model_dump(exclude_none=True) for name, blob in outputs.items()})
        query = "UPDATE job SET status='SUCCEEDED', output=?, provenance=?, finished=? WHERE id=?"
        await self._store.write("job.answer", lambda db: db.execute(query, (named, json.dumps(provenance), at, job.id)))
        job.status, job.finished = "SUCCEEDED", at
        return True

    monkeypatch.setattr(Jobs, "answer", answer)
    assert first_bad("changed after its end", stopped_at_the_end) is not None


def test_without_ids_made_from_the_parent_a_restart_forgets_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is not found again is left at work when its parent is stopped, or handed in twice."""

    async def story(world: World) -> list[str]:
        await world.start()
        await asyncio.sleep(1)
        phone = phone_of(world)
        phone.disk.crash_in = 4 + world.random.randrange(6)
        with contextlib.suppress(Died, asyncio.CancelledError):
            await phone.ask()
        await asyncio.sleep(20)
        await world.settle()
        count = len(phone.rows("SELECT id FROM job"))
        return [f"{count} jobs"] if count > 3 else []

    assert not any(outcome(story, seed, count=2) for seed in range(8))
    fresh = iter(range(10**6))
    monkeypatch.setattr(escalation, "part_id", lambda parent, role: f"{next(fresh):032x}")
    assert first_bad("jobs", story) is not None


def test_without_the_mark_of_its_parent_a_part_takes_personal_input_to_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> int:
        await world.start()
        phone, other = phone_of(world), world.nodes[1]
        await phone.access.allow(other.id, {"test.*": phone.access.rules(other.id)["test.*"]}, instead=True)
        await asyncio.sleep(1)
        await phone.ask(personal=True)
        await asyncio.sleep(30)
        return sum(device == other.id for _, _, device in world.ran)

    assert outcome(story, count=2) == 0
    spec = escalation.part_spec
    monkeypatch.setattr(escalation, "part_spec", lambda *args, **more: spec(*args, **more, personal=False))
    assert outcome(story, count=2) == 1


def test_another_device_sees_one_job_with_its_parts_and_stops_it_after_its_owner_is_gone() -> None:
    async def story(world: World) -> None:
        phone, box, other = phone_of(world), world.nodes[1], world.nodes[2]
        box.mean, box.mains, other.mean = 30.0, True, 90.0
        await world.start()
        await phone.access.allow(other.id, SEE)
        await asyncio.sleep(1)
        job = await phone.ask(share=1.0)
        await asyncio.sleep(12)
        for live in (True, False):
            found = await other.inspection.find(job[:8])
            assert isinstance(found, Elsewhere)
            assert (found.live, found.job.escalation is not None) == (live, True)
            parts = await other.inspection.parts(found)
            assert [(role, part.job.status, part.live) for role, part in parts] == [
                ("small", "SUCCEEDED", live), ("large", "RUNNING", live)
            ]  # fmt: skip
            assert [a.name for _, part in parts for a in part.job.attempts] == ["node", box.id[:6]]
            assert all(part.job.attempts[0].table is not None and part.job.parent == job for _, part in parts)
            assert [e.job.id for e in await other.inspection.newest(9)] == [job]
            if live:
                phone.crash()
                await asyncio.sleep(7)
        assert box.workers
        held = await other.inspection.cancel(found)
        assert (held.words, box.workers) == (f"ended on {box.id[:6]}", {})
        await phone.start()
        await asyncio.sleep(10)
        assert [phone.status(one) for one in (job, part_id(job, "large"))] == ["STOPPED", "STOPPED"]
        await asyncio.sleep(60)
        assert not box.workers

    outcome(story)
