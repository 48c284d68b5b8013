"""A request from a mood: in tenths for own devices, for others a cell of the grid and nothing finer."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.moods.asked import STEPS, kept
from moodmesh.nodes.placement.gates import device_gate
from moodmesh.nodes.placement.view import Ask, Device
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.coarse import centred, coarse

axis = st.floats(-1, 1)
point = st.tuples(axis, axis)
CENTRES = {-0.667, 0.0, 0.667}


@given(axis, axis)
def test_what_leaves_for_others_is_the_middle_of_the_cell_that_a_shared_mood_names(valence: float, arousal: float) -> None:
    cell = coarse(EmotionVector(valence, arousal, valence_sd=0.0, arousal_sd=0.0, at=0.0))
    found = kept({"valence": valence, "arousal": arousal, "bars": 8}, "mood.share")
    assert found == {
        "valence": round((cell.valence - 1) * 2 / 3, 3),
        "arousal": round((cell.arousal - 1) * 2 / 3, 3),
        "bars": 8,
    }
    assert kept(found, "mood.share") == found, "asked again, it stays"


@given(point, point)
def test_two_moods_of_one_cell_make_the_same_request(one: tuple[float, float], other: tuple[float, float]) -> None:
    if centred(*one) == centred(*other):
        texts = {json.dumps(kept(dict(zip(("valence", "arousal"), m, strict=True)), "mood.share")) for m in (one, other)}
        assert len(texts) == 1


@given(st.lists(st.tuples(st.floats(0, 1), axis, axis), min_size=1, max_size=64, unique_by=lambda p: p[0]))
def test_a_path_leaves_as_as_many_cells_at_equal_steps_whatever_it_was(points: list[tuple[float, float, float]]) -> None:
    path = [{"at": at, "valence": v, "arousal": a} for at, v, a in sorted(points)]
    found = kept({"path": path}, "mood.share")["path"]
    assert [p["at"] for p in found] == [step / STEPS for step in range(STEPS + 1)]
    assert {p["valence"] for p in found} | {p["arousal"] for p in found} <= CENTRES
    assert kept({"path": found}, "mood.share")["path"] == found


@given(axis, axis)
def test_for_own_devices_it_is_kept_in_tenths(valence: float, arousal: float) -> None:
    found = kept({"valence": valence, "arousal": arousal}, "own")
    assert found == {"valence": round(valence, 1), "arousal": round(arousal, 1)}
    assert kept({"path": [{"at": 0.123456, **found}]}, "own") == {"path": [{"at": 0.123456, **found}]}


@pytest.mark.parametrize(
    "params",
    [{}, {"emotion": "sad"}, {"valence": 0.5}, {"valence": "0.123", "arousal": 0.5}, {"path": "x"}, {"path": [1]},
     {"path": [{"at": 0.5, "valence": 0.1}]}, {"valence": float("nan"), "arousal": 0.0}, {"valence": True, "arousal": 0},
     {"valence": 0.5, "arousal": 0.5, "emotion": "sad"}],
)  # fmt: skip
def test_what_cannot_be_made_coarse_does_not_leave(params: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        kept(params, "mood.share")


ASK = Ask("j", "music.generate", 1, 1.0, personal=True, shared=True)
DEVICE = Device(DeviceId("d"), "d")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("told_moods", [False, True])
def test_the_gate_opens_for_own_devices_and_a_coarse_mood_for_whoever_is_told_moods(
    shared: bool, own: bool, told_moods: bool
) -> None:
    """Whatever else is asked for: no other gate is before it that could let the job pass."""
    from moodmesh.nodes.messages import Capability

    device = replace(DEVICE, own=own, told_moods=told_moods, capability=Capability.model_construct(tasks={}))
    gates: Counter[str] = Counter()
    for quality in ("best", "fast"):
        for on in (None, DEVICE.id):
            gate = device_gate(replace(ASK, shared=shared, quality=quality, on=on), device)  # type: ignore[arg-type]
            gates[gate.name if gate else ""] += 1
    assert gates == {"permission" if own or (shared and told_moods) else "personal": 4}
