"""Messages between nodes and bodies of the API: strict round trips, and no bytes that break a parser (pairing §9.14)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from moodmesh.mesh.seams import Envelope
from moodmesh.nodes.bench import fuzz
from moodmesh.nodes.bench.fuzz import HEAD, JOB, JOB_MESSAGES, PROVENANCE, VARIANT
from moodmesh.nodes.kinds import KINDS, parse
from moodmesh.nodes.messages import (
    INLINE_BYTES,
    MAX_LIVE,
    Blob,
    Capability,
    Heartbeat,
    Live,
    Provenance,
    Result,
    Start,
    StreamedPart,
    TaskDoc,
    VariantDoc,
)
from moodmesh.tasks.parts import MOST_PARTS, PART_BYTES


def envelope(kind: str, body: dict[str, Any]) -> Envelope:
    return Envelope(kind, json.dumps(body).encode())


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(JOB_MESSAGES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_survives_the_wire_and_fits_its_cap(kind: str) -> None:
    message = parse(envelope(kind, JOB_MESSAGES[kind]))
    assert message is not None
    again = message.envelope()
    assert parse(again) == message
    assert len(again.body) <= type(message).cap


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_may_be_missing_unknown_or_of_another_type(kind: str) -> None:
    good = JOB_MESSAGES[kind]
    optional = {name for name, field in KINDS[kind].model_fields.items() if not field.is_required()}
    with pytest.raises(ValueError, match=f"malformed {kind}: extra"):
        parse(envelope(kind, good | {"extra": 1}))
    for name, value in good.items():
        if name not in optional:
            with pytest.raises(ValueError, match="malformed"):
                parse(envelope(kind, {k: v for k, v in good.items() if k != name}))
        wrong = [1] if isinstance(value, (str, dict)) else "1"
        with pytest.raises(ValueError, match="malformed"):
            parse(envelope(kind, good | {name: wrong}))


def test_an_unknown_kind_is_none() -> None:
    assert parse(Envelope("offer", b"{}")) is None


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("reserve", {"units": float("nan")}), ("reserve", {"units": 0.0}), ("reserve", {"attempt": 0}),
        ("reserve", {"job": JOB + "\n"}), ("reserve", {"task": "../x"}), ("reserve", {"input_bytes": -1}),
        ("progress", {"share": 1.1}), ("progress", {"share": float("inf")}), ("started", {"ago_s": float("nan")}),
        ("start", {"seed": 2**63}), ("result", {"provenance": PROVENANCE | {"started": float("nan")}}),
        ("part", {"index": -1}), ("part", {"index": MOST_PARTS}), ("part", {"data": "A" * (PART_BYTES * 4 // 3 + 5)}),
        ("part_ack", {"held": -1}), ("part_ack", {"held": MOST_PARTS + 1}),
        ("capability", {"tasks": {"a.b": {"version": 1, "variants": {"x": VARIANT | {"log_mean": 1e300}}}}}),
        ("capability", {"tasks": {"a.b": {"version": 1, "variants": {"x": VARIANT | {"log_var": 1e6}}}}}),
        ("capability", {"tasks": {"a.b": {"version": 1, "variants": {"x": VARIANT | {"quality": 2**40}}}}}),
    ],
)  # fmt: skip
def test_numbers_that_would_break_a_decision_are_refused(kind: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="malformed"):
        parse(envelope(kind, JOB_MESSAGES[kind] | change))


def test_a_blob_is_as_long_as_it_says() -> None:
    assert Blob.of(b"abc").data() == b"abc"
    for lie in (Blob(size=4, inline="YWJj"), Blob(size=3, inline="!!!!"), Blob(size=3)):
        with pytest.raises(ValueError, match=r"."):
            lie.data()


def test_the_largest_legitimate_messages_fit() -> None:
    live = [Live(job=JOB, attempt=10**6, phase="DELIVERING")] * MAX_LIVE
    beat = Heartbeat(seq=1, echo=1, held_s=0.5, mine=live, yours=live)
    inline = Blob.of(b"\xff" * INLINE_BYTES)
    result = Result(**HEAD, outputs={f"f{n}": inline for n in range(40)}, provenance=Provenance(**PROVENANCE))
    start = Start(**HEAD, params={"text": "x" * 128 * 1024}, input=inline, seed=1, parts=inline)
    part = StreamedPart.of(JOB, 3, MOST_PARTS - 1, b"\xff" * PART_BYTES)
    task = TaskDoc(version=1, variants={f"v{n}": VariantDoc(**VARIANT) for n in range(4)})
    document = Capability(**(JOB_MESSAGES["capability"] | {"tasks": {f"family.task{n}": task for n in range(40)}}))
    for message in (beat, result, start, part, document):
        assert len(message.envelope().body) <= type(message).cap


def test_a_document_differs_when_a_rate_moves_by_more_than_five_per_cent() -> None:
    def document(**change: Any) -> Capability:
        tasks = {"a.b": TaskDoc(version=1, variants={"x": VariantDoc(**(VARIANT | change))})}
        return Capability(**(JOB_MESSAGES["capability"] | {"tasks": tasks}))

    assert not document(mean=0.52, count=9).differs(document())
    assert document(mean=0.53).differs(document())
    assert document(load_s=1.2).differs(document())
    assert document(quality=3).differs(document())
    assert document(fetch_bytes=9).differs(document())
    assert Capability(**(JOB_MESSAGES["capability"] | {"tasks": {}})).differs(document())


# -- fuzz --------------------------------------------------------------------------------------------------------------

TARGETS = fuzz.targets()


@pytest.mark.parametrize("name", TARGETS)
def test_ten_thousand_edits_of_valid_input_break_no_parser(name: str) -> None:
    row = fuzz.attack(name, TARGETS[name], 10_000, seed=7)
    assert 0 < row["taken"] < 10_000, "some edits are harmless, most are not"
    assert row["longest_ms"] < 1000


def test_a_parser_that_crashes_is_found() -> None:
    careless = fuzz.Target([b'{"a":1}'], lambda data: json.loads(data)["a"], (ValueError,))
    with pytest.raises(AssertionError, match="careless crashed"):
        fuzz.attack("careless", careless, 10_000, seed=7)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(TARGETS)), st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4), max_leaves=8,
).map(lambda tree: json.dumps(tree).encode())))  # fmt: skip
def test_arbitrary_bytes_and_json_break_nothing(kind: str, body: bytes) -> None:
    TARGETS[kind].takes(body)


@pytest.mark.parametrize("body", [b"[" * 10**6, b'{"a":' * 10**5, b'"' + b"x" * 10**6, b"9" * 10**6])
@pytest.mark.parametrize("kind", ["heartbeat", "start", "JobRequest", "P1"])
def test_deep_and_long_bodies_end_at_once(kind: str, body: bytes) -> None:
    TARGETS[kind].takes(body)


@pytest.mark.parametrize(("model", "body"), fuzz.API_BODIES)
def test_bodies_of_the_api_take_no_unknown_field(model: type[BaseModel], body: dict[str, Any]) -> None:
    model.model_validate(body)
    with pytest.raises(ValidationError):
        model.model_validate(body | {"extra": 1})
