"""Rules and quotas against a reference, kept across restarts and clocks (pairing §6, §9.5)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes import access as access_module
from moodmesh.nodes import permissions
from moodmesh.nodes.access import Access
from moodmesh.nodes.permissions import (
    ACTIONS,
    Charge,
    Conditions,
    Limits,
    denial,
    in_hours,
    known_action,
    preset,
    rule_name,
)
from moodmesh.nodes.store import Store

NOW = 1_800_000_000.0
PEER, OTHER = DeviceId("peer"), DeviceId("other")
TEXT, MUSIC = "emotion.text", "music.generate"


def reference(rules: dict[str, Limits], action: str, charges: list[Charge], job: Charge, here: Conditions) -> bool:
    """pairing §6, read once more: allowed or not."""
    fixed = action in ACTIONS
    family = action.partition(".")[0] + ".*"
    if fixed:
        rule = rules.get(action)
    else:
        if action.count(".") != 1 or action.split(".")[0] in ("own", "room", "mood", "jobs"):
            return False
        rule = rules.get(action, rules.get(family))
    if rule is None or (rule.expires is not None and rule.expires <= here.now):
        return False
    if rule.concurrent is not None and len([c for c in charges if c.running]) >= rule.concurrent:
        return False
    if rule.jobs_per_hour is not None and len([c for c in charges if here.now - c.at < 3600]) >= rule.jobs_per_hour:
        return False
    day = [c for c in charges if here.now - c.at < 86400]
    if rule.seconds_per_day is not None and sum(c.seconds for c in [*day, job]) > rule.seconds_per_day:
        return False
    if rule.bytes_per_day is not None and sum(c.bytes for c in [*day, job]) > rule.bytes_per_day:
        return False
    if rule.largest_s is not None and job.seconds > rule.largest_s:
        return False
    if rule.hours is not None:
        first, last = (int(x) for x in rule.hours.split("-"))
        hours = [h % 24 for h in range(first, last if last > first else last + 24)]
        if here.hour not in hours:
            return False
    if rule.mains_only and not here.mains:
        return False
    return not (rule.battery_floor and not here.mains and (here.battery is None or here.battery < rule.battery_floor))


limits = st.builds(
    Limits,
    concurrent=st.sampled_from([None, 1, 2]),
    jobs_per_hour=st.sampled_from([None, 0, 1, 3]),
    seconds_per_day=st.sampled_from([None, 0.0, 5.0, 20.0]),
    bytes_per_day=st.sampled_from([None, 0, 100]),
    largest_s=st.sampled_from([None, 1.0, 10.0]),
    hours=st.sampled_from([None, None, "8-18", "23-7", "0-24", "8-8"]),
    battery_floor=st.sampled_from([None, 20]),
    mains_only=st.booleans(),
    expires=st.sampled_from([None, NOW - 1, NOW, NOW + 1]),
)
names = st.sampled_from([TEXT, MUSIC, "emotion.*", "own.*", "jobs.*", *ACTIONS])
charge = st.builds(
    Charge, at=st.integers(0, 90_000).map(lambda s: NOW - s), seconds=st.sampled_from([0.0, 1.0, 5.0]),
    bytes=st.sampled_from([0, 50]), running=st.booleans(),
)  # fmt: skip
conditions = st.builds(
    Conditions, now=st.just(NOW), hour=st.integers(0, 23), battery=st.sampled_from([None, 10.0, 50.0]), mains=st.booleans()
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, limits, max_size=4), names, st.lists(charge, max_size=4), charge, conditions)
def test_a_decision_is_that_of_the_reference(
    rules: dict[str, Limits], action: str, charges: list[Charge], job: Charge, here: Conditions
) -> None:
    action = action.replace(".*", ".text")
    assert (denial(rules, action, charges, job, here) is None) == reference(rules, action, charges, job, here)


JOB, HERE = Charge(NOW, 1.0, 1, True), Conditions(NOW)


@given(st.text(max_size=40))
def test_without_a_rule_everything_is_denied(action: str) -> None:
    assert denial({}, action, [], JOB, HERE) == "permission"
    assert action in ACTIONS or denial({"emotion.*": Limits()}, action, [], JOB, HERE) == "permission" or known_action(action)


@pytest.mark.parametrize(
    "action", ["", "emotion", "emotion.text\n", "../x.y", "emotion.text.more", "own.anything", "*.*", "a.b c"]
)
def test_an_unknown_action_is_denied_even_with_a_rule_of_its_name(action: str) -> None:
    assert not known_action(action)
    assert denial({action: Limits(), "own.*": Limits()}, action, [], JOB, HERE) == "permission"


def test_no_family_reaches_a_fixed_action() -> None:
    everything = {f"{name}.*": Limits() for name in ("own", "jobs", "room", "mood", "emotion")}
    assert [action for action in ACTIONS if rule_name(everything, action)] == []


def test_presets() -> None:
    assert preset("none", [TEXT]) == {}
    assert set(preset("friend", [TEXT, MUSIC])) == {"emotion.*", "recommend.*"}
    assert all(rule.concurrent == 1 and rule.jobs_per_hour for rule in preset("friend", [TEXT]).values())
    assert set(preset("own", [TEXT, MUSIC])) == {"emotion.*", "music.*", "jobs.inspect.all", "own.device"}
    with pytest.raises(KeyError):
        preset("root", [])


@pytest.mark.parametrize("hours", ["25-3", "8", "-1-3", "8-18-20", "a-b", "99-1"])
def test_hours_that_do_not_exist_are_refused(hours: str) -> None:
    with pytest.raises(ValidationError):
        Limits(hours=hours)


@pytest.mark.parametrize(("span", "inside"), [("8-18", range(8, 18)), ("23-7", [23, *range(7)]), ("0-24", range(24))])
def test_hours_of_the_day(span: str, inside: list[int]) -> None:
    assert [h for h in range(24) if in_hours(span, h)] == sorted(inside)


# -- kept in the store -------------------------------------------------------------------------------------------------


class Home:
    """A store with two peers, and a wall clock in hand."""

    def __init__(self, path: Path) -> None:
        self.path, self.wall = path / "moodmesh.db", NOW

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Access]:
        store = Store(self.path)
        store.open()
        try:
            row = "INSERT OR IGNORE INTO peer (device, name, certificate, k_pair, half, paired) VALUES (?, ?, x'', x'', 0, 0)"
            for peer in (PEER, OTHER):
                await store.write("", lambda db, peer=peer: db.execute(row, (peer, peer)))
            access = Access(store, lambda: self.wall, lambda: Conditions(self.wall))
            await access.load()
            yield access
        finally:
            store.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def test_every_pair_of_peer_and_action_is_denied_until_allowed(home: Home) -> None:
    async with home.open() as access:
        for peer in (PEER, OTHER):
            for action in (TEXT, MUSIC, *ACTIONS):
                assert access.denial(peer, action, 1, 1) == "permission"
                assert not access.may(peer, action)
        await access.allow(PEER, {TEXT: Limits()})
        assert access.may(PEER, TEXT)
        assert not access.may(OTHER, TEXT)
        assert not access.may(PEER, MUSIC)
        assert not access.owns(PEER)


async def test_one_more_than_the_quota_is_refused_and_a_clock_set_back_refills_nothing(home: Home) -> None:
    async with home.open() as access:
        await access.allow(PEER, {TEXT: Limits(jobs_per_hour=2)})
        for n in range(2):
            assert access.denial(PEER, TEXT, 1, 1) is None
            await access.charge(PEER, TEXT, f"job-{n}", 1, 1, running=False)
        assert access.denial(PEER, TEXT, 1, 1) == "jobs_per_hour"
        home.wall = NOW - 7200
        assert access.denial(PEER, TEXT, 1, 1) == "jobs_per_hour"
    async with home.open() as access:  # across a restart as well
        assert access.denial(PEER, TEXT, 1, 1) == "jobs_per_hour"
        home.wall = NOW + 3601
        assert access.denial(PEER, TEXT, 1, 1) is None


async def test_without_the_highest_clock_a_clock_set_back_refills(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module.Access, "now", lambda self: self._wall())
    async with home.open() as access:
        await access.allow(PEER, {TEXT: Limits(expires=NOW + 10)})
        home.wall = NOW + 20
        assert not access.may(PEER, TEXT)
        home.wall = NOW
        assert access.may(PEER, TEXT)
    monkeypatch.undo()
    home.wall = NOW
    async with home.open() as access:
        home.wall = NOW + 20
        assert not access.may(PEER, TEXT)
        home.wall = NOW
        assert not access.may(PEER, TEXT)


async def test_an_attempt_counts_as_running_until_it_is_settled_and_then_with_its_true_cost(home: Home) -> None:
    async with home.open() as access:
        await access.allow(PEER, {TEXT: Limits(concurrent=1, seconds_per_day=10)})
        await access.charge(PEER, TEXT, "a", 9, 1, running=True)
        assert access.denial(PEER, TEXT, 1, 1) == "concurrent"
        await access.charge(PEER, TEXT, "a", 2, 1, running=False)
        assert access.denial(PEER, TEXT, 8, 1) is None
        assert access.denial(PEER, TEXT, 8.1, 1) == "seconds_per_day"
    async with home.open() as access:
        assert access.denial(PEER, TEXT, 8.1, 1) == "seconds_per_day"


async def test_the_tasks_of_a_family_share_the_limits_of_its_rule(home: Home) -> None:
    async with home.open() as access:
        await access.allow(PEER, {"emotion.*": Limits(jobs_per_hour=2), "emotion.voice": Limits(jobs_per_hour=1)})
        await access.charge(PEER, TEXT, "a", 1, 1, running=False)
        await access.charge(PEER, "emotion.image", "b", 1, 1, running=False)
        assert access.denial(PEER, "emotion.other", 1, 1) == "jobs_per_hour"
        assert access.denial(PEER, "emotion.voice", 1, 1) is None


async def test_rules_are_replaced_dropped_and_forgotten(home: Home) -> None:
    told: list[str] = []
    async with home.open() as access:
        access.changed = told.append
        await access.allow(PEER, preset("own", [TEXT]))
        await access.allow(PEER, preset("friend", [TEXT]), instead=True)
        assert set(access.rules(PEER)) == {"emotion.*", "recommend.*"}
        assert not access.owns(PEER)
    async with home.open() as access:
        assert set(access.rules(PEER)) == {"emotion.*", "recommend.*"}
        await access.deny(PEER)
        assert access.rules(PEER) == {}
        await access.allow(PEER, preset("own", [TEXT]))
        access.forget(PEER)
        assert not access.may(PEER, TEXT)
        assert not access.owns(PEER)
    assert told == [PEER, PEER]


async def test_a_denied_and_allowed_peer_gets_no_new_quota(home: Home) -> None:
    async with home.open() as access:
        rules = {TEXT: Limits(jobs_per_hour=1)}
        await access.allow(PEER, rules)
        await access.charge(PEER, TEXT, "a", 1, 1, running=False)
        await access.deny(PEER)
        await access.allow(PEER, rules)
        assert access.denial(PEER, TEXT, 1, 1) == "jobs_per_hour"


async def test_charges_of_yesterday_leave_memory(home: Home) -> None:
    async with home.open() as access:
        await access.allow(PEER, {TEXT: Limits(jobs_per_hour=10_000)})
        for n in range(30):
            await access.charge(PEER, TEXT, f"job-{n}", 1, 1, running=False)
        home.wall += 2 * 86400
        await access.charge(PEER, TEXT, "last", 1, 1, running=False)
        assert sum(map(len, access._charges.values())) == 1


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("rule_for", lambda rules, action: Limits()),
        ("_over", lambda limits, charges, job, here: None),
    ],
)
async def test_with_a_check_removed_the_attack_succeeds(
    home: Home, monkeypatch: pytest.MonkeyPatch, name: str, broken: object
) -> None:
    async with home.open() as access:
        await access.allow(OTHER, {MUSIC: Limits(jobs_per_hour=0)})
        attack = (PEER, TEXT) if name == "rule_for" else (OTHER, MUSIC)
        assert access.denial(*attack, 1, 1) is not None
        monkeypatch.setattr(permissions, name, broken)
        assert access.denial(*attack, 1, 1) is None


async def test_two_changes_at_once_are_both_kept(home: Home) -> None:
    async with home.open() as access:
        await asyncio.gather(access.allow(PEER, {TEXT: Limits()}), access.allow(PEER, {MUSIC: Limits()}))
        assert set(access.rules(PEER)) == {TEXT, MUSIC}
