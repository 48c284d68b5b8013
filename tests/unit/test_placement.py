"""Placement against an independent reference, and as properties (routing §4, §6, §14.1, §14.5, §14.9, §14.10)."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.messages import Capability, Dynamic, TaskDoc, VariantDoc
from moodmesh.nodes.placement import gates
from moodmesh.nodes.placement.explain import COLUMNS, summary, table, why
from moodmesh.nodes.placement.score import Placement, place
from moodmesh.nodes.placement.view import Ask, Device
from moodmesh.nodes.rates import correct

TASK = "emotion.text"
ASK = Ask("j" * 32, TASK, 1, units=100.0, input_bytes=10_000, result_bytes=1000)


def variant(quality: int = 1, mean: float = 0.01, **more: object) -> VariantDoc:
    known = {"memory_mb": 100, "log_mean": math.log(mean), "log_var": 0.25, "count": 3, "guess": False, "load_s": 0.5}
    return VariantDoc(quality=quality, mean=mean, **(known | more))  # type: ignore[arg-type]


def dynamic(**more: object) -> Dynamic:
    known = {
        "revision": 1, "valid_s": 10.0, "free_slots": 1, "running": [], "queue": {}, "power": "ok", "quiet": False,
        "memory_free_mb": 8000, "disk_free_mb": 50_000, "loaded": [],
    }  # fmt: skip
    return Dynamic(**(known | more))  # type: ignore[arg-type]


def capability(slots: int = 1, own: bool = True, version: int = 1, **variants: VariantDoc) -> Capability:
    tasks = {TASK: TaskDoc(version=version, variants=variants or {"tiny": variant()})}
    return Capability(revision=1, engine="process", slots=slots, own=own, cores=4, gpus=[], tasks=tasks)


def device(name: str, **more: object) -> Device:
    known: dict[str, object] = {"capability": capability(), "dynamic": dynamic(), "own": True}
    return Device(DeviceId(name), name, **(known | more))  # type: ignore[arg-type]


# -- the reference: routing §4 and §6 read once more, and written down without a look at the code ----------------------


def reference(ask: Ask, devices: list[Device]) -> dict[tuple[str, str], tuple[float, float]]:
    """S(j, d) for every (device, variant) that passes the gates, and what longer jobs there lose by it."""
    found = {}
    for d in devices:
        if ask.on and ask.on != d.id:
            continue
        if not d.present or d.suspect or d.backoff or d.full or d.id in ask.failed_on or d.id in ask.refused_by:
            continue
        if (ask.personal and not d.own) or d.capability is None or d.dynamic is None or ask.task not in d.capability.tasks:
            continue
        if d.capability.tasks[ask.task].version != ask.version:
            continue
        for name, v in d.capability.tasks[ask.task].variants.items():
            worth = math.exp(d.correction)
            e = ask.units * v.mean * worth
            limited = d.dynamic.power in ("limited", "unknown")
            if (ask.variant and ask.variant != name) or d.dynamic.power == "no" or (limited and e > 10):
                continue
            if not d.here and (d.dynamic.quiet or (limited and not d.capability.own)):
                continue
            if v.memory_mb * 1.1 > d.dynamic.memory_free_mb:
                continue
            if (ask.input_bytes + ask.result_bytes) / 1e6 + 1024 > d.dynamic.disk_free_mb:
                continue
            q = 0.0
            if not (d.dynamic.free_slots > 0 and d.pending_s == 0):
                q = sum(d.dynamic.running) + d.pending_s
                for count, seconds in d.dynamic.queue.values():
                    if count and seconds / count <= 1.05 * ask.units * v.mean:
                        q += seconds
                q *= worth / max(1, d.capability.slots)
            q += d.rtt_s if d.stale else 0.0
            if not v.within_reach:
                continue
            cold = v.load_s + v.fetch_bytes / d.bandwidth + d.dynamic.start_s
            load = 0.0 if f"{ask.task}/{name}" in d.dynamic.loaded else cold
            there = 0.0 if d.here else d.rtt_s + ask.input_bytes / d.bandwidth
            back = 0.0 if d.here else d.rtt_s + ask.result_bytes / d.bandwidth
            claim = 1.05 * ask.units * v.mean
            longer = sum(count for count, seconds in d.dynamic.queue.values() if count and seconds / count > claim)
            displaced = longer * e / max(1, d.capability.slots)
            found[d.id, name] = max(there, q) + load + e + back, displaced
    return found


small = st.floats(0, 100, allow_nan=False)
docs = st.builds(
    variant,
    quality=st.integers(1, 3),
    mean=st.floats(1e-4, 1.0),
    guess=st.booleans(),
    load_s=st.floats(0, 10),
    memory_mb=st.sampled_from([10, 100, 9000]),
    fetch_bytes=st.sampled_from([0, 10**7]),
    within_reach=st.sampled_from([True, True, True, False]),
)
states = st.builds(
    dynamic,
    free_slots=st.integers(0, 2),
    running=st.lists(small, max_size=3),
    queue=st.dictionaries(st.sampled_from(["a/x", "b/y", ""]), st.tuples(st.integers(0, 4), small), max_size=3),
    power=st.sampled_from(["ok", "ok", "ok", "limited", "no", "unknown"]),
    quiet=st.sampled_from([False, False, True]),
    memory_free_mb=st.sampled_from([50, 8000]),
    disk_free_mb=st.sampled_from([900, 50_000]),
    loaded=st.sampled_from([[], [f"{TASK}/tiny"], [f"{TASK}/base"]]),
    start_s=st.sampled_from([0.0, 0.0, 5.0]),
)
capabilities = st.builds(
    lambda slots, own, version, variants: capability(slots, own, version, **variants),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([1, 1, 1, 2]),
    st.dictionaries(st.sampled_from(["tiny", "base"]), docs, min_size=1),
)
seldom = st.sampled_from([False, False, False, True])
devices_of = st.lists(
    st.builds(
        device,
        st.sampled_from([f"device-{i}" for i in range(8)]),
        present=st.sampled_from([True, True, True, False]),
        suspect=seldom,
        backoff=seldom,
        full=seldom,
        own=st.booleans(),
        here=seldom,
        stale=st.booleans(),
        capability=st.one_of(st.none(), capabilities, capabilities, capabilities),
        dynamic=st.one_of(st.none(), states, states, states),
        rtt_s=st.floats(0, 1),
        bandwidth=st.floats(1e3, 1e8),
        correction=st.floats(-0.69, 1.38),
        pending_s=st.sampled_from([0.0, 0.0, 3.0]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda d: d.id,
)
asks = st.builds(
    Ask,
    job=st.sampled_from(["a" * 32, "b" * 32]),
    task=st.just(TASK),
    version=st.just(1),
    units=st.floats(1, 1e4),
    input_bytes=st.integers(0, 10**7),
    result_bytes=st.integers(0, 10**6),
    personal=st.booleans(),
    variant=st.sampled_from([None, None, "tiny"]),
    on=st.sampled_from([None, None, DeviceId("device-1")]),
    quality=st.sampled_from(["best", "fast"]),
    by_s=st.one_of(st.none(), st.floats(0.1, 1000)),
)


def scores(placement: Placement) -> dict[tuple[str, str], float]:
    return {(r.device, r.variant or ""): r.terms.total for r in placement.rows if r.terms is not None}


@settings(max_examples=80, deadline=None)
@given(asks, devices_of)
def test_every_open_candidate_has_the_score_of_the_reference(ask: Ask, devices: list[Device]) -> None:
    expected = reference(ask, devices)
    found = place(ask, devices)
    assert scores(found).keys() == expected.keys()
    for row in found.rows:
        if row.terms is not None:
            said = row.terms.total, row.terms.displaced
            assert said == pytest.approx(expected[row.device, row.variant or ""], rel=1e-9, abs=1e-9)
    assert (found.chosen is None) == (not expected)


@settings(max_examples=40, deadline=None)
@given(asks, devices_of)
def test_the_chosen_one_has_the_best_quality_and_within_it_the_smallest_score(ask: Ask, devices: list[Device]) -> None:
    found = place(replace(ask, by_s=None), devices)
    if found.chosen is None or found.chosen.terms is None:
        return
    rivals = [r for r in found.rows if r.terms and (ask.quality == "fast" or r.quality == found.chosen.quality)]
    assert ask.quality == "fast" or all(r.quality <= found.chosen.quality for r in found.rows if r.terms)
    best = min(r.terms.cost for r in rivals if r.terms)
    assert found.chosen.terms.cost <= best * 1.02 + 1e-12


@settings(max_examples=40, deadline=None)
@given(asks, devices_of, st.randoms())
def test_the_order_of_candidates_changes_nothing(ask: Ask, devices: list[Device], random: object) -> None:
    mixed = list(devices)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert summary(place(ask, mixed)) == summary(place(ask, devices))


@settings(max_examples=40, deadline=None)
@given(asks, devices_of, capabilities, states)
def test_another_device_never_makes_the_smallest_score_larger(
    ask: Ask, devices: list[Device], more: Capability, state: Dynamic
) -> None:
    before = scores(place(ask, devices))
    after = scores(place(ask, [*devices, device("newcomer", capability=more, dynamic=state)]))
    assert min(after.values(), default=math.inf) <= min(before.values(), default=math.inf)


@settings(max_examples=40, deadline=None)
@given(asks, devices_of)
def test_a_freed_slot_never_makes_the_smallest_score_larger(ask: Ask, devices: list[Device]) -> None:
    before = min(scores(place(ask, devices)).values(), default=math.inf)
    for i, d in enumerate(devices):
        if d.dynamic is not None:
            free = d.dynamic.model_copy(update={"free_slots": d.dynamic.free_slots + 1, "running": d.dynamic.running[1:]})
            freed = [*devices[:i], replace(d, dynamic=free), *devices[i + 1 :]]
            assert min(scores(place(ask, freed)).values(), default=math.inf) <= before + 1e-9


@settings(max_examples=40, deadline=None)
@given(asks, devices_of)
def test_explain_names_every_device_with_a_sum_that_is_right_or_a_gate(ask: Ask, devices: list[Device]) -> None:
    shown = json.loads(json.dumps(summary(place(ask, devices))))
    assert {row["device"] for row in shown["rows"]} == {d.id for d in devices}
    for row in shown["rows"]:
        assert row["gate"] or row["total"] == pytest.approx(
            max(row["transfer"], row["queue"]) + row["load"] + row["service"] + row["back"] + row["hand"], abs=1e-9
        )
        if row["gate"]:
            assert row["gate"]["name"]
            assert row["gate"]["detail"]
    assert sum(row["chosen"] for row in shown["rows"]) == (shown["chosen"] is not None)
    assert len(table(shown)) == 1 + len(shown["rows"])
    assert all(column in table(shown)[0] for column in COLUMNS)


CLOSED = {
    "on": (ASK, device("x"), {"on": DeviceId("y")}),
    "absent": (ASK, device("x", present=False, absent_s=30.0), {}),
    "suspect": (ASK, device("x", suspect=True), {}),
    "backoff": (ASK, device("x", backoff=True), {}),
    "full": (ASK, device("x", full=True), {}),
    "failed": (ASK, device("x"), {"failed_on": frozenset({DeviceId("x")})}),
    "personal": (ASK, device("x", own=False), {"personal": True}),
    "permission": (ASK, device("x"), {"task": "music.generate"}),
    "version": (ASK, device("x"), {"version": 2}),
    "variant": (ASK, device("x"), {"variant": "base"}),
    "model": (ASK, device("x", capability=capability(tiny=variant(within_reach=False))), {}),
    "power": (ASK, device("x", dynamic=dynamic(power="no")), {}),
    "hours": (ASK, device("x", dynamic=dynamic(quiet=True)), {}),
    "memory": (ASK, device("x", dynamic=dynamic(memory_free_mb=109)), {}),
    "memory, of what travels": (ASK, device("x"), {"input_bytes": 7 * 10**9, "result_bytes": 10**9}),
    "disk": (ASK, device("x", dynamic=dynamic(disk_free_mb=1024)), {}),
    "documents": (ASK, device("x", dynamic=None), {}),
}


@pytest.mark.parametrize("name", CLOSED)
def test_each_gate_bars_alone_and_names_itself(name: str) -> None:
    ask, barred, change = CLOSED[name]
    found = place(replace(ask, **change), [barred])
    assert found.chosen is None
    assert [row.gate.name for row in found.rows if row.gate] == [name.split(",")[0]]
    assert place(ASK, [device("x")]).chosen is not None  # and open, it lets the same job through


def test_who_left_a_moment_ago_is_not_called_silent_for_no_time() -> None:
    ann = device("ann", present=False, absent_s=0.2)
    told = [row.gate for row in place(ASK, [ann, replace(ann, absent_s=3.0)]).rows]
    assert [gate.detail for gate in told if gate] == ["gone just now", "not heard for 3 s"]


def test_a_job_refused_again_and_again_leaves_that_device_alone_for_a_while() -> None:
    found = place(replace(ASK, refused_by={DeviceId("x"): "quota"}), [device("x"), device("y")])
    assert found.chosen is not None
    assert found.chosen.device == "y"


@pytest.mark.parametrize(
    ("state", "ask", "open_"),
    [
        ({"power": "limited"}, {"units": 999.0}, True),
        ({"power": "limited"}, {"units": 1001.0}, False),
        ({"power": "unknown"}, {"units": 1001.0}, False),
        ({"memory_free_mb": 111}, {}, True),
    ],
)
def test_limited_power_takes_short_jobs_only_and_unknown_counts_as_limited(state: dict, ask: dict, open_: bool) -> None:
    assert (place(replace(ASK, **ask), [device("x", dynamic=dynamic(**state))]).chosen is not None) == open_


def test_limited_power_takes_jobs_of_own_devices_only() -> None:
    stranger = device("x", dynamic=dynamic(power="limited"), capability=capability(own=False))
    assert place(ASK, [stranger]).chosen is None
    assert place(ASK, [replace(stranger, here=True)]).chosen is not None


# -- ties, variants, deadlines -----------------------------------------------------------------------------------------


def rate(mean: float, **more: object) -> Capability:
    return capability(tiny=variant(mean=mean, load_s=0.0, **more))


def test_within_two_per_cent_the_submitter_itself_wins_and_beyond_it_does_not() -> None:
    def winner(mean: float) -> str:
        slower_here = device("here", here=True, capability=rate(mean))
        found = place(ASK, [device("peer", rtt_s=0.0, bandwidth=1e12, capability=rate(0.01)), slower_here])
        assert found.chosen is not None
        return found.chosen.device

    assert winner(0.01019) == "here"
    assert winner(0.01021) == "peer"


def test_a_guess_loses_a_tie_against_a_measured_rate() -> None:
    guess = device("a", capability=rate(0.01, guess=True))
    for measured in (device("b", capability=rate(0.0101)), device("c", capability=rate(0.01))):
        found = place(ASK, [guess, measured])
        assert found.chosen is not None
        assert found.chosen.device == measured.id


def test_equal_devices_share_many_jobs() -> None:
    twins = [device(name) for name in ("a", "b", "c", "d")]
    winners = [place(replace(ASK, job=f"{n:032x}"), twins).chosen for n in range(200)]
    counts = [sum(w is not None and w.device == d.id for w in winners) for d in twins]
    assert min(counts) > 25


BOTH = capability(tiny=variant(1, 0.001, load_s=0.0), base=variant(2, 0.05, load_s=0.0))
TINY = capability(tiny=variant(1, 0.0001, load_s=0.0))


def chosen(ask: Ask, *devices: Device) -> tuple[str, str | None] | None:
    found = place(ask, devices).chosen
    return None if found is None else (found.device, found.variant)


def test_no_job_is_answered_by_tiny_while_something_better_is_present() -> None:
    slow, fast = device("slow", capability=BOTH), device("fast", capability=TINY)
    assert chosen(ASK, slow, fast) == ("slow", "base")
    assert chosen(replace(ASK, quality="fast"), slow, fast) == ("fast", "tiny")
    assert chosen(replace(ASK, variant="tiny"), slow, fast) == ("fast", "tiny")
    assert chosen(ASK, fast) == ("fast", "tiny")
    beaten = [row for row in place(ASK, [slow, fast]).rows if row.variant == "tiny"]
    assert {row.gate.name for row in beaten if row.gate} == {"quality"}


def test_a_deadline_takes_the_best_quality_that_is_in_time_else_the_fastest() -> None:
    slow, fast = device("slow", capability=BOTH), device("fast", capability=TINY)
    p90 = 100 * 0.05 * math.exp(1.2816 * 0.5)
    assert chosen(replace(ASK, by_s=p90 * 1.05), slow, fast) == ("slow", "base")
    assert chosen(replace(ASK, by_s=p90 * 0.95), slow, fast) == ("fast", "tiny")
    assert chosen(replace(ASK, by_s=1e-6), slow, fast) == ("fast", "tiny")


# -- personal input ----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(asks, devices_of)
def test_personal_input_is_never_placed_on_a_device_that_is_not_the_owners(ask: Ask, devices: list[Device]) -> None:
    found = place(replace(ask, personal=True), devices).chosen
    assert found is None or next(d for d in devices if d.id == found.device).own


def test_with_that_gate_removed_personal_input_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = device("stranger", own=False)
    assert place(replace(ASK, personal=True), [stranger]).chosen is None
    real = gates.device_gate
    monkeypatch.setattr("moodmesh.nodes.placement.score.device_gate", lambda ask, d: real(replace(ask, personal=False), d))
    assert place(replace(ASK, personal=True), [stranger]).chosen is not None


@pytest.mark.parametrize("truth", [0.7, 1.3, 3.0])
def test_a_peer_whose_claims_are_wrong_is_predicted_right_after_some_jobs(truth: float) -> None:
    ask, wrong = replace(ASK, units=10.0), device("wrong", capability=rate(0.5))
    for _ in range(40):
        row = place(ask, [wrong]).rows[0]
        assert row.terms
        wrong = replace(wrong, correction=correct(wrong.correction, truth * 5.0, row.terms.claim))
    row = place(ask, [wrong]).rows[0]
    assert row.terms
    assert row.terms.service == pytest.approx(truth * 5.0, rel=0.01)


@pytest.mark.parametrize("correction", [-0.4, 0.0, 0.7])
def test_a_job_like_this_in_the_queue_is_before_it_whatever_claims_are_worth(correction: float) -> None:
    like, worth = ASK.units * 0.01, math.exp(correction)
    busy = device(
        "d", dynamic=dynamic(free_slots=0, running=[2.0], queue={f"{TASK}/tiny": (1, like * 1.02)}), correction=correction
    )
    (row,) = place(ASK, [busy]).rows
    assert row.terms
    assert row.terms.queue == pytest.approx((2.0 + like * 1.02) * worth)
    assert row.terms.displaced == 0
    longer = replace(busy, dynamic=dynamic(free_slots=0, running=[2.0], queue={f"{TASK}/tiny": (1, like * 1.2)}))
    (row,) = place(ASK, [longer]).rows
    assert row.terms
    assert row.terms.queue == pytest.approx(2.0 * worth)
    assert row.terms.displaced == pytest.approx(like * worth)


def test_two_hundred_candidates_are_scored_once_each() -> None:
    many = [device(f"d{n:03}", capability=rate(0.01 + n * 1e-4)) for n in range(200)]
    found = place(ASK, many)
    assert found.chosen is not None
    assert found.chosen.device in {f"d{n:03}" for n in range(3)}
    assert len(found.rows) == 200


def test_why_names_devices_and_says_what_left_no_choice() -> None:
    """It may be read on another device, so this one has a name, too."""
    here, den = device("ann", here=True), device("den", dynamic=dynamic(free_slots=0, running=[9.0]))
    assert why(place(ASK, [here, den])).startswith("ann returns the result of tiny soonest: ")
    assert why(place(ASK, [here, den])).endswith(" s on den")
    assert why(place(ASK, [here, replace(den, present=False)])) == "ann is the only device that may run tiny; den: absent"
    to_den = place(replace(ASK, on=DeviceId("den")), [here, den])
    assert why(to_den).startswith("den was asked for with --on: ")
    small = place(replace(ASK, on=DeviceId("ann"), small_part=True), [here, den])
    assert why(small).startswith("ann asked, and the small model of --escalate (tiny) answers where it is asked: ")
    hedge = replace(place(ASK, [here]), beside=frozenset({DeviceId("den")}))
    assert why(hedge).startswith("ann was idle, and runs it beside the attempt that takes long: ")
    ask, unlike = replace(ASK, units=300.0), replace(den, dynamic=dynamic(free_slots=0, queue={f"{TASK}/base": (2, 80.0)}))
    slower = replace(here, capability=capability(tiny=variant(mean=0.012, load_s=0.5)))
    found = place(ask, [slower, unlike])
    assert found.chosen is not None
    assert found.chosen.here
    assert "ann returns the result of tiny at the least cost: 4.10 s predicted; 3.51 s on den, but longer jobs" in why(found)
    assert "displaced" in table(summary(found))[0]
    assert "displaced" not in table(summary(place(ask, [slower])))[0]
    near, free = replace(here, capability=capability(tiny=variant(mean=0.0101, load_s=0.5))), replace(den, dynamic=dynamic())
    close = place(replace(ASK, units=1000.0, input_bytes=0, result_bytes=0), [near, free])
    assert why(close).startswith("ann returns the result of tiny as soon as any: 10.60 s predicted, 10.50 s on den")
    assert why(replace(place(ASK, [here]), taken=True)).startswith("ann was free and took it: ")


def test_a_sooner_device_that_took_no_part_says_why() -> None:
    """Of what a free device took, and of a second attempt, the smallest total need not win."""
    slow = device("slow", capability=capability(tiny=variant(mean=1.0)))
    first, free, busy = device("first"), device("free"), device("busy", dynamic=dynamic(free_slots=0, running=[0.1]))
    battery = device("phone", dynamic=dynamic(power="limited"))
    found = place(ASK, [slow])
    all_of_them = replace(found, devices=(slow, first, free, busy, battery))

    def said(placement: Placement) -> dict[str, str]:
        return {line.split()[0]: line.rsplit("   ", 1)[1] for line in table(summary(placement))[1:]}

    asked = "sooner, but did not ask for it"
    assert said(replace(all_of_them, taken=True)) == {"slow": "chosen"} | dict.fromkeys(
        ["first", "free", "busy", "phone"], asked
    )
    rival = said(replace(all_of_them, devices=(slow, first, busy, battery), beside=frozenset({first.id})))
    assert rival == {
        "slow": "chosen", "first": "sooner, but runs the first attempt", "busy": "sooner, but not idle",
        "phone": "sooner, but not on mains",
    }  # fmt: skip
    third = said(replace(all_of_them, beside=frozenset({first.id, busy.id})))
    assert third["first"] == third["busy"] == "sooner, but runs another attempt"


def test_with_fast_every_variant_is_a_rival_and_why_names_it() -> None:
    den = device("den", capability=capability(base=variant(2, mean=0.012)))
    ann = device("ann", here=True, capability=capability(tiny=variant(1), base=variant(2, mean=0.5)))
    text = why(place(replace(ASK, quality="fast"), [ann, den]))
    assert re.fullmatch(r"ann with tiny returns the result soonest: [\d.]+ s predicted, [\d.]+ s on den with base", text)
    away = place(replace(ASK, quality="fast"), [replace(ann, capability=capability()), replace(den, present=False)])
    assert why(away) == "ann is the only device that may run it; den: absent"
    full = device("den", capability=capability(base=variant(2, memory_mb=10**6)))
    barred = place(replace(ASK, quality="fast"), [replace(ann, capability=capability()), full])
    assert why(barred) == "ann is the only device that may run it; den: memory"
