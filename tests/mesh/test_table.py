"""The table of sightings: pure, bounded, fresh (mesh-lessons §4)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.mesh.discovery.table import LARGEST, Table
from moodmesh.mesh.seams import Sighting

RADIOS = {"hello": 10.0, "mdns": 660.0}


def sighting(
    rid: int = 0, radio: str = "hello", host: str = "192.0.2.1", at: float = 0, ttl: float = -1, **more: int
) -> Sighting:
    life = RADIOS[radio] if ttl < 0 else ttl
    return Sighting(radio, rid.to_bytes(16, "big"), host, 4000, frozenset({rid.to_bytes(4, "big")}), at, life, **more)


def test_one_device_by_two_radios_is_one_row() -> None:
    table = Table()
    table.put(sighting(at=1), 1)
    table.put(sighting(radio="mdns", at=2), 2)
    table.put(sighting(radio="mdns", host="192.0.2.9", at=0), 2)
    (seen,) = table.now(3)
    assert set(seen.radios) == {"hello", "mdns"}
    assert set(seen.addresses) == {("192.0.2.1", 4000), ("192.0.2.9", 4000)}
    assert seen.age_s == 1


def test_the_freshest_comes_first_and_says_whether_a_window_is_open() -> None:
    table = Table()
    table.put(sighting(1, at=0, nameplate=7, window_port=5), 0)
    table.put(sighting(2, at=3), 3)
    fresh, older = table.now(4)
    assert (fresh.rid[-1], older.rid[-1]) == (2, 1)
    assert (older.nameplate, older.windows) == (7, (("192.0.2.1", 5),))


def test_a_hello_that_fell_silent_takes_the_lingering_mdns_record_with_it() -> None:
    table = Table()
    table.put(sighting(at=0), 0)
    table.put(sighting(radio="mdns", at=0), 0)
    assert len(table.now(10)[0].radios) == 2
    assert table.now(10.1) == []


def test_but_not_while_it_is_heard_by_another_address() -> None:
    table = Table()
    table.put(sighting(at=0), 0)
    table.put(sighting(host="192.0.2.2", at=5), 5)
    table.put(sighting(radio="mdns", at=5), 5)
    assert set(table.now(12)[0].radios) == {"hello", "mdns"}


def test_a_goodbye_hides_the_record_of_the_same_address() -> None:
    table = Table()
    for radio in RADIOS:
        table.put(sighting(radio=radio), 0)
    table.put(sighting(ttl=0, host="192.0.2.66"), 1)
    assert len(table.now(1)) == 1
    table.put(sighting(ttl=0), 1)
    assert table.now(1) == []


def test_a_flood_neither_grows_the_table_nor_hides_who_is_there() -> None:
    table = Table()
    table.put(sighting(0), 0)
    for rid in range(1, 5_000):
        table.put(sighting(rid, host=f"192.0.2.{rid % 250}"), 0)
    assert len(table.now(0)) == LARGEST
    assert bytes(16) in {seen.rid for seen in table.now(0)}
    table.put(sighting(9_999, at=20), 20)
    assert [seen.rid for seen in table.now(20)] == [(9_999).to_bytes(16, "big")], "what is stale makes room"


steps = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(sorted(RADIOS)), st.sampled_from(["a", "b"]), st.booleans(), st.floats(0, 8)),
    max_size=60,
)


@settings(deadline=None)
@given(steps)
def test_it_agrees_with_a_list_of_all_that_was_said(said: list[tuple[int, str, str, bool, float]]) -> None:
    """Every row has a sighting that is fresh and was not taken back; and a fresh hello is always listed."""
    table, now = Table(), 0.0
    last: dict[tuple[int, str, str], tuple[float, bool]] = {}
    for rid, radio, host, leaves, later in said:
        now += later
        table.put(sighting(rid, radio, host, now, 0 if leaves else -1), now)
        last[rid, radio, host] = (now, leaves)
        fresh = {key for key, (at, left) in last.items() if not left and now - at <= RADIOS[key[1]]}
        listed = {int.from_bytes(seen.rid, "big"): seen for seen in table.now(now)}
        for number, seen in listed.items():
            assert {(number, r) for r in seen.radios} <= {(k[0], k[1]) for k in fresh}
            assert 0 <= seen.age_s <= RADIOS["mdns"]
        assert {key[0] for key in fresh if key[1] == "hello"} <= set(listed)


def in_the_air(number: int, signal: float) -> Sighting:
    return Sighting("ble", number.to_bytes(3, "big"), f"ble/{number}", 1, frozenset(), 0.0, 25.0, signal=signal)


def test_a_flood_by_radio_hides_nobody_who_is_nearer() -> None:
    table, nearest = Table(), (9_999).to_bytes(3, "big")
    table.put(sighting(), 0)
    for number in range(2 * LARGEST):
        table.put(in_the_air(number, -90.0 + number % 20), 0.0)
    assert not table.put(in_the_air(9_998, -95.0), 0.0), "whoever is farther than all waits"
    assert table.put(in_the_air(9_999, -50.0), 0.0)
    for number in range(2 * LARGEST, 4 * LARGEST):
        table.put(in_the_air(number, -60.0), 0.0)
    kept = {seen.rid: seen.signal for seen in table.now(0.0)}
    assert len(kept) == LARGEST + 1, "no more of them, and who is on the network stays"
    assert kept[nearest] == -50.0
    assert set(kept.values()) == {None, -50.0, -60.0}, "the nearest are kept"


def test_what_was_not_there_or_was_stale_is_new() -> None:
    table = Table()
    assert table.put(sighting(at=0), 0)
    assert not table.put(sighting(at=10), 10)
    assert table.put(sighting(at=20.1), 20.1), "nobody looked meanwhile"
    assert not table.put(sighting(at=21, ttl=0), 21)
    assert table.put(sighting(at=22), 22)
    for rid in range(1, 2 * LARGEST):
        assert table.put(sighting(rid, at=22), 22) == (rid < LARGEST), "what is not kept is not new each time it is heard"


def test_a_flood_by_one_radio_hides_nobody_on_another() -> None:
    table = Table()
    for number in range(2 * LARGEST):
        table.put(in_the_air(number, -60.0), 0.0)
    table.put(Sighting("hello", b"r" * 16, "10.0.0.7", 4000, frozenset(), 0.0, 10.0), 0.0)
    assert any(seen.rid == b"r" * 16 for seen in table.now(0.0))
