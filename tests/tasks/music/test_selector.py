"""Several takes of a phrase: which one is kept, that another device keeps the same, and what is called new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moodmesh.tasks.music.engine.playing import Ask, Bar, Player
from moodmesh.tasks.music.engine.sampling import Taste
from moodmesh.tasks.music.generate.asked import Asked
from moodmesh.tasks.music.generate.composers import Rules, Trained
from moodmesh.tasks.music.generate.novelty import RUN, Filter, grams, symbols
from moodmesh.tasks.music.generate.selector import BARS, Selector, again, save
from moodmesh.tasks.music.judge import gate
from moodmesh.tasks.music.judge.controls import jitter
from moodmesh.tasks.music.notation.score import Score, transpose
from moodmesh.tasks.music.notation.tokens import bars, decode
from moodmesh.tasks.music.rules.attributes import DESCRIBED, distance, heard, wanted
from moodmesh.tasks.music.rules.compose import compose
from moodmesh.tasks.task import Request

from .models import steps


def told(seed: int) -> tuple[float, ...]:
    return tuple(np.random.default_rng(seed).normal(size=DESCRIBED).round(2).tolist())


def plan(size: int, phrase: int = 4) -> list[Ask]:
    return [Ask(told(number // phrase), 20, number // phrase) for number in range(size)]


def longest(first: int, before: Sequence[Bar], takes: Sequence[Sequence[Bar]]) -> int:
    return max(range(len(takes)), key=lambda take: sum(map(len, takes[take])))


def player(size: int, takes: int, best: object = longest, seed: int = 7, before: Sequence[Bar] = ()) -> Player:
    read = list(zip(before, plan(len(before)), strict=True))
    return Player(steps(), plan(size), seed, Taste(), read, takes, best)  # type: ignore[arg-type]


def test_the_take_that_is_kept_is_the_one_that_was_chosen() -> None:
    seen: list[list[list[Bar]]] = []

    def watched(first: int, before: Sequence[Bar], takes: Sequence[Sequence[Bar]]) -> int:
        seen.append([[list(bar) for bar in take] for take in takes])
        return first // 4 % 3

    made = list(player(12, 3, watched).bars())
    assert made == seen[0][0] + seen[1][1] + seen[2][2]
    assert all(len({str(take) for take in takes}) == 3 for takes in seen)  # chance differs from take to take


def test_the_first_take_is_what_one_take_plays() -> None:
    first = list(player(8, 3, lambda first, before, takes: 0).bars())
    assert first == list(player(8, 1).bars())


@pytest.mark.parametrize("lead", [0, 3])
def test_another_device_keeps_the_same_takes(lead: int) -> None:
    before = list(player(lead, 1, seed=1).bars()) if lead else []
    whole = list(player(80, 2, before=before).bars())
    assert sum(map(len, whole)) > steps().room  # the window has moved, within phrases too
    for known in (6, 51):
        assert list(player(80, 2, before=before).bars(whole[:known])) == whole[known:]


def test_bars_made_elsewhere_are_gone_on_from() -> None:
    other = list(player(6, 2, seed=99).bars())
    asked: list[int] = []

    def watched(first: int, before: Sequence[Bar], takes: Sequence[Sequence[Bar]]) -> int:
        asked.append(len(takes))
        assert all(list(take[:2]) == other[4:6] for take in takes) or first != 4
        return 1

    made = list(player(12, 2, watched).bars(other))
    assert len(made) == 6
    assert asked == [2, 2]


def tokens(score: Score) -> list[Bar]:
    return bars(score)


def test_the_nearest_take_is_kept() -> None:
    calm, angry = wanted(0.6, -0.7), wanted(-0.6, 0.8)
    takes = [tokens(compose(angry, 8, 1)), tokens(compose(calm, 8, 1))]
    assert Selector().best(calm, [], takes) == 1
    assert Selector().best(angry, [], takes) == 0
    assert Selector().best(calm, [], [takes[1], takes[1]]) == 0


def test_what_is_known_is_not_kept_twice() -> None:
    shown = wanted(0.6, -0.7)
    scores = [compose(shown, 8, seed) for seed in range(2)]
    for number in range(2):
        chooser = Selector(known=Filter.of([transpose(scores[number], 2)]))
        assert chooser.best(shown, [], [tokens(score) for score in scores]) == 1 - number


def test_what_repeats_itself_costs_more() -> None:
    shown = wanted(0.6, 0.6)
    take = tokens(compose(shown, 8, 3))
    stuck = [take[0]] * 8
    assert again(stuck) == 1.0
    assert again(take[:1]) == 0.0
    plain = distance(shown, heard(decode([token for bar in stuck for token in bar])))
    assert Selector().cost(shown, [], stuck) == pytest.approx(plain + 0.5)


def a_gate() -> gate.Gate:
    """Of pieces by rule as music, the same with notes moved as none."""
    real = [compose(wanted(v, a), BARS, seed) for v in (-0.6, 0.6) for a in (-0.6, 0.6) for seed in range(12)]
    return gate.fit(real[::2], real[1::2], [jitter(piece, 1, 0.9) for piece in real], lambda tokens: 0.0)


def test_what_is_unlike_music_costs_more_and_a_file_keeps_it(tmp_path: Path) -> None:
    shown = wanted(0.6, 0.6)
    good = compose(shown, BARS, 77)
    save(a_gate(), Filter.of([good]), tmp_path / "selector.npz")
    assert (tmp_path / "selector.npz").stat().st_size < 1_000_000
    loaded = Selector.load(tmp_path / "selector.npz")
    assert loaded.known is not None
    assert loaded.known.share(good) == 1.0
    like = replace(loaded, known=None)
    bad = tokens(jitter(good, 5, 0.9))
    plain = Selector()
    assert like.cost(shown, [], bad) - plain.cost(shown, [], bad) > 0.1
    assert like.cost(shown, [], tokens(good)[:4]) == plain.cost(shown, [], tokens(good)[:4])  # too short to be heard
    silent = [bar[:2] for bar in bad]
    assert like.cost(shown, [], silent) == pytest.approx(plain.cost(shown, [], silent) + 1.0)


def test_a_filter_knows_what_went_in_and_little_else() -> None:
    known = [compose(wanted(0.6, 0.6), 8, seed) for seed in range(15)]
    made = Filter.of(known)
    assert all(made.share(transpose(score, 3)) == 1.0 for score in known)
    fresh = np.random.default_rng(0).integers(1, 9000, (300, RUN + 20)).astype(np.uint64)
    assert len(np.unique(np.concatenate([grams(row, RUN) for row in fresh]))) == 300 * 21
    others = [jitter(compose(wanted(-0.6, -0.6), 8, 900 + seed), seed, 0.9) for seed in range(15)]
    assert np.mean([made.share(score) for score in others]) < 0.02
    assert made.share(Score((), (20,))) == 0.0


def test_runs_are_the_same_in_another_key_and_tempo() -> None:
    score = compose(wanted(0.6, 0.6), 8, 1)
    moved = transpose(Score(score.notes, tuple(step + 3 for step in score.tempi)), 5)
    for line in ("all notes", "top line"):
        assert symbols(score, line).tolist() == symbols(moved, line).tolist()
        assert symbols(score, line).tolist() != symbols(jitter(score, 1), line).tolist()
    assert len(symbols(score, "top line")) < len(symbols(score, "all notes"))


@pytest.mark.parametrize("takes", [1, 3])
def test_composers_take_as_often_as_asked_and_go_on_the_same(takes: int) -> None:
    asked = Asked.of(Request({"emotion": "sad", "bars": 10, "takes": takes}, b"", 5))
    for composer in (Rules(), Trained(steps())):
        whole = list(composer.bars(asked, [], lambda: None))
        assert len(whole) == 10
        assert list(composer.bars(asked, whole[:3], lambda: None)) == whole[3:]


def test_takes_bring_a_piece_nearer_to_what_was_asked() -> None:
    def apart(takes: int, seed: int) -> float:
        asked = Asked.of(Request({"emotion": "angry", "bars": 8, "takes": takes}, b"", seed))
        made = list(Trained(steps()).bars(asked, [], lambda: None))
        return Selector().cost(asked.phrases[0][2], [], made)

    once, often = ([apart(takes, seed) for seed in range(4)] for takes in (1, 4))
    assert all(few >= many for few, many in zip(once, often, strict=True))
    assert np.mean(often) < np.mean(once)
