"""Variants (routing §4, §14.9): the best quality present unless less was asked for, and what less costs is said."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.placement.explain import summary
from moodmesh.nodes.placement.explain import table as lines
from moodmesh.nodes.placement.quality import stated
from moodmesh.nodes.placement.score import TIE, Z90, Placement, Row, place
from moodmesh.nodes.placement.view import Device

from .test_placement import ASK, TASK, capability, device, devices_of, dynamic, variant

MEASURE = "r on made-up rows"
FIGURES = {"tiny": [0.5, 0.4], "base": [0.7, 0.5]}
CHOICES = (None, "quality", "deadline")
ways = st.sampled_from([{}, {"by_s": 0.5}, {"by_s": 5.0}, {"by_s": 50.0}, {"quality": "fast"}])


def able(placement: Placement) -> list[Row]:
    """Rows that could run the job: nothing but what was asked for bars them."""
    return [row for row in placement.rows if row.terms and (row.gate.name if row.gate else None) in CHOICES]


def slow(row: Row) -> float:
    assert row.terms is not None
    return row.terms.slow(Z90)


def laptop(**variants: object) -> Device:
    return device("laptop", here=True, capability=capability(**variants), dynamic=dynamic())  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(devices_of, ways)
def test_the_quality_is_the_best_that_was_asked_for(devices: list[Device], way: dict[str, object]) -> None:
    devices = list({d.id: d for d in devices}.values())
    placement = place(replace(ASK, **way), devices)  # type: ignore[arg-type]
    rows, chosen = able(placement), placement.chosen
    assert (chosen is None) == (not rows)
    if chosen is None or chosen.terms is None:
        return
    soonest = min(row.terms.cost for row in rows if row.terms)
    by = way.get("by_s")
    in_time = [row for row in rows if by and slow(row) <= by]  # type: ignore[operator]
    if in_time:
        assert chosen.quality == max(row.quality for row in in_time)
        assert slow(chosen) <= by  # type: ignore[operator]
    elif by:
        assert slow(chosen) <= min(map(slow, rows)) * (1 + TIE)
    elif way:
        assert chosen.terms.cost <= soonest * (1 + TIE)
    else:
        assert chosen.quality == max(row.quality for row in rows)


@settings(max_examples=60, deadline=None)
@given(devices_of, ways)
def test_a_loss_is_stated_if_and_only_if_there_is_one(devices: list[Device], way: dict[str, object]) -> None:
    placement = place(replace(ASK, **way), list({d.id: d for d in devices}.values()))  # type: ignore[arg-type]
    told = stated(json.loads(json.dumps(summary(placement))), MEASURE, FIGURES)
    if placement.chosen is None:
        assert told is None
        return
    assert told is not None
    best = max(row.quality for row in able(placement))
    assert (told["loss"] is not None) == (placement.chosen.quality < best)
    late = "by_s" in way and slow(placement.chosen) > way["by_s"]  # type: ignore[operator]
    assert ("although" in told["words"]) == (told["loss"] is not None)
    assert ("it is late" in told["words"]) == late
    assert bool(told["words"]) == (late or told["loss"] is not None)
    assert told["variant"] == placement.chosen.variant


def test_tiny_never_answers_by_itself_while_base_is_present() -> None:
    """However slow base is, and however loaded its device."""
    quick, late = laptop(tiny=variant(1, mean=1e-6)), device("desktop", capability=capability(base=variant(2, mean=1.0)))
    busy = replace(late, dynamic=dynamic(free_slots=0, running=[3600.0]))
    chosen = place(ASK, [quick, busy]).chosen
    assert chosen is not None
    assert chosen.variant == "base"


def test_what_a_deadline_costs_is_said_in_figures_and_the_better_row_says_why_not() -> None:
    devices = [laptop(tiny=variant(1, mean=0.001)), device("desktop", capability=capability(base=variant(2, mean=0.5)))]
    table = summary(place(replace(ASK, by_s=10.0), devices))
    told = stated(table, MEASURE, FIGURES)
    assert told is not None
    assert (told["variant"], told["best_present"], told["loss"]) == ("tiny", "base", [0.2, 0.1])
    assert told["words"] == f"tiny answers although base is present: .500/.400 instead of .700/.500, {MEASURE}"
    (late,) = [row for row in table["rows"] if row["variant"] == "base"]
    assert late["gate"]["name"] == "deadline"
    assert "10 s are left" in late["gate"]["detail"]


def test_a_deadline_that_nothing_meets_is_said_with_what_it_will_take() -> None:
    devices = [laptop(base=variant(2, mean=0.001)), device("desktop", capability=capability(base=variant(2, mean=0.5)))]
    told = stated(summary(place(replace(ASK, by_s=0.001), devices)), MEASURE, FIGURES)
    assert told is not None
    assert told["loss"] is None
    assert re.fullmatch(r"it is late: 9 of 10 take up to [\d.]+ s even on laptop, 0.001 s are left", told["words"])
    none = stated(summary(place(replace(ASK, by_s=1000.0), devices)), MEASURE, FIGURES)
    assert none is not None
    assert none["words"] == ""


def test_when_nothing_is_in_time_the_fastest_is_taken_whatever_others_lose_by_it() -> None:
    """`phone` is sooner in the mean and at the least cost; 9 of 10 are done soonest on `desktop`, whose queue would wait."""
    phone = device("phone", capability=capability(base=variant(2, mean=0.037)), dynamic=dynamic(loaded=[f"{TASK}/base"]))
    desktop = device("desktop", capability=capability(base=variant(2, mean=0.04, log_var=0.01)))
    desktop = replace(desktop, dynamic=dynamic(free_slots=0, queue={f"{TASK}/base": (1, 60.0)}, loaded=[f"{TASK}/base"]))
    found = place(replace(ASK, by_s=1.0), [phone, desktop])
    assert found.chosen is not None
    assert found.chosen.name == "desktop"
    table = summary(found)
    assert [row.rsplit("   ", 1)[1] for row in lines(table)[1:]] == ["chosen", "sooner, but not only that counted (see above)"]
    within = f"{slow(found.chosen):.2f} s"
    assert table["why"].startswith(
        f"nothing is likely to be in time; desktop with base is soonest for 9 of 10: within {within}"
    )
    assert f"up to {slow(found.chosen):.3g} s even on desktop" in table["late"]
    assert place(replace(ASK, by_s=100.0), [phone, desktop]).chosen.name == "phone"  # type: ignore[union-attr]


def test_what_is_late_does_not_rule_out_a_lower_quality_by_a_better_one_that_is_no_sooner() -> None:
    both = [laptop(tiny=variant(1, mean=0.5)), device("desktop", capability=capability(base=variant(2, mean=0.01)))]
    found = place(replace(ASK, by_s=0.001), both)
    assert [row.gate for row in found.rows] == [None, None]
    assert " on laptop with tiny" in summary(found)["why"]


@pytest.mark.parametrize(("way", "loss"), [({"quality": "fast"}, True), ({"variant": "tiny"}, True), ({}, False)])
def test_the_loss_of_what_was_asked_for(way: dict[str, object], loss: bool) -> None:
    both = capability(tiny=variant(1, mean=0.001), base=variant(2, mean=0.5))
    told = stated(summary(place(replace(ASK, **way), [device("desktop", capability=both)])), MEASURE, FIGURES)  # type: ignore[arg-type]
    assert told is not None
    assert bool(told["loss"]) == loss


def test_without_figures_the_loss_is_said_to_be_unmeasured() -> None:
    both = capability(tiny=variant(1, mean=0.001), base=variant(2, mean=0.5))
    told = stated(summary(place(replace(ASK, quality="fast"), [device("desktop", capability=both)])), "", {})
    assert told is not None
    assert told["loss"] == []
    assert "no figures" in told["words"]


def test_a_better_variant_that_cannot_run_here_is_not_called_present() -> None:
    both = capability(tiny=variant(1), base=variant(2, memory_mb=9000))
    for way in (replace(ASK, quality="fast"), replace(ASK, variant="tiny")):
        told = stated(summary(place(way, [device("desktop", capability=both)])), MEASURE, FIGURES)
        assert told is not None
        assert (told["best_present"], told["loss"]) == ("tiny", None)


def test_a_device_asked_for_is_measured_against_the_best_variant_present_anywhere() -> None:
    """Of two devices one was asked for: the loss against the other is stated, as that of `--variant` is."""
    devices = [laptop(tiny=variant(1)), device("desktop", capability=capability(base=variant(2)))]
    for way in (replace(ASK, on=DeviceId("laptop")), replace(ASK, on=DeviceId("laptop"), variant="tiny", by_s=9.0)):
        told = stated(json.loads(json.dumps(summary(place(way, devices)))), MEASURE, FIGURES)
        assert told is not None
        assert (told["variant"], told["best_present"], told["loss"]) == ("tiny", "base", [0.2, 0.1])
        assert told["words"].startswith("tiny answers although base is present: .500/.400 instead of .700/.500")
        away = [devices[0], replace(devices[1], present=False)]
        gone = stated(summary(place(way, away)), MEASURE, FIGURES)
        assert gone is not None
        assert (gone["best_present"], gone["loss"]) == ("tiny", None)


def test_who_offers_itself_runs_no_lower_variant_while_a_better_one_is_present() -> None:
    """A device that takes a held job names the variant it would run (§14.9)."""
    small = device("phone", capability=capability(tiny=variant(quality=1)))
    decided = place(ASK, [small, device("desktop", capability=capability(tiny=variant(quality=1), base=variant(quality=2)))])
    assert decided.at(small.id, "tiny") is None
    assert place(replace(ASK, quality="fast"), [small]).at(small.id, "tiny") is not None
