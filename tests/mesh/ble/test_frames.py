"""Frames: one form each, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh.ble.frames import DATA_HEAD, LARGEST, NONCE, SMALLEST, Framed, Greeting, Kind, credit, decode

NONCES, MOST, BYTE = st.binary(min_size=NONCE, max_size=NONCE), st.integers(SMALLEST, LARGEST), st.integers(0, 255)
GREETINGS = st.builds(Greeting, st.sampled_from([Kind.HELLO, Kind.WELCOME]), NONCES, MOST) | st.builds(
    Greeting, st.just(Kind.BUSY), NONCES
)
FRAMES = st.one_of(
    st.builds(Framed, st.just(Kind.OPEN), BYTE, BYTE, st.binary(min_size=1, max_size=1)),
    st.builds(Framed, st.just(Kind.DATA), BYTE, BYTE, st.binary(min_size=1, max_size=LARGEST - DATA_HEAD)),
    st.builds(Framed, st.just(Kind.CREDIT), BYTE, BYTE, st.integers(0, 65535).map(credit)),
    st.builds(Framed, st.just(Kind.CLOSE), BYTE, BYTE),
)


@given(GREETINGS | FRAMES)
def test_what_is_sent_is_what_is_read(frame: Greeting | Framed) -> None:
    assert len(frame.encode()) <= LARGEST
    assert decode(frame.encode()) == frame


@given(st.binary(max_size=LARGEST + 20))
def test_whatever_is_taken_has_one_form(data: bytes) -> None:
    frame = decode(data)
    assert frame is None or frame.encode() == data


@given(GREETINGS | FRAMES, st.data())
def test_a_frame_cut_short_is_none(frame: Greeting | Framed, data: st.DataObject) -> None:
    encoded = frame.encode()
    assert decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))]) is None


def test_the_smallest_radio_has_room_for_a_greeting() -> None:
    assert len(Greeting(Kind.HELLO, bytes(NONCE), LARGEST).encode()) <= SMALLEST


@pytest.mark.parametrize("most", [0, SMALLEST - 1, LARGEST + 1, 65535])
@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.WELCOME])
def test_a_frame_size_that_no_radio_has_is_refused(kind: Kind, most: int) -> None:
    assert decode(Greeting(kind, bytes(NONCE), most).encode()) is None


def test_another_version_is_not_greeted() -> None:
    hello = bytearray(Greeting(Kind.HELLO, bytes(NONCE), LARGEST).encode())
    hello[1] += 1
    assert decode(bytes(hello)) is None
