"""A job as others see it: bounded whatever it holds, never a word of its input, and safe to show (routing §8)."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.cli.jobs import describe, explained
from moodmesh.nodes.cli.output import emit, put
from moodmesh.nodes.jobs import seen as module
from moodmesh.nodes.jobs.model import Attempt, Job, Spec
from moodmesh.nodes.jobs.network import Neighbour
from moodmesh.nodes.jobs.replication import MOST_HOLDERS, holders
from moodmesh.nodes.jobs.seen import differs, seen, table
from moodmesh.nodes.messages import SEEN_JOBS, SEEN_LINES, Blob, Inspected, Replica, SeenTable
from moodmesh.nodes.placement.explain import table as lines_of

SECRET = "the purple heron of Zanzibar"
DATA = SECRET.encode()
EVIL = "\x1b[2J\x07" + "\u202e\x00" * 3000


def row(name: str = "den", **more: Any) -> dict[str, Any]:
    terms = {"transfer": 0.1, "queue": 0.0, "load": 0.0, "claim": 1.0, "service": 1.0, "back": 0.0, "total": 1.1, "p95": 2.0}
    found = {"device": "d" * 52, "name": name, "here": False, "variant": "tiny", "chosen": True, "gate": None, "guess": False}
    return found | terms | more


def job(personal: bool = True, rows: int = 2, attempts: int = 2, text: str = "x", **spec: Any) -> Job:
    explain = {"why": text, "chosen": row(), "rows": [row(text, gate={"name": "memory", "detail": text})] * rows}
    given = {
        "task": "emotion.text", "version": 1, "params": {"text": SECRET}, "units": 1.0, "input_bytes": len(DATA),
        "result_bytes": 1, "personal": personal, "effects": False, "seed": 1,
        "input_sha256": None if personal else hashlib.sha256(DATA).hexdigest(),
    }  # fmt: skip
    found = Job(
        "0" * 32,
        Spec(**(given | spec)),
        Blob.of(DATA),
        1.8e9,
        "PENDING",
        text,
        f"attempt 1: task_error: {text}",
        explain=explain,
    )
    found.attempts = [
        Attempt(
            "0" * 32, n + 1, DeviceId("d" * 52), "tiny", "ERRORED", explain, 1.8e9, 1.8e9, 1.8e9, 1.8e9, f"task_error: {text}"
        )
        for n in range(attempts)
    ]
    return found


LOG = [{"attempt": 1, "seq": n, "at": 1.8e9, "line": EVIL} for n in range(100)]


def test_the_largest_job_fits_its_message() -> None:
    whole = seen(job(rows=500, attempts=100, text=EVIL, by_s=1e300), {}, own=True, lines=LOG)
    assert len(Replica(job=whole).envelope().body) <= Replica.cap
    assert len(whole.lines) == SEEN_LINES
    assert whole.lines[-1].seq == 99
    assert len(Inspected(ask=1, jobs=[whole, whole]).envelope().body) <= Inspected.cap
    brief = seen(job(rows=500, attempts=100, text=EVIL), {}, own=True, lines=LOG, brief=True)
    assert len(Inspected(ask=1, jobs=[brief] * SEEN_JOBS).envelope().body) <= Inspected.cap


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("personal", [True, False])
def test_no_word_of_input_or_parameters_is_in_it(personal: bool, own: bool) -> None:
    body = seen(job(personal), {}, own=own, lines=LOG).model_dump_json()
    assert "heron" not in body
    assert Blob.of(DATA).inline not in body
    assert json.loads(body)["given"] == ["text"]


@pytest.mark.parametrize(("personal", "own", "quoted"), [(True, True, True), (True, False, False), (False, False, True)])
def test_what_a_task_said_goes_where_the_input_may_go(personal: bool, own: bool, quoted: bool) -> None:
    said = [{"attempt": 1, "seq": 1, "at": 1.8e9, "line": "heron"}]
    body = seen(job(personal, rows=0, text="heron"), {}, own=own, lines=said)
    assert ("heron" in body.message) == quoted
    assert [a.message for a in body.attempts] == ["task_error: heron" if quoted else "task_error"] * 2
    assert bool(body.lines) == quoted


def test_a_personal_input_has_no_hash_and_another_one_has_it_for_own_devices() -> None:
    """A short text is found from its hash by trying: whoever holds a replica of a personal job must not be able to."""
    guesses = ["a good day", SECRET, "nothing happened"]

    def guessed(personal: bool, own: bool, **spec: Any) -> bool:
        told = seen(job(personal, **spec), {}, own=own).model_dump_json()
        return any(hashlib.sha256(guess.encode()).hexdigest() in told for guess in guesses)

    assert not guessed(personal=True, own=True)
    assert not guessed(personal=True, own=True, input_sha256=hashlib.sha256(DATA).hexdigest())
    assert not guessed(personal=False, own=False)
    assert guessed(personal=False, own=True)


def test_only_what_the_job_had_can_be_handed_in_again() -> None:
    public, personal = seen(job(False), {}, own=True), seen(job(True), {}, own=True)
    other = DATA[::-1]
    assert differs(public, DATA, {"text": 1}) == ""
    assert "SHA-256" in differs(public, other, {"text": 1})
    assert differs(personal, other, {"text": 1}) == ""
    assert "bytes" in differs(personal, DATA + b"x", {"text": 1})
    assert "its parameters were: text" in differs(personal, DATA, {})
    assert "its parameters were: text" in differs(personal, DATA, {"text": 1, "lines": True})


def test_a_table_reads_here_as_it_does_at_its_owner() -> None:
    found = seen(job(rows=2, text="den"), {}, own=True).attempts[0].table
    shown = table(found, "d" * 52)
    expected = job(rows=2, text="den").attempts[0].explain
    assert lines_of(shown) == lines_of(expected | {"rows": [r | {"here": True} for r in expected["rows"]]})
    assert shown["chosen"]["p95"] == 2.0


def test_a_hostile_table_is_shown_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "device": EVIL[:64],
            "name": EVIL[:200],
            "chosen": True,
            "terms": {},
            "notes": {"transfer": "x", "total": "x", "p95": "x"},
        },
        {"device": "x", "name": "x", "chosen": True, "terms": {"total": 1e308}, "notes": {"here": "x", "rows": True}},
    ]
    hostile = SeenTable.model_validate({"why": EVIL[:200], "rows": rows})
    shown = table(hostile, "me")
    assert shown["chosen"] is None
    found = {
        "id": "0" * 32, "task": "a.b", "status": "FAILED", "substate": EVIL[:200], "message": EVIL[:200], "share": 0.0,
        "ran_on": None, "created": 0.0, "owner_here": False, "owner": EVIL[:64], "owner_absent": True, "age_s": 12.0,
        "adopted_from": None, "quality": None,
        "attempts": [{"number": 1, "name": EVIL[:200], "variant": "tiny", "state": "LOST", "message": EVIL[:200],
                      "created": 0.0, "reserved": None, "started": None, "finished": 1.0}],
        "tables": [shown], "now": None,
    }  # fmt: skip
    put("\n".join([*describe(found), *explained(found)]))
    out = capsys.readouterr().out
    emit({"line": "\x1b\x9b\x7f"}, True, list)
    assert capsys.readouterr().out == '{"line": "\\u001b\\u009b\\u007f"}\n'
    assert "owner absent, as of 12 s ago" in out
    assert not {c for c in out if ord(c) < 32} - {"\n", "\t"}


NEIGHBOURS = st.lists(
    st.builds(
        Neighbour, st.integers(0, 9).map(lambda n: DeviceId(str(n))), st.just(frozenset()), st.integers(0, 3).map(float),
        st.booleans(), st.just(0),
    ), max_size=8, unique_by=lambda n: n.id,
)  # fmt: skip


@given(NEIGHBOURS, st.sets(st.integers(0, 9).map(lambda n: DeviceId(str(n))), max_size=3))
def test_holders_are_few_the_same_in_any_order_and_stay(found: list[Neighbour], before: set[DeviceId]) -> None:
    chosen = holders(before, found)
    assert len(chosen) == min(MOST_HOLDERS, len(found))
    for order in itertools.islice(itertools.permutations(found), 6):
        assert holders(before, order) == chosen
    assert {n.id for n in chosen} >= before & {n.id for n in found}
    assert set(holders([n.id for n in chosen], found)) == set(chosen)


def test_holders_have_power_and_long_links() -> None:
    found = [Neighbour(DeviceId(n), frozenset(), since, steady, 0) for n, since, steady in
             (("new", 9.0, True), ("weak", 0.0, False), ("old", 1.0, True), ("middle", 5.0, True))]  # fmt: skip
    assert [n.id for n in holders((), found)] == ["old", "middle", "new"]
    assert module.TABLES == 3


FIGURES = {"tiny": [0.433], "base": [0.548], "tiny+base": [0.481]}
MADE = {"escalation": {"sent": 2, "of": 9, "why": ""}, "parts": {"small": {"device": "a"}, "large": {"device": "d" * 52}}}


def test_a_job_of_two_parts_is_told_as_one() -> None:
    parent = job(attempts=0, escalate=0.3, figures=FIGURES, measure="mean r")
    before = seen(parent, {}, own=True).escalation
    assert before is not None
    assert (before.share, before.sent, before.ran_on, before.figures["tiny+base"]) == (0.3, None, "", 0.481)
    after = seen(parent, {"a": "phone"}, own=True, provenance=MADE).escalation
    assert after is not None
    assert (after.sent, after.of, after.ran_on) == (2, 9, f"phone + {'d' * 52}")
    alone = seen(parent, {"a": "phone"}, own=True, provenance=MADE | {"escalation": {"sent": 0, "of": 9, "why": "late"}})
    assert alone.escalation is not None
    assert (alone.escalation.ran_on, alone.escalation.why) == ("phone", "late")
    assert seen(job(parent="1" * 32), {}, own=True).parent == "1" * 32


@pytest.mark.parametrize(("personal", "own", "quoted"), [(True, True, True), (True, False, False), (False, False, True)])
def test_a_parent_quotes_its_parts_where_the_input_may_go(personal: bool, own: bool, quoted: bool) -> None:
    """The error of a part is its parent's message, though the parent has no attempt that failed."""
    made = MADE | {"escalation": {"sent": 0, "of": 9, "why": "the answers of tiny stand: task_error: heron"}}
    told = seen(job(personal, rows=0, attempts=0, text="heron", escalate=0.3), {}, own=own, provenance=made)
    assert ("heron" in told.message) == quoted
    assert told.escalation is not None
    assert ("heron" in told.escalation.why) == quoted
