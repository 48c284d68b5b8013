"""What is raw cannot leave; what is shared is coarse and strict."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.shared import CELLS, SharedMood

MOOD = EmotionVector(-0.7321, 0.4129, 0.1113, valence_sd=0.21, arousal_sd=0.34, at=1_800_000_000.0)
SECRETS = ("7321", "4129", "1113", "0.21", "0.34", "1800000000")


@pytest.mark.parametrize(
    "way_out",
    [
        *(lambda m, p=p: pickle.dumps(m, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
        copy.copy,
        copy.deepcopy,
        json.dumps,
        dataclasses.asdict,
        dataclasses.astuple,
        vars,
        dict,
        list,
        tuple,
        lambda m: {**m},
        lambda m: dataclasses.asdict(dataclasses.make_dataclass("Box", ["mood"])(m)),
    ],
)
def test_no_common_way_turns_a_raw_mood_into_data(way_out) -> None:
    with pytest.raises(TypeError):
        way_out(MOOD)


@pytest.mark.parametrize("shown", [repr, str, "{}".format, "%s".__mod__, "{!r:>40}".format, lambda m: f"{m:>30}"])
def test_no_way_to_print_it_shows_anything(shown) -> None:
    assert not any(secret in shown(MOOD) for secret in SECRETS)


def test_it_is_read_by_name_and_never_changes() -> None:
    assert (MOOD.valence, MOOD.arousal, MOOD.dominance) == (-0.7321, 0.4129, 0.1113)
    with pytest.raises(AttributeError):
        MOOD.valence = 0.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        MOOD.note = "x"
    with pytest.raises(AttributeError):
        del MOOD.valence


@pytest.mark.parametrize("v", [-1.01, 1.01, float("nan"), float("inf")])
def test_it_lies_in_its_range(v: float) -> None:
    for axes in ((v, 0.0, None), (0.0, v, None), (0.0, 0.0, v)):
        with pytest.raises(ValueError, match="lie in"):
            EmotionVector(*axes, valence_sd=0.1, arousal_sd=0.1, at=0.0)
    with pytest.raises(ValueError, match="lie in"):
        EmotionVector(0, 0, valence_sd=float("nan"), arousal_sd=0.1, at=0.0)


def test_a_raw_mood_that_could_be_pickled_would_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(EmotionVector, "__reduce_ex__")
    monkeypatch.setattr(EmotionVector, "__reduce__", lambda self: (str, (str(self.valence),)), raising=False)
    assert pickle.loads(pickle.dumps(MOOD)) == "-0.7321"


@given(st.integers(0, CELLS - 1), st.integers(0, CELLS - 1))
def test_a_shared_mood_travels(valence: int, arousal: int) -> None:
    mood = SharedMood(valence, arousal)
    assert SharedMood.from_json(mood.to_json()) == mood
    assert len(mood.to_json()) < 30


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"valence":1}', '{"valence":1,"arousal":9}', '{"valence":0.5,"arousal":1}', "[" * 100_000,
             '{"valence":true,"arousal":1}', '{"valence":1,"arousal":1,"exact":0.73}']
)  # fmt: skip
def test_nothing_else_is_a_shared_mood(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        SharedMood.from_json(text)


@given(st.binary(max_size=60))
def test_no_bytes_break_it(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        SharedMood.from_json(data)
