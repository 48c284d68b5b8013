"""Messages between nodes and bodies of the API: strict round trips, and no bytes that break a parser (pairing §9.14)."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from moodmesh.mesh.seams import Envelope
from moodmesh.nodes.api.jobs import JobRequest
from moodmesh.nodes.api.pairing import JoinRequest
from moodmesh.nodes.api.peers import AllowRequest
from moodmesh.nodes.messages import (
    INLINE_BYTES,
    KINDS,
    MAX_LIVE,
    Blob,
    Capability,
    Heartbeat,
    Live,
    Provenance,
    Result,
    Start,
    TaskDoc,
    VariantDoc,
    parse,
)

JOB, SHA = "0123456789abcdef" * 2, "ab" * 32
HEAD: dict[str, Any] = {"job": JOB, "attempt": 3}
VARIANT = {
    "quality": 2,
    "memory_mb": 90,
    "mean": 0.5,
    "log_mean": -0.7,
    "log_var": 0.3,
    "count": 4,
    "guess": False,
    "load_s": 1.0,
}
PROVENANCE = {
    "device": "d" * 52, "engine": "process", "pid": 7, "task": "emotion.text", "version": 1, "variant": "tiny", "model": "m",
    "model_sha256": SHA, "seed": 5, "input_sha256": SHA, "output_sha256": {"value": SHA}, "started": 1.8e9, "finished": 1.8e9,
    "seconds": 0.5, "load_s": 0.1,
}  # fmt: skip
BLOB = {"size": 3, "inline": "YWJj"}
GOOD: dict[str, dict[str, Any]] = {
    "capability": {"revision": 1, "engine": "ray", "slots": 2, "own": True, "cores": 4, "gpus": ["A 1 MB"],
                   "tasks": {"emotion.text": {"version": 1, "variants": {"tiny": VARIANT}}}},
    "dynamic": {"revision": 1, "valid_s": 10.0, "free_slots": 1, "running": [0.5], "queue": {"a/b": [2, 1.5]}, "power": "ok",
                "quiet": False, "memory_free_mb": 10, "disk_free_mb": 10, "loaded": ["a/b"]},
    "reserve": HEAD | {"task": "emotion.text", "version": 1, "variant": "tiny", "units": 3.0, "input_bytes": 1,
                       "result_bytes": 2, "personal": True, "waited": 0.0},
    "granted": HEAD | {"start_in_s": 0.0, "lease_s": 5.0},
    "refused": HEAD | {"gate": "memory", "detail": "too little"},
    "start": HEAD | {"params": {"lines": True}, "input": BLOB, "seed": 1, "deadline_s": 3.0},
    "started": HEAD | {"pid": 1, "load_s": 0.0, "ago_s": 0.0},
    "progress": HEAD | {"seq": 1, "share": 0.5},
    "log": HEAD | {"seq": 1, "line": "x"},
    "result": HEAD | {"outputs": {"value": BLOB}, "provenance": PROVENANCE, "signature": "ab"},
    "result_ack": HEAD,
    "cancel": HEAD,
    "cancelled": HEAD | {"reason": "shutdown"},
    "heartbeat": {"seq": 2, "echo": 1, "held_s": 0.1, "mine": [HEAD | {"phase": "RUNNING"}], "yours": []},
    "unsupported": {"what": "x"},
    "seek_model": {"sha256": SHA},
    "have_model": {"sha256": SHA, "artefact": SHA},
    "rights": {"actions": ["emotion.*"], "name": "kitchen"},
}  # fmt: skip


def envelope(kind: str, body: dict[str, Any]) -> Envelope:
    return Envelope(kind, json.dumps(body).encode())


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(GOOD) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_survives_the_wire_and_fits_its_cap(kind: str) -> None:
    message = parse(envelope(kind, GOOD[kind]))
    assert message is not None
    again = message.envelope()
    assert parse(again) == message
    assert len(again.body) <= type(message).cap


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_may_be_missing_unknown_or_of_another_type(kind: str) -> None:
    good = GOOD[kind]
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
        ("capability", {"tasks": {"a.b": {"version": 1, "variants": {"x": VARIANT | {"log_mean": 1e300}}}}}),
        ("capability", {"tasks": {"a.b": {"version": 1, "variants": {"x": VARIANT | {"log_var": 1e6}}}}}),
        ("capability", {"tasks": {"a.b": {"version": 1, "variants": {"x": VARIANT | {"quality": 2**40}}}}}),
    ],
)  # fmt: skip
def test_numbers_that_would_break_a_decision_are_refused(kind: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="malformed"):
        parse(envelope(kind, GOOD[kind] | change))


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
    start = Start(**HEAD, params={"text": "x" * 128 * 1024}, input=inline, seed=1)
    task = TaskDoc(version=1, variants={f"v{n}": VariantDoc(**VARIANT) for n in range(4)})
    document = Capability(**(GOOD["capability"] | {"tasks": {f"family.task{n}": task for n in range(40)}}))
    for message in (beat, result, start, document):
        assert len(message.envelope().body) <= type(message).cap


def test_a_document_differs_when_a_rate_moves_by_more_than_five_per_cent() -> None:
    def document(**change: Any) -> Capability:
        tasks = {"a.b": TaskDoc(version=1, variants={"x": VariantDoc(**(VARIANT | change))})}
        return Capability(**(GOOD["capability"] | {"tasks": tasks}))

    assert not document(mean=0.52, count=9).differs(document())
    assert document(mean=0.53).differs(document())
    assert document(load_s=1.2).differs(document())
    assert document(quality=3).differs(document())
    assert document(fetch_bytes=9).differs(document())
    assert Capability(**(GOOD["capability"] | {"tasks": {}})).differs(document())


# -- fuzz --------------------------------------------------------------------------------------------------------------

BODIES: dict[str, type[BaseModel]] = {"job": JobRequest, "join": JoinRequest, "allow": AllowRequest}
SEEDS: dict[str, dict[str, Any]] = GOOD | {
    "job": {"task": "emotion.text", "params": {"lines": True}, "input": "YWJj", "by_s": 3, "seed": 1, "quality": "fast"},
    "join": {"code": "37-482915", "at": "127.0.0.1:1"},
    "allow": {"preset": None, "actions": ["emotion.*"], "limits": {"jobs_per_hour": 3, "hours": "8-18"}},
}  # fmt: skip


def read(kind: str, body: bytes) -> None:
    """Parse; anything but an answer or ValueError escapes."""
    try:
        if kind in BODIES:
            BODIES[kind].model_validate_json(body)
        else:
            parse(Envelope(kind, body))
    except ValueError:
        pass


def test_ten_thousand_mutations_of_good_messages_break_nothing() -> None:
    rnd = random.Random(7)
    odd = [
        b"NaN",
        b"1e999",
        b"-1",
        b"null",
        b"[" * 300,
        b"{" * 300,
        b'"\\ud800"',
        b"9" * 400,
        b"\x00",
        b"\xff\xfe",
        b'{"a":1,"a":2}',
    ]
    kinds = sorted(SEEDS)
    for n in range(10_000):
        kind = kinds[n % len(kinds)]
        body = bytearray(json.dumps(SEEDS[kind]).encode())
        for _ in range(rnd.randint(1, 4)):
            at = rnd.randrange(len(body) + 1)
            match rnd.randrange(4):
                case 0:
                    body[at : at + rnd.randint(0, 9)] = rnd.choice(odd)
                case 1:
                    del body[at:]
                case 2:
                    body[at:at] = body[: rnd.randint(0, 200)]
                case 3 if body:
                    body[rnd.randrange(len(body))] = rnd.randrange(256)
        read(kind, bytes(body))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4), max_leaves=8,
).map(lambda tree: json.dumps(tree).encode())))  # fmt: skip
def test_arbitrary_bytes_and_json_break_nothing(kind: str, body: bytes) -> None:
    read(kind, body)


@pytest.mark.parametrize("body", [b"[" * 10**6, b'{"a":' * 10**5, b'"' + b"x" * 10**6, b"9" * 10**6])
@pytest.mark.parametrize("kind", ["heartbeat", "start", "job"])
def test_deep_and_long_bodies_end_at_once(kind: str, body: bytes) -> None:
    read(kind, body)


def test_bodies_of_the_api_take_no_unknown_field() -> None:
    for kind, model in BODIES.items():
        model.model_validate(SEEDS[kind])
        with pytest.raises(ValidationError):
            model.model_validate(SEEDS[kind] | {"extra": 1})
