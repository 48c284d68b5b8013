"""What is held back, pulled, moved and hedged, against an independent reading of routing §7, and as properties (§14.1)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.placement.hedge import FIRST, MOST, PER_JOB, Budget, hedge_after, second
from moodmesh.nodes.placement.hold import hold
from moodmesh.nodes.placement.pull import Field, Heap, Take, Waiting, gain, pull, service_s, totals
from moodmesh.nodes.placement.queue import left_s, order_key, waits
from moodmesh.nodes.placement.score import place
from moodmesh.nodes.placement.view import Device

from .test_placement import ASK, TASK, capability, device, dynamic, variant

KIND = f"{TASK}/tiny"
ME = DeviceId("me")


def machine(name: str, mean: float, *, slots: int = 1, running: float = 0.0, load_s: float = 0.0, **more: object) -> Device:
    """A device whose jobs of a unit take `mean` seconds, once its model is loaded."""
    busy = [running / slots] * slots if running else []
    state = dynamic(running=busy, free_slots=0 if busy else slots, loaded=[] if load_s else [KIND], **more)
    found = capability(slots, tiny=variant(mean=mean, load_s=load_s))
    return device(name, capability=found, dynamic=state, rtt_s=0.0, bandwidth=1e12)


def away(name: str, mean: float, absent_s: float = 1.0) -> Device:
    return replace(machine(name, mean), present=False, dynamic=None, absent_s=absent_s)


def heap(count: int = 1, since: float = 0.0, newest: float | None = None, units: float = 1.0) -> Heap:
    return Heap(KIND, count, count * units, 0, (units, since), (units, since if newest is None else newest))


def field(devices: list[Device], held: dict[str, tuple[int, float]] | None = None, units: float = 1.0) -> Field:
    return Field(KIND, units, 0, devices, held or {})


def taken(me: Device, others: list[Device], *, idle: float = 1e9, key: float | None = None, held: Heap | None = None,
          now: float = 0.0) -> Take | float | None:  # fmt: skip
    one = held or heap()
    devices = [me, *others]
    return pull(me, idle, key, {KIND: {ME: one}}, {KIND: field(devices, totals([one]), one.units / one.jobs)}, now)


# -- the order of what waits -------------------------------------------------------------------------------------------


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_short_goes_first_and_who_waits_longer_goes_sooner(a: float, b: float, waited: float, more: float) -> None:
    assert order_key(min(a, b), waited) <= order_key(max(a, b), waited)
    assert order_key(a, waited + more) <= order_key(a, waited)


@given(st.floats(0.01, 100), st.floats(0, 1000))
def test_what_is_far_too_late_is_expected_ever_later(expected: float, ran: float) -> None:
    assert left_s(expected, ran) >= max(expected - ran, 0.1 * expected)
    assert left_s(expected, ran + 10 * expected) > left_s(expected, ran) - expected
    assert left_s(expected, 100 * expected) == pytest.approx(9.6 * expected)


def test_a_minute_overtakes_fresh_short_work_within_twenty_minutes() -> None:
    assert order_key(60, 20 * 60) <= order_key(0.1, 0)
    assert order_key(3600, 40 * 60) <= order_key(0.1, 0)


@given(st.lists(st.floats(0, 100), max_size=5), st.lists(st.floats(0, 100), max_size=8), st.integers(1, 6))
def test_waits_are_the_work_ahead_per_slot(running: list[float], queued: list[float], slots: int) -> None:
    found = list(waits(running, len(running), slots, list(enumerate(queued))))
    assert [n for n, _ in found] == list(range(len(queued)))
    for n, wait in found:
        ahead = sum(running) + sum(queued[:n])
        assert wait == pytest.approx(ahead / slots if len(running) + n >= slots else 0.0)


# -- A: when the faster devices would be through -----------------------------------------------------------------------

fleets = st.lists(
    st.builds(
        machine, st.sampled_from([f"d{n}" for n in range(9)]), st.floats(0.01, 100), slots=st.integers(1, 4),
        running=st.sampled_from([0.0, 0.0, 1.0, 30.0]), queue=st.sampled_from([{}, {KIND: (2, 8.0)}, {"a/b": (1, 500.0)}]),
    ),
    max_size=7, unique_by=lambda d: d.id,
)  # fmt: skip


def reference(devices: list[Device], mine: float, count: int) -> float:
    """A, read once more from the specification, with what longer jobs there would lose."""
    backlog, drain, services, slots, longer = [], 0.0, [], 0, 0
    for d in devices:
        assert d.capability
        assert d.dynamic
        e = d.capability.tasks[TASK].variants["tiny"].mean
        if e > 0.8 * mine:
            continue
        n = d.capability.slots
        backlog.append((sum(d.dynamic.running) + sum(s for _, s in d.dynamic.queue.values())) / n)
        drain += n / (count * e) if count else 0.0
        services.append(e)
        slots += n
        longer += sum(c for c, s in d.dynamic.queue.values() if s / c > 1.05 * e)
    if not services:
        return math.inf
    return sum(backlog) / len(backlog) + (1 / drain if drain else 0.0) + min(services) * (1 + longer / slots)


@settings(max_examples=150, deadline=None)
@given(fleets, st.floats(0.01, 200), st.integers(0, 5))
def test_a_is_what_the_specification_says(devices: list[Device], mine: float, count: int) -> None:
    found = field(devices, {KIND: (count, float(count))}).ahead(mine)
    assert found == pytest.approx(reference(devices, mine, count))


@settings(max_examples=60, deadline=None)
@given(fleets, st.floats(0.01, 200))
def test_the_order_of_devices_changes_nothing_of_it(devices: list[Device], mine: float) -> None:
    one, other = field(devices), field(devices[::-1])
    assert one.ahead(mine) == pytest.approx(other.ahead(mine))
    assert one.off_place(mine) == other.off_place(mine)


# -- holding back ------------------------------------------------------------------------------------------------------


def held(devices: list[Device]) -> tuple[bool, bool]:
    placement = place(replace(ASK, units=1.0), devices)
    assert placement.chosen
    found = hold(placement.chosen, field(devices))
    return found is not None, found is not None and found.why == "parked"


@pytest.mark.parametrize("gone", [True, False])
def test_a_parked_job_names_the_fastest_device_and_says_whether_it_is_away(gone: bool) -> None:
    slow, other = machine("slow", 60.0), machine("other", 5.0)
    fast = away("fast", 2.0) if gone else machine("fast", 2.0)
    (row,) = [row for row in place(replace(ASK, units=1.0), [slow, other, fast]).rows if row.name == "slow"]
    found = hold(row, field([other, slow, fast]))
    assert found is not None
    assert (found.why, found.name, bool(found.away_s)) == ("parked", "fast", gone)
    assert row.terms is not None
    assert found.idle_s == pytest.approx(row.terms.alone / 10)


def test_a_job_is_held_for_a_much_faster_device_also_an_absent_one() -> None:
    assert held([machine("slow", 60.0), away("fast", 2.0)]) == (True, True)
    assert held([machine("slow", 60.0), away("fast", 11.0)]) == (False, False)
    assert held([machine("slow", 60.0)]) == (False, False)


def test_who_has_been_away_for_ten_times_as_long_as_the_job_takes_here_is_not_waited_for() -> None:
    assert held([machine("slow", 60.0), away("fast", 2.0, absent_s=599)]) == (True, True)
    assert held([machine("slow", 60.0), away("fast", 2.0, absent_s=601)]) == (False, False)


def test_a_job_is_held_when_busy_faster_devices_will_be_through_sooner() -> None:
    slow, fast = machine("slow", 10.0), machine("fast", 2.0, running=9.0, slots=2)
    assert held([slow, replace(fast, pending_s=60.0)]) == (True, False)
    assert held([slow, machine("fast", 2.0, running=60.0)]) == (False, False)


def test_a_device_that_cannot_run_it_now_is_no_reason_to_wait() -> None:
    full = machine("fast", 1.0, memory_free_mb=10)
    assert held([machine("slow", 60.0), full]) == (False, False)
    assert held([machine("slow", 60.0), machine("fast", 1.0, power="no")]) == (False, False)


def test_what_was_held_goes_to_a_free_device_and_into_no_queue() -> None:
    for one in (machine("one", 10.0, running=3.0), machine("one", 10.0)):
        chosen = place(replace(ASK, units=1.0), [one]).chosen
        assert chosen is not None
        assert hold(chosen, field([one])) is None, "nothing is faster, and none is away"
        found = hold(chosen, field([one]), held=True)
        assert (found and found.why) == ("unbound" if one.wait else None)


@settings(max_examples=60, deadline=None)
@given(fleets)
def test_whatever_is_held_when_it_comes_is_held_when_looked_at_again(devices: list[Device]) -> None:
    chosen = place(replace(ASK, units=1.0), devices).chosen
    if chosen is not None and hold(chosen, field(devices)) is not None:
        assert hold(chosen, field(devices), held=True) == hold(chosen, field(devices))


SIZE = 60 * 10**6


def far(name: str, mean: float, **more: float) -> Device:
    """A device that takes long to reach, or to begin."""
    return replace(machine(name, mean, load_s=more.get("load_s", 0.0)), bandwidth=more.get("bandwidth", 1e12),
                   hand=more.get("hand", 0.0))  # fmt: skip


@pytest.mark.parametrize("why", [{"load_s": 20.0}, {"bandwidth": 6e6}, {"hand": 5.0}], ids=str)
def test_who_takes_longer_altogether_is_not_faster(why: dict[str, float]) -> None:
    """Its work alone would be done sooner there: its model, its way or its messages are not free."""
    here, other = replace(machine("here", 3.0), here=True), far("other", 2.0, **why)
    ask = replace(ASK, units=1.0, input_bytes=SIZE)
    chosen = place(ask, [here, replace(other, pending_s=1.0)]).chosen
    assert chosen is not None
    assert chosen.here
    assert hold(chosen, Field(KIND, 1.0, SIZE, [here, other], {})) is None
    assert hold(chosen, Field(KIND, 1.0, SIZE, [here, machine("other", 1.0)], {})) is not None, (
        "were it all free, it would wait"
    )


@pytest.mark.parametrize("why", [{"load_s": 20.0}, {"bandwidth": 6e6}, {"hand": 5.0}], ids=str)
def test_it_takes_and_moves_nothing_that_others_will_have_done_sooner(why: dict[str, float]) -> None:
    held, waiting = heap()._replace(size=SIZE), Waiting(KIND, 1.0, SIZE, 6.0)

    def offered(me: Device) -> Take | float | None:
        return pull(
            me, 1e9, None, {KIND: {ME: held}}, {KIND: Field(KIND, 1.0, SIZE, [machine("d", 2.5)], {KIND: (1, 1.0)})}, 0.0
        )

    assert isinstance(offered(far("me", 2.0)), Take)
    assert offered(far("me", 2.0, **why)) is None
    assert gain(waiting, far("me", 2.0)) > 0 > gain(waiting, far("me", 2.0, **why))


# -- pulling -----------------------------------------------------------------------------------------------------------


def test_a_fast_device_takes_the_oldest_a_slower_one_the_newest() -> None:
    one = heap(3, since=-50.0, newest=-1.0)
    fast = machine("fast", 1.0)
    assert taken(fast, [], held=one) == Take(ME, KIND, False, pytest.approx(1.0 - 0.05 * 50))  # type: ignore[arg-type]
    slow = taken(machine("slow", 3.0), [machine("fast", 1.0, running=90.0)], held=one)
    assert isinstance(slow, Take)
    assert slow.newest


def test_a_device_leaves_it_to_faster_ones_that_are_soon_free() -> None:
    assert taken(machine("slow", 3.0), [machine("fast", 1.0)]) is None
    assert taken(machine("slow", 3.0), [machine("fast", 1.0, running=1.0)]) is None
    assert isinstance(taken(machine("slow", 3.0), [machine("fast", 1.0, running=5.0)]), Take)


def test_off_place_it_takes_only_after_a_tenth_of_the_job_idle() -> None:
    slow, fast = machine("slow", 60.0), away("fast", 2.0)
    assert taken(slow, [fast], idle=2.0) == pytest.approx(4.0)
    assert isinstance(taken(slow, [fast], idle=6.0), Take)
    assert isinstance(taken(slow, [away("fast", 2.0, absent_s=1000)], idle=0.0), Take)


def test_with_a_queue_of_its_own_only_a_fast_one_looks_and_only_for_what_comes_first() -> None:
    assert isinstance(taken(machine("fast", 1.0), [machine("slow", 9.0)], key=5.0), Take)
    assert taken(machine("fast", 1.0), [machine("slow", 9.0)], key=0.5) is None
    assert taken(machine("slow", 9.0), [machine("fast", 1.0, running=900.0)], key=500.0) is None


def test_the_smallest_key_of_all_submitters_is_taken() -> None:
    me = machine("me", 1.0)
    heaps = {KIND: {DeviceId("a"): heap(since=-10), DeviceId("b"): heap(since=-90), DeviceId("c"): heap(since=-50)}}
    found = pull(me, 0.0, None, heaps, {KIND: field([me], totals(heaps[KIND].values()))}, 0.0)
    assert isinstance(found, Take)
    assert found.submitter == "b"


@settings(max_examples=80, deadline=None)
@given(fleets.filter(bool), st.floats(0, 100), st.integers(1, 5))
def test_what_is_held_back_is_always_taken_in_the_end(devices: list[Device], idle: float, count: int) -> None:
    """Whoever is there, some device takes it once all are idle for long: nothing waits for ever."""
    idlers = [replace(d, dynamic=dynamic(free_slots=1, loaded=[KIND])) for d in devices]
    one = heap(count)
    found = [pull(me, 1e9, None, {KIND: {ME: one}}, {KIND: field(idlers, totals([one]))}, 0.0) for me in idlers]
    assert any(isinstance(take, Take) for take in found)


# -- moving and hedging ------------------------------------------------------------------------------------------------


def test_a_job_is_moved_only_when_it_gains_a_fifth_and_the_move() -> None:
    me = machine("me", 4.0)
    assert gain(Waiting(KIND, 1.0, 0, 5.0), me) == pytest.approx(0.8 * 5 - 4.02)
    assert gain(Waiting(KIND, 1.0, 0, 5.1), me) > 0
    assert gain(Waiting("other/kind", 1.0, 0, 1e9), me) == -math.inf
    far = replace(me, bandwidth=1e6, rtt_s=0.1)
    assert gain(Waiting(KIND, 1.0, 10**6, 10.0), far) == pytest.approx(8 - 4.02 - 0.2 - 1.0)


def test_a_second_attempt_waits_for_twice_the_prediction_and_a_second_more() -> None:
    assert hedge_after(0.2) == pytest.approx(1.2)
    assert hedge_after(30.0) == 60.0


def test_a_second_attempt_goes_to_an_idle_device_that_is_done_sooner_than_the_first_has_taken() -> None:
    ask = replace(ASK, units=1.0)
    idle, busy = machine("idle", 5.0), machine("busy", 1.0, running=9.0)
    found = second(ask, 6.0, [ME], [idle, busy])
    assert found is not None
    assert found.device == "idle"
    assert second(ask, 4.0, [ME], [idle, busy]) is None
    assert second(ask, 600.0, [ME], [busy]) is None
    assert second(ask, 600.0, [ME], [replace(idle, pending_s=1.0)]) is None
    spare = machine("first", 1.0, slots=2)
    found = second(ask, 600.0, [DeviceId("first")], [spare, idle])
    assert found is not None
    assert found.device == "idle", "not beside the first, whatever is wrong there"


@pytest.mark.parametrize("power", ["limited", "unknown", "no"])
def test_a_second_attempt_never_runs_on_battery(power: str) -> None:
    ask, on_battery = replace(ASK, units=1.0), machine("idle", 5.0, power=power)
    assert second(ask, 600.0, [ME], [on_battery]) is None
    found = second(ask, 600.0, [ME], [on_battery, machine("slow", 30.0)])
    assert found is not None
    assert found.device == "slow"


@given(st.lists(st.booleans(), max_size=300))
def test_second_attempts_stay_within_their_budget(steps: list[bool]) -> None:
    budget, jobs, spent = Budget(), 0, 0
    for submit in steps:
        if submit:
            budget.earn()
            jobs += 1
        else:
            spent += budget.spend()
    assert spent <= FIRST + PER_JOB * jobs + 1e-9
    assert budget._tokens <= MOST


def test_service_is_units_times_the_corrected_rate() -> None:
    assert service_s(replace(machine("d", 2.0), correction=math.log(3)), KIND, 5.0) == pytest.approx(30.0)
    assert service_s(machine("d", 2.0), "no/such", 1.0) is None
