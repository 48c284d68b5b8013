"""Who is near: smoothed, with a threshold to enter and a lower one to leave, forgotten when silent."""

from __future__ import annotations

from moodmesh.mesh.ble.presence import ENTER_DBM, LARGEST, LEAVE_DBM, STALE_S, Presence

WHO = b"device"


def test_one_strong_advertisement_is_near_at_once_and_a_weak_one_is_not() -> None:
    assert Presence().heard(WHO, ENTER_DBM, 0) == ENTER_DBM
    assert Presence().heard(WHO, ENTER_DBM - 1, 0) is None


def test_one_weak_reading_among_strong_ones_does_not_send_away() -> None:
    presence = Presence()
    presence.heard(WHO, -60, 0)
    smoothed = presence.heard(WHO, -110, 1)
    assert smoothed is not None
    assert -110 < smoothed < -60


def test_between_the_thresholds_it_stays_as_it_was() -> None:
    between = (ENTER_DBM + LEAVE_DBM) / 2
    near, far = Presence(), Presence()
    near.heard(WHO, -60, 0)
    for now in range(1, 20):
        assert near.heard(WHO, between, now) is not None
        assert far.heard(WHO, between, now) is None


def test_who_goes_away_leaves_and_may_come_again() -> None:
    presence = Presence()
    presence.heard(WHO, -60, 0)
    assert any(presence.heard(WHO, -105, now) is None for now in range(1, 10))
    assert any(presence.heard(WHO, -60, now) is not None for now in range(10, 20))


def test_after_silence_the_old_signal_counts_for_nothing() -> None:
    presence = Presence()
    presence.heard(WHO, -40, 0)
    assert presence.heard(WHO, -97, STALE_S + 1) is None
    assert presence.heard(WHO, -40, STALE_S + 2) is not None


def test_a_flood_of_names_takes_no_more_room_and_sends_nobody_away_who_is_heard() -> None:
    presence = Presence()
    for number in range(20 * LARGEST):
        presence.heard(f"fake {number}".encode(), -30, number / 100)
        if number % 100 == 0:
            assert presence.heard(WHO, -97 if number else -60, number / 100) is not None
    assert len(presence._known) <= LARGEST
