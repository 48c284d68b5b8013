"""What `bench generate` times is what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moodmesh.nodes.bench import generate
from moodmesh.tasks.music.engine.playing import Player
from moodmesh.tasks.music.engine.sampling import Taste
from moodmesh.tasks.music.engine.steps import Steps
from moodmesh.tasks.music.generate import MusicGenerate
from moodmesh.tasks.music.model import ship
from tasks.music.models import small, steps


def test_the_bare_loop_runs_the_same_graph_at_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, alone = steps(), steps()
    made = list(Player(ours, generate._plan(3), 1, Taste()).bars())
    ours.past = 0
    ours.remember(generate._plan(1)[0].told)
    for token in (token for bar in made for token in bar):
        logits = ours.feed([token])

    def fed(*_: object) -> None:
        raise AssertionError("ours, in the loop that is to be bare")

    monkeypatch.setattr(Steps, "feed", fed)
    assert generate._bare(alone, made) > 0
    np.testing.assert_array_equal(alone._logits, logits)


def test_a_bare_loop_that_is_full_goes_on_at_the_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "full", lambda room: 8)
    alone, (bar,) = steps(), Player(steps(), generate._plan(1), 1, Taste()).bars()
    bar = (bar * 13)[:13]
    generate._bare(alone, [bar])
    other = steps()
    other.remember(generate._plan(1)[0].told)
    for at, token in enumerate(bar):
        other.past = 4 if at in (8, 12) else other.past
        logits = other.feed([token])
    np.testing.assert_array_equal(alone._logits, logits)


def test_a_share_is_by_runs_and_not_by_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar of four tokens is three runs of ours, and four of the bare loop, which is fed what was just played."""
    fed = list[list[list[int]]]()
    monkeypatch.setattr(generate, "_steps", lambda *_: steps())
    monkeypatch.setattr(generate, "_resident", lambda *_: 0.0)
    monkeypatch.setattr(generate, "_played", lambda steps, bars: (2.0, 1.0, [[len(fed), 2, 3, 4]] * bars))
    monkeypatch.setattr(generate, "_bare", lambda steps, made: fed.append(made) or 2.0)
    row = generate._row(MusicGenerate.spec.variants[0], "int8", 1, 5, 2)
    assert row["share_of_bare_loop"] == 0.75
    assert fed == [[[turn, 2, 3, 4]] * 5 for turn in range(3)]


def test_a_ratio_is_of_the_same_weights_warm_and_a_median(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, turns = list[tuple[str, int]](), iter([9.0, 0.1, 4.0, 2.0, 6.0, 1.0, 5.0, 1.0])

    def opened(variant: object, kind: str, threads: int) -> Steps:
        asked.append((kind, threads))
        return steps()

    monkeypatch.setattr(generate, "_weights", lambda variant: Path("weights"))
    monkeypatch.setattr(ship, "composer", lambda file: small())
    monkeypatch.setattr(generate, "_steps", opened)
    monkeypatch.setattr(generate, "_played", lambda steps, bars: (next(turns), 0.0, []))
    found = generate._eager(MusicGenerate.spec.variants[0], 1, 3)
    assert asked == [("fp32", 1)]
    assert (found["fp32_by_eager"], found["tokens_per_s"]) == (5.0, 0.2)


def test_the_piece_that_is_timed_has_so_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    rules, told = MusicGenerate.spec.variant("rules"), list[int]()
    tokens = generate._tokens

    def counted(parts: Sequence[bytes]) -> int:
        told.append(tokens(parts))
        return told[-1]

    monkeypatch.setattr(generate, "_tokens", counted)
    monkeypatch.setattr(generate, "TOKENS", 500)
    bars = generate._enough(rules, 2)
    assert 2 < bars < generate.MOST_BARS
    assert max(told[:-1]) < 500 <= told[-1]
    assert generate._enough(rules, generate.MOST_BARS + 10) == generate.MOST_BARS


@pytest.mark.parametrize(
    ("tokens", "whole"),
    [(1370, {"piece_s": 2.0, "tokens": 1370.0}), (1500, {"piece_s": 2.0, "tokens": 1500.0}),
     (685, {"piece_s": 4.0, "tokens": 685.0, "scaled": 1.0})],
)  # fmt: skip
def test_only_a_shorter_piece_is_scaled_and_that_is_said(tokens: int, whole: dict[str, Any]) -> None:
    assert generate._whole(2.0, tokens) == whole
