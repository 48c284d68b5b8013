from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.mesh import welcome
from moodmesh.mesh.errors import BadMessage, Incompatible
from moodmesh.mesh.frames import CHUNK, DEFAULT_CAP, Caps, Frame, decode, encode
from moodmesh.mesh.seams import Envelope
from moodmesh.mesh.welcome import Welcome, common_version
from moodmesh.nodes.bench.fuzz import mutants

KIND = st.from_regex(r"[a-z][a-z_]{0,31}", fullmatch=True).filter(lambda kind: kind != CHUNK)
OBJECT = st.dictionaries(st.text().filter(lambda key: key != "kind"), st.none() | st.integers() | st.text(), max_size=5)
GOOD = {"versions": [1], "features": ["x"], "rid": "0" * 32, "port": 1, "instance": "0" * 16}


@settings(max_examples=50)
@given(KIND, OBJECT)
def test_text_round_trips_and_is_json_with_the_kind_in_front(kind: str, content: dict[str, object]) -> None:
    envelope = Envelope(kind, json.dumps(content).encode())
    frame = encode(envelope, Caps())
    assert json.loads(frame.data) == {"kind": kind, **content}
    assert frame.data.startswith(b'{"kind":"')
    assert json.loads(decode(frame, Caps()).body) == content


def test_chunks_are_binary() -> None:
    assert encode(Envelope(CHUNK, b"\xff"), Caps()) == Frame(True, b"\xff")
    assert decode(Frame(True, b"\xff"), Caps()) == Envelope(CHUNK, b"\xff")
    with pytest.raises(BadMessage):
        decode(Frame(False, b'{"kind":"chunk","a":1}'), Caps())


@pytest.mark.parametrize("size", [DEFAULT_CAP, DEFAULT_CAP + 1])
def test_the_cap_of_a_kind_is_exact_and_comes_before_the_json(size: int) -> None:
    data = b'{"kind":"reserve",'.ljust(size, b"[")  # no JSON: nobody may look
    if size <= DEFAULT_CAP:
        assert decode(Frame(False, data), Caps()).kind == "reserve"
    else:
        with pytest.raises(BadMessage, match="16385 bytes; 16384 are allowed"):
            decode(Frame(False, data), Caps())
    assert decode(Frame(False, data), Caps({"reserve": size})).kind == "reserve"


def test_a_message_too_large_to_send_is_refused_here() -> None:
    with pytest.raises(BadMessage):
        encode(Envelope("log", b'{"line":"' + b"x" * DEFAULT_CAP + b'"}'), Caps())
    with pytest.raises(BadMessage):
        encode(Envelope("log", b"[]"), Caps())


def test_any_frame_is_an_envelope_or_a_bad_message() -> None:
    samples = [b'{"kind":"welcome",' + json.dumps(GOOD).encode()[1:], b'{"kind":"a","ext":{"b":[1]}}', bytes(40)]
    taken = 0
    for data in mutants(samples, 10_000):
        for binary in (False, True):
            with contextlib.suppress(BadMessage):
                envelope = decode(Frame(binary, data), Caps())
                assert envelope.kind == CHUNK or envelope.body.startswith(b"{")
                welcome.parse(envelope)
                taken += 1
    assert 0 < taken < 5_000, "some edits are harmless, most are not"


def test_deep_nesting_is_refused_without_recursion() -> None:
    body = b'{"ext":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    with pytest.raises(BadMessage):
        welcome.parse(Envelope("welcome", body))


def test_welcome_round_trips() -> None:
    said = Welcome.model_validate_json(json.dumps({**GOOD, "ext": {"later": [1]}}))
    assert welcome.parse(said.envelope()) == said
    assert "ext" not in json.loads(Welcome.model_validate_json(json.dumps(GOOD)).envelope().body)


@pytest.mark.parametrize(
    "change",
    [
        {"versions": []},
        {"versions": ["1"]},
        {"versions": [True]},
        {"versions": [0]},
        {"rid": "0" * 31},
        {"rid": "G" * 32},
        {"port": 65536},
        {"port": "1"},
        {"features": ["Upper"]},
        {"features": ["x"] * 65},
        {"instance": ""},
        {"more": 1},
        {"ext": []},
    ],
)
def test_a_welcome_outside_its_model_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadMessage):
        welcome.parse(Envelope("welcome", json.dumps({**GOOD, **change}).encode()))


def test_the_highest_common_major_holds_and_without_one_the_older_side_is_named() -> None:
    assert common_version((1, 2, 3), (2, 3, 4)) == 3
    with pytest.raises(Incompatible, match="upgrade moodmesh here") as ours:
        common_version((1,), (2, 3))
    with pytest.raises(Incompatible, match="upgrade moodmesh there") as theirs:
        common_version((2, 3), (1,))
    assert (ours.value.older, theirs.value.older) == ("us", "peer")
