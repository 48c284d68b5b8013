"""What a job and an attempt may become, and what rates learn: pure."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes import rates
from moodmesh.nodes.jobs.model import ATTEMPT_LIVE, JOB_STEPS, OPEN, Attempt, Job, Spec, may_change, may_step
from moodmesh.nodes.messages import Blob

STATES = ["OFFERED", "RESERVED", "STAGING", "RUNNING", "DELIVERING", "COMMITTED", "REFUSED", "CANCELLED", "LOST", "ERRORED"]
STATUSES = ["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]


@given(st.lists(st.sampled_from(STATUSES), max_size=20))
def test_a_job_that_ended_never_changes(wishes: list[str]) -> None:
    status, ended = "PENDING", ""
    for wish in wishes:
        if may_change(status, wish):
            assert not ended
            status = wish
        ended = status if status not in OPEN else ended
    assert not ended or status == ended


def test_every_open_status_may_reach_every_end() -> None:
    assert set(JOB_STEPS) == OPEN
    assert all(may_change(old, new) for old in OPEN for new in ("STOPPED", "SUCCEEDED", "FAILED"))


@given(st.lists(st.sampled_from(STATES), max_size=30))
def test_an_attempt_goes_forward_to_one_end_and_only_a_lost_one_may_still_be_committed(wishes: list[str]) -> None:
    state, seen = "OFFERED", ["OFFERED"]
    for wish in wishes:
        if may_step(state, wish):
            state = wish
            seen.append(wish)
    living = [s for s in seen if s in ATTEMPT_LIVE]
    assert living == sorted(set(living), key=STATES.index)
    ends = [s for s in seen if s not in ATTEMPT_LIVE]
    assert ends in ([], ["LOST", "COMMITTED"]) or len(ends) == 1
    assert "REFUSED" not in ends or living == ["OFFERED"]


def job(*attempts: tuple[str, str]) -> Job:
    spec = Spec("a.b", 1, {}, 1.0, 1, 1, False, False, 1)
    found = [Attempt("j", n, DeviceId("d"), "v", state, {}, 0.0, message=m) for n, (state, m) in enumerate(attempts, 1)]  # type: ignore[arg-type]
    return Job("j", spec, Blob.of(b""), 0.0, attempts=found)


@pytest.mark.parametrize(
    ("attempts", "spent"),
    [
        ([("ERRORED", "task_error: x")], False),
        ([("ERRORED", "task_error: x")] * 2, True),
        ([("ERRORED", "transient: x")] * 3, False),
        ([("ERRORED", "transient: x")] * 4, True),
        ([("LOST", "gone")] * 9 + [("REFUSED", "memory")] * 50, False),
        ([("LOST", "gone")] * 10, True),
    ],
)
def test_when_a_job_has_no_further_attempt(attempts: list[tuple[str, str]], spent: bool) -> None:
    assert (job(*attempts).spent() is not None) == spent
    assert job(*attempts).next_number == len(attempts) + 1


observations = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30)


@settings(max_examples=60)
@given(observations)
def test_a_rate_stays_within_what_was_observed(seconds: list[float]) -> None:
    rate = rates.first(seconds[0], 0.0, 0.0)
    for n, x in enumerate(seconds[1:], 1):
        rate = rates.observe(rate, x, None, float(n))
    slack = 1 + 1e-9
    assert min(seconds) / slack <= rate.mean <= max(seconds) * slack
    assert math.log(min(seconds)) - 1e-9 <= rate.log_mean <= math.log(max(seconds)) + 1e-9
    assert rate.log_var >= 0
    assert rate.count == len(seconds)


def test_the_updates_are_those_of_the_specification() -> None:
    rate = rates.observe(rates.first(1.0, 2.0, 0.0), math.e, 4.0, 1.0)
    assert rate.mean == pytest.approx(0.8 + 0.2 * math.e)
    assert rate.log_mean == pytest.approx(0.2)
    assert rate.log_var == pytest.approx(0.8 * 0.25 + 0.2 * 1.0)
    assert rate.load_s == pytest.approx(0.7 * 2 + 0.3 * 4)
    assert rates.observe(rate, 1.0, None, 2.0).load_s == rate.load_s


def test_a_peer_that_flatters_itself_is_corrected_after_a_few_jobs() -> None:
    correction = 0.0
    for _ in range(10):
        correction = rates.correct(correction, actual_s=10.0, claim_s=1.0)
    assert math.exp(correction) > 7.5
    assert math.exp(rates.correct(0.0, 1e9, 1e-9)) < 4
    for _ in range(50):
        correction = rates.correct(correction, 1e9, 1e-9)
    assert correction == pytest.approx(math.log(1000), rel=1e-4)
    for _ in range(50):
        correction = rates.correct(correction, 0.0, 1.0)
    assert correction == pytest.approx(math.log(0.5))
