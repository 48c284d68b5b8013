"""What one advertisement says: sizes, bits, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh.ble.payload import COUNTER, ID_BYTES, LONG, SHORT, Payload, decode

FLAGS, DATA_HEAD, LEGACY = 3, 2, 31
PAYLOADS = st.builds(
    Payload,
    st.sampled_from(sorted(ID_BYTES.values())).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    st.tuples(*[st.binary(min_size=3, max_size=3)] * 2),
    st.none() | st.integers(0, 99),
    st.booleans(),
    st.integers(0, 1000),
)


def test_each_form_fits_a_legacy_advertisement() -> None:
    for size, uuid in ((SHORT, 16), (LONG, 2)):
        data = Payload(bytes(ID_BYTES[size]), (b"abc", b"def")).encode()
        assert len(data) == size
        assert FLAGS + DATA_HEAD + uuid + len(data) <= LEGACY


@given(PAYLOADS)
def test_what_is_shown_is_what_is_read(shown: Payload) -> None:
    read = decode(shown.encode())
    assert read is not None
    assert (read.rid, read.nameplate, read.room, read.slots[0]) == (shown.rid, shown.nameplate, shown.room, shown.slots[0])
    assert read.counter == shown.counter % COUNTER
    assert read.slots[1][1:] == shown.slots[1][1:]
    assert read.slots[1][0] == (shown.slots[1][0] if shown.nameplate is None else shown.nameplate)


@given(st.binary(max_size=40))
def test_whatever_is_taken_has_one_form(data: bytes) -> None:
    read = decode(data)
    assert read is None or read.encode() == data


@pytest.mark.parametrize("size", [0, 1, SHORT - 1, SHORT + 1, LONG - 1, LONG + 1, 31])
def test_other_sizes_are_nobody(size: int) -> None:
    assert decode(b"\x40" * size) is None


def test_other_versions_and_plates_beyond_99_are_nobody() -> None:
    good = Payload(b"rid", (b"abc", b"def"), nameplate=99).encode()
    assert decode(good) is not None
    assert decode(bytes((good[0] ^ 0xC0,)) + good[1:]) is None
    assert decode(good[:-3] + bytes((100,)) + good[-2:]) is None
