"""What a submitter believes and keeps of what an executor sends: no forgery, no nonsense, and no end of anything."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from moodmesh.nodes.jobs import acceptance, submitter
from moodmesh.nodes.jobs.pursuit import MOST_WAITING
from moodmesh.nodes.messages import Blob, LogLine, ProgressNow, Provenance, Result, ResultAck

from .sim import EFFECTS, PURE, Node, World, simulate, spy, status


def signed(of: Node, by: Node, job: str, attempt: int = 1, value: bytes = b'{"ok":1}', **change: Any) -> Result:
    """A result as the executor `of` would give it, but for what is changed; signed, with all changes, `by` a device."""
    provenance = dict.fromkeys(("engine", "model", "model_sha256"), "") | {
        "device": of.id, "pid": 1, "task": PURE, "version": 1, "variant": "tiny", "seed": 1, "input_sha256": "0" * 64,
        "output_sha256": {"value": hashlib.sha256(value).hexdigest()}, "started": 0.0, "finished": 0.0, "seconds": 0.0,
        "load_s": 0.0,
    }  # fmt: skip
    found = Result(job=job, attempt=attempt, outputs={"value": Blob.of(value)}, provenance=Provenance(**provenance | change))
    return found.model_copy(update={"signature": by.peers.sign(acceptance.signed_bytes(found)).hex()})


def other(result: Result, **change: Any) -> Result:
    """Changed after it was signed."""
    return result.model_copy(update=change)


LIES: dict[str, Callable[[Node, Node, str], Result]] = {
    "no provenance": lambda a, b, job: other(signed(b, b, job), provenance=None),
    "no signature": lambda a, b, job: other(signed(b, b, job), signature=""),
    "a signature that is no number": lambda a, b, job: other(signed(b, b, job), signature="zz"),
    "the signature of another device": lambda a, b, job: signed(b, a, job),
    "signed for another attempt": lambda a, b, job: other(signed(b, b, job, 2), attempt=1),
    "signed for another job": lambda a, b, job: other(signed(b, b, "0" * 32), job=job),
    "made by another device": lambda a, b, job: signed(b, b, job, device=a.id),
    "another task": lambda a, b, job: signed(b, b, job, task=EFFECTS),
    "another version": lambda a, b, job: signed(b, b, job, version=2),
    "another variant": lambda a, b, job: signed(b, b, job, variant="large"),
    "another seed": lambda a, b, job: signed(b, b, job, seed=2),
    "another value": lambda a, b, job: other(signed(b, b, job), outputs={"value": Blob.of(b'{"ok":2}')}),
    "an output more": lambda a, b, job: other(
        found := signed(b, b, job), outputs={**(found.outputs or {}), "more": Blob.of(b"x")}
    ),
    "a value that is no object": lambda a, b, job: signed(b, b, job, value=b"[]"),
    "a value that is no JSON": lambda a, b, job: signed(b, b, job, value=b"{"),
}


def after_the_fact(said: Callable[[Node, Node, str], Result]) -> str:
    """The status of a job once a device that had lost it has sent this result; every result is acknowledged."""
    found: list[str] = []

    async def story(world: World) -> None:
        a, b = world.nodes
        b.crash()
        await asyncio.sleep(1)
        job = await a.submit(units=1, on=b)
        a.submitter._open[job].attempts.append(
            submitter.Attempt(job, 1, b.id, "tiny", "LOST", {}, 0.0)
        )  # as if it had been sent there before
        sent = spy(a, ResultAck)
        await a.submitter.hear(b.id, said(a, b, job))
        await asyncio.sleep(0.1)
        assert [peer for _, peer, _ in sent] == [b.id]
        assert not a.submitter._late_now
        found.append(status(a, job)[0])

    simulate(story)
    return found[0]


@pytest.mark.parametrize("lie", LIES)
def test_forged_late_results_are_not_believed_and_end_nothing(lie: str) -> None:
    assert after_the_fact(LIES[lie]) == "PENDING"


def test_a_late_result_that_is_true_is_taken() -> None:
    assert after_the_fact(lambda a, b, job: signed(b, b, job)) == "SUCCEEDED"


def discarded(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    found = [(r.getMessage(), str(getattr(r, "why", ""))) for r in caplog.records if "discarded" in r.getMessage()]
    caplog.clear()
    return found


def test_a_result_that_is_not_taken_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Forged, too late for its job, or of a job that was stopped in the very moment."""
    caplog.set_level("INFO")
    after_the_fact(lambda a, b, job: signed(b, a, job))
    assert discarded(caplog) == [("bad result discarded", "bad signature")]

    async def late(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=1, on=b)
        await asyncio.sleep(3)
        assert status(a, job)[0] == "SUCCEEDED"
        await a.submitter.hear(b.id, signed(b, b, job))
        await asyncio.sleep(0.1)

    simulate(late)
    assert discarded(caplog) == [("stale result discarded", "")]

    async def stopped(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=1, on=b)
        await asyncio.sleep(0.3)
        a.disk.db.execute("UPDATE job SET status='STOPPED' WHERE id=?", (job,))
        a.submitter._open[job].status = "STOPPED"
        await asyncio.sleep(3)

    simulate(stopped)
    assert discarded(caplog) == [("stale result discarded", "")]


@pytest.mark.parametrize(
    ("data", "taken"),
    [(b"[" * 100_000, False), (b'{"a":' * 100_000, False), (b"[]", False), (b"7", False), (b'{"a":[]}', True)],
    ids=["arrays without end", "objects without end", "an array", "a number", "an object"],
)
def test_a_value_that_is_no_object_or_endlessly_nested_is_none(data: bytes, taken: bool) -> None:
    assert acceptance._is_object(data) == taken


def test_a_flood_of_messages_about_one_attempt_is_bounded() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=5, on=b)
        await asyncio.sleep(3)
        for _ in range(50_000):
            await a.submitter.hear(b.id, ProgressNow(job=job, attempt=1, share=0.5))
        assert a.submitter._pursuits[job]._inbox.qsize() == MOST_WAITING
        await asyncio.sleep(10)
        assert status(a, job)[0] == "SUCCEEDED"

    simulate(story)


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
