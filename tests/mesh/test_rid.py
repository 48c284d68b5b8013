from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh.memory import ManualClock
from moodmesh.mesh.rid import Rids, match, pair_tag, seconds_to_boundary, tags
from moodmesh.mesh.tagslots import slots, spare_slots

from .support import new_identity, pair_with


async def test_rids_rotate_at_the_boundaries_of_the_wall_clock_and_the_last_one_still_holds() -> None:
    clock = ManualClock(wall=1_800_000_100.0)
    rids, told = Rids(clock), []
    first = rids.current
    rids.watch(lambda: told.append(clock.wall()))
    task = asyncio.create_task(rids.run())
    await clock.advance(499)
    assert rids.valid == (first,)
    await clock.advance(2)
    second = rids.current
    assert rids.valid == (second, first)
    clock.offset -= 86_400  # the clock is set back a day
    await clock.advance(600)
    assert len(rids.valid) == 2
    assert first not in rids.valid
    assert told == [1_800_000_600.0, 1_800_001_200.0 - 86_400]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@given(st.floats(0, 4e9))
def test_no_epoch_is_shorter_than_a_minute(wall: float) -> None:
    assert 60 <= seconds_to_boundary(wall) < 660


def test_a_pair_is_known_by_its_tag_and_by_nobody_else() -> None:
    mine, other = pair_with(new_identity(), b"a" * 32), pair_with(new_identity(), b"b" * 32)
    rid = bytes(16)
    shown = slots(tags([mine], rid), spare_slots(), 16)
    assert len(shown) == len(set(shown)) == 16
    assert match(shown, rid, [mine, other]) == [mine]
    assert match(shown, b"\x01" * 16, [mine, other]) == []
    assert len(pair_tag(mine.k_pair, rid)) == 4


@pytest.mark.parametrize("count", [1, 16, 256])
def test_more_pairs_than_slots_take_turns(count: int) -> None:
    real = [index.to_bytes(4, "big") for index in range(3 * count)]
    seen = [set(slots(real, spare_slots(), count, turn)) for turn in range(3)]
    assert set.union(*seen) == set(real)
    assert all(len(turn) == count for turn in seen)


@given(st.integers(0, 300), st.sampled_from([16, 64, 256]))
def test_two_sights_of_one_epoch_do_not_tell_the_pairs_from_the_filling(pairs: int, count: int) -> None:
    real, spare = [index.to_bytes(4, "big") for index in range(pairs)], spare_slots()
    once, again = slots(real, spare, count), slots(real[::-1], spare, count)
    assert len(set(once)) == count
    if pairs <= count:
        assert once == again
    if pairs <= 16:
        assert set(slots(real, spare, 16)) >= set(real)


def test_mutation_filling_anew_each_time_counts_the_pairs() -> None:
    real = [index.to_bytes(4, "big") for index in range(3)]
    seen = set(slots(real, spare_slots(), 16)) & set(slots(real, spare_slots(), 16))
    assert seen == set(real), "what both show is real: the attack that one filling an epoch prevents"
