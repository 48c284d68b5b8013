"""How a job of two parts is told (`job show`, `explain`, the line before the run)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from moodmesh.nodes.api.shown import escalated, show
from moodmesh.nodes.cli.jobs import describe, explained
from moodmesh.nodes.jobs.model import Attempt, Job, Spec
from moodmesh.nodes.jobs.seen import seen
from moodmesh.nodes.messages import Blob
from moodmesh.tasks.emotion.text import EmotionText

NODE: Any = SimpleNamespace(
    name="phone",
    identity=SimpleNamespace(id="phone"),
    peers=SimpleNamespace(peers={n: SimpleNamespace(id=n, name=n) for n in ("phone", "desktop")}),
    tasks={"emotion.text": EmotionText()},
)
MEASURED = {"tiny": [0.433], "base": [0.548], "tiny+base": [0.481]}


def job(**more: Any) -> Job:
    known = {"measure": "mean r", "figures": MEASURED, "escalate": 0.3} | more
    return Job("a" * 32, Spec("emotion.text", 2, {}, 1.0, 0, 0, True, False, 1, **known), Blob.of(b""), 100.0)


def part(role: str, device: str, variant: str, status: Any = "SUCCEEDED") -> tuple[str, Job]:
    table = {"rows": [], "chosen": None, "why": f"{device} is the only device that may run {variant}"}
    attempt = Attempt("b" * 32, 1, device, variant, "COMMITTED", table, 100.0)  # type: ignore[arg-type]
    spec = Spec("emotion.text", 2, {}, 1.0, 0, 0, True, False, 1, variant=variant, parent="a" * 32)
    return role, Job("b" * 32, spec, Blob.of(b""), 100.0, status, winner=1, attempts=[attempt])


BOTH = [part("small", "phone", "tiny"), part("large", "desktop", "base")]


def test_before_the_run_it_says_what_the_share_is_worth() -> None:
    found = escalated(NODE, job(), [], None)
    assert found["quality"]["words"] == (
        "tiny answers here, at most 30% goes to base: .481 where base alone has .548 and tiny .433, mean r"
    )
    assert found["variant"] == "tiny+base"
    unmeasured = escalated(NODE, job(figures={}, measure=""), [], None)["quality"]["words"]
    assert unmeasured == "tiny answers here, at most 30% goes to base; what that is worth was not measured"


def test_after_it_who_answered_what() -> None:
    found = escalated(NODE, job(), BOTH, {"sent": 6, "of": 20, "why": ""})
    assert (found["ran_on"], found["variant"]) == ("phone + desktop", "tiny+base")
    assert found["why"] == "6 of 20 answers are base's, on desktop: those it was expected to improve most"
    assert [p["quality"] for p in found["parts"]] == [None, None]
    lines = describe(found)
    assert any(line.startswith("  small: bbbb") for line in lines)
    assert any(line.startswith("  large: bbbb") for line in lines)


def test_small_answers_that_stand_name_the_small_device_alone_and_the_reason() -> None:
    late = [BOTH[0], part("large", "desktop", "base", "STOPPED")]
    why = "the answers of tiny stand: base was not done within 5 s"
    found = escalated(NODE, job(), late, {"sent": 0, "of": 20, "why": why})
    assert (found["ran_on"], found["variant"], found["why"]) == ("phone", "tiny", why)


def test_the_quality_stated_at_the_end_is_of_what_was_sent_and_not_of_the_share_asked_for() -> None:
    """Here, and on another device that is told of it."""
    some = {"sent": 2, "of": 20, "why": "", "figures": {"tiny+base": 0.445}}
    found = escalated(NODE, job(), BOTH, some)["quality"]
    assert found["words"] == "tiny answers here, 2 of 20 are base's: .445 where base alone has .548 and tiny .433, mean r"
    assert found["figures"]["tiny+base"] == [0.445]
    none = {"sent": 0, "of": 20, "why": "the answers of tiny stand: base was not done", "figures": {"tiny+base": 0.433}}
    found = escalated(NODE, job(), BOTH[:1], none)["quality"]
    assert found["words"] == "tiny answers here, none is base's: .433 where base alone has .548 and tiny .433, mean r"
    made = {"escalation": none, "parts": {"small": {"device": "phone"}}}
    there = seen(job(), {}, own=True, provenance=made).escalation
    assert there is not None
    assert there.figures["tiny+base"] == 0.433


def test_explain_has_the_table_of_each_part() -> None:
    found = escalated(NODE, job(), BOTH, {"sent": 6, "of": 20, "why": ""}) | {"now": None, "tables": []}
    for shown, (_, of) in zip(found["parts"], BOTH, strict=True):
        shown |= {"now": None, "tables": [a.explain for a in of.attempts]}
    text = "\n".join(explained(found))
    assert "small part, tiny:" in text
    assert "large part, base:" in text
    assert "desktop is the only device that may run base" in text


def test_explain_says_whose_job_it_is_and_that_the_table_of_an_absent_owner_is_old() -> None:
    waits = show(NODE, Job("c" * 32, replace(job().spec, escalate=None), Blob.of(b""), 100.0, substate="scoring"))
    told = waits | {"tables": [], "now": {"why": "no device can run it now", "rows": [], "chosen": None}}
    there = {"owner": "den", "owner_here": False, "owner_absent": True, "age_s": 12.0}
    lines = explained(told | there)
    assert "  submitted by den (owner absent, as of 12 s ago)" in lines
    assert "then: no device can run it now" in lines
    here = explained(told)
    assert "now: no device can run it now" in here
    assert not [line for line in here if "submitted by" in line]
    assert here[0] == "cccccccc  emotion.text  PENDING waits for a device that can run it"


def test_a_peer_that_was_forgotten_is_told_by_the_beginning_of_its_id() -> None:
    _, one = part("small", "abcdefgh" + "2" * 44, "tiny")
    found = show(NODE, one) | {"tables": [one.attempts[0].explain | {"why": ""}], "now": None}
    for lines in (describe(found), explained(found)):
        assert any("abcdefgh (forgotten)" in line for line in lines)
        assert not any("2222" in line for line in lines)
