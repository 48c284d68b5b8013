"""The engine of the composers: graphs against PyTorch, sampling under the grammar, going on."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.tasks.errors import Cancelled
from moodmesh.tasks.music.engine import playing
from moodmesh.tasks.music.engine.playing import MAX_BAR, Ask, Bar, Player, full, window
from moodmesh.tasks.music.engine.sampling import (
    HALF,
    HIGHEST_BASS,
    HIGHEST_TONE,
    LAST_PLACE,
    LASTING,
    LEAP,
    LOWEST_TONE,
    OFTEN,
    Cadence,
    Chord,
    Taste,
    Weariness,
    choices,
    choose,
)
from moodmesh.tasks.music.engine.steps import MOST_TOLD, Steps, pack
from moodmesh.tasks.music.model.eager import EagerSteps
from moodmesh.tasks.music.model.graph import ROOM
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.grammar import START, State, allowed, follow
from moodmesh.tasks.music.notation.tokens import bars, decode
from moodmesh.tasks.music.rules.attributes import DESCRIBED

from .models import graphs, small, steps


def told(seed: int) -> tuple[float, ...]:
    return tuple(np.random.default_rng(seed).normal(size=DESCRIBED).round(2).tolist())


def torch_logits(tokens: list[int], description: tuple[float, ...]) -> np.ndarray:
    model = small()
    with torch.no_grad():
        logits = model.decoder(torch.tensor([tokens]), model.memory(torch.tensor([[description]])))
    return np.asarray(logits[0].numpy())


@pytest.mark.parametrize(("int8", "near"), [(False, 2e-4), (True, 0.6)])
def test_the_graph_says_what_pytorch_says(int8: bool, near: float) -> None:
    tokens = np.random.default_rng(0).integers(2, v.SIZE, 90).tolist()
    loaded = steps(int8)
    loaded.remember(told(1))
    wanted = torch_logits(tokens, told(1))
    assert np.abs(loaded.feed(tokens[:60]) - wanted[59]).max() < near
    for at in range(60, 90):
        assert np.abs(loaded.feed(tokens[at : at + 1]) - wanted[at]).max() < near
    assert np.abs(wanted).max() > 5 * min(near, 0.2)


def test_the_plain_step_says_what_pytorch_says() -> None:
    tokens, plain = np.random.default_rng(0).integers(2, v.SIZE, 50).tolist(), EagerSteps(small())
    plain.remember(told(1))
    wanted = torch_logits(tokens, told(1))
    for begin, end in ((0, 20), (20, 33), (33, 34), (34, 50)):
        assert np.abs(plain.feed(tokens[begin:end]) - wanted[end - 1]).max() < 2e-4


def test_what_it_remembers_changes_what_it_says() -> None:
    loaded = steps()
    loaded.remember(told(1))
    one = loaded.feed([2, 40]).copy()
    loaded.past = 0
    loaded.remember(told(2))
    assert np.abs(loaded.feed([2, 40]) - one).max() > 0.01
    loaded.past = 0
    loaded.remember(told(1))
    assert np.array_equal(loaded.feed([2, 40]), one)


def test_what_is_told_is_kept_for_a_while_alone() -> None:
    loaded = steps()
    loaded.remember(told(0))
    first = loaded.feed([2, 40]).copy()
    for seed in range(3 * MOST_TOLD):
        loaded.remember(told(seed))
    assert len(loaded._told) == MOST_TOLD
    computed = list[bool]()
    loaded._tell = Watched(loaded._tell, computed)
    loaded.remember(told(3 * MOST_TOLD - 1))
    loaded.remember(told(2 * MOST_TOLD))
    assert computed == []
    loaded.past = 0
    loaded.remember(told(0))
    assert computed == [True]
    assert np.array_equal(loaded.feed([2, 40]), first)
    loaded.remember(told(2 * MOST_TOLD))
    assert computed == [True], "it was wanted a moment ago"


class Watched:
    """A session that tells when it is run."""

    def __init__(self, session: Any, runs: list[bool]) -> None:
        self._session, self._runs = session, runs

    def run(self, *given: Any) -> Any:
        self._runs.append(True)
        return self._session.run(*given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def test_a_composer_holds_so_many_tokens_and_no_more() -> None:
    loaded = steps()
    loaded.remember(told(1))
    loaded.feed([2] * loaded.room)
    with pytest.raises(ValueError, match=f"holds 1 to {ROOM}"):
        loaded.feed([2])
    with pytest.raises(ValueError, match="0 tokens"):
        loaded.feed([])


def test_a_run_that_fails_leaves_the_caches_as_they_were() -> None:
    one, other = steps(), steps()
    for each in (one, other):
        each.remember(told(3))
        each.feed([2, 40])
    for wrong in ([99999], [5, 99999]):
        with pytest.raises(Exception, match=r"(?i)range|bounds"):
            one.feed(wrong)
        assert one.past == 2
    assert np.array_equal(one.feed([5]), other.feed([5]))


def test_a_packed_file_is_the_same_bytes_each_time_and_loads(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pack(tmp_path / name, *graphs(True))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = Steps.load(tmp_path / "a")
    loaded.remember(told(3))
    direct = steps(True)
    direct.remember(told(3))
    assert np.array_equal(loaded.feed([2, 40]), direct.feed([2, 40]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.3, 3), st.floats(0.1, 1))
def test_only_what_may_follow_is_chosen(seed: int, temperature: float, top_p: float) -> None:
    random, state = np.random.default_rng(seed), follow(follow(START, v.BAR_LINE), v.tempo(30))
    for _ in range(40):
        token = choose(random.normal(size=v.SIZE).astype(np.float32) * 5, state, Taste(temperature, top_p), random.random())
        assert allowed(state)[token]
        if token in (v.BAR_LINE, v.EOS):
            break
        kind, track, _ = v.meaning(token)
        assert kind < v.Kind.PITCH or track == v.PIANO
        state = follow(state, token)


def test_top_p_keeps_the_likeliest_tokens_in_their_shares() -> None:
    state = State(v.Kind.PITCH, v.PIANO, 0, v.pitch(v.PIANO, 60))
    logits = np.full(v.SIZE, -1e9, np.float32)
    shares = {v.velocity(v.PIANO, 10): 0.5, v.velocity(v.PIANO, 20): 0.3, v.velocity(v.PIANO, 30): 0.2}
    for token, share in shares.items():
        logits[token] = np.log(share)
    random = np.random.default_rng(1)
    drawn = [choose(logits, state, Taste(1.0, 0.79), random.random()) for _ in range(2000)]
    assert set(drawn) == {v.velocity(v.PIANO, 10), v.velocity(v.PIANO, 20)}
    assert abs(drawn.count(v.velocity(v.PIANO, 10)) / 2000 - 5 / 8) < 0.04
    hot = [choose(logits, state, Taste(50.0, 1.0), random.random()) for _ in range(2000)]
    assert abs(hot.count(v.velocity(v.PIANO, 30)) / 2000 - 1 / 3) < 0.05


def test_no_bar_is_without_a_note() -> None:
    opened = follow(follow(START, v.BAR_LINE), v.tempo(30))
    assert choices(opened).tolist() == [v.beat(place) for place in range(v.BAR)]
    assert allowed(opened)[[v.BAR_LINE, v.EOS]].all(), "though there are such bars"


def test_the_piano_is_all_that_may_be_chosen_of_the_instruments() -> None:
    state = follow(follow(follow(START, v.BAR_LINE), v.tempo(30)), v.beat(0))
    assert choices(state).tolist() == [v.pitch(v.PIANO, note) for note in range(v.LOWEST, v.HIGHEST + 1)]


@pytest.mark.parametrize("chord", [(0, 4, 7), (9, 0, 4)])
def test_a_piece_closes_on_the_chord_that_is_asked_for(chord: Chord) -> None:
    for seed in range(12):
        asks = [*plan(2), replace(plan(3)[2], cadence=Cadence(chord, last=True))]
        *_, before, last = Player(steps(), asks, seed, Taste(1.5, 1.0)).bars()
        notes = decode([*last, v.EOS]).notes
        top = max(note.pitch for note in decode(before).notes)
        assert max(note.pitch for note in notes) <= max(top + LEAP, LOWEST_TONE + 12)
        assert notes[0].onset == 0
        assert notes[0].pitch % 12 == chord[0]
        assert notes[0].pitch <= HIGHEST_BASS
        assert set(chord[:2]) <= {note.pitch % 12 for note in notes} <= set(chord)
        assert max(note.pitch for note in notes) % 12 == chord[0]
        assert max(note.pitch for note in notes) <= HIGHEST_TONE + 12
        assert max(note.onset for note in notes) <= LAST_PLACE
        assert min(note.duration for note in notes) >= LASTING or len({note.pitch for note in notes}) < len(notes)


@pytest.mark.parametrize("chord", [(7, 11, 2, 5), (4, 8, 11, 2)])
def test_the_bar_before_the_last_leads_there_from_its_half(chord: Chord) -> None:
    for seed in range(12):
        asks = [*plan(2), replace(plan(3)[2], cadence=Cadence(chord, last=False))]
        led = list(Player(steps(), asks, seed, Taste(1.5, 1.0)).bars())[-1]
        notes = decode([*led, v.EOS]).notes
        begun = [note for note in notes if note.onset >= HALF]
        if len(led) < MAX_BAR:
            assert begun[0].onset == HALF
        assert all(note.pitch % 12 in chord for note in begun)
        assert len(led) >= MAX_BAR or chord[1] in {note.pitch % 12 for note in begun if note.onset == HALF}
        assert all(note.pitch % 12 == chord[0] and note.pitch <= HIGHEST_BASS for note in begun[:1])
        assert all(note.onset + note.duration <= HALF for note in notes if note.onset < HALF)
        assert all(note.onset + note.duration <= v.BAR for note in notes)


@pytest.mark.parametrize(("top", "highest"), [(0, 60), (65, 60), (72, 67), (84, 79), (108, 79)])
def test_a_cadence_lies_near_what_was_before(top: int, highest: int) -> None:
    assert Cadence((0, 4, 7), last=True).near(top).highest == highest


def test_a_pitch_costs_more_each_time_that_it_is_struck_often() -> None:
    weariness, token = Weariness(Taste(weary=0.5)), v.pitch(v.PIANO, 60)
    costs = []
    for _ in range(OFTEN + 3):
        for other in (v.beat(0), token, v.velocity(v.PIANO, 20), v.duration(v.PIANO, 2)):
            weariness.strike(other)
        costs.append(weariness.cost[token])
    assert costs == [0.0] * OFTEN + [0.5, 1.0, 1.5]
    assert weariness.cost.sum() == weariness.cost[token]


def test_a_weary_composer_strikes_other_pitches(monkeypatch: pytest.MonkeyPatch) -> None:
    def struck(weary: float) -> list[int]:
        """How often a pitch that the composer is fond of comes in each three bars, all places of which it plays."""
        loaded = steps()
        feed = loaded.feed
        fond = np.zeros(v.SIZE, np.float32)
        fond[v.pitch(v.PIANO, 60)] = 9.0
        fond[[v.beat(place) for place in range(v.BAR)]] = np.arange(v.BAR, 0, -1) * 9.0
        monkeypatch.setattr(loaded, "feed", lambda tokens: feed(tokens) + fond)
        made = list(Player(loaded, plan(6), 2, Taste(1.0, 0.95, weary)).bars())
        return [sum(bar.count(v.pitch(v.PIANO, 60)) for bar in made[at : at + 3]) for at in range(4)]

    assert min(struck(0.0)) > 3 * OFTEN
    assert max(struck(5.0)) <= OFTEN + 2


def plan(size: int) -> list[Ask]:
    """The notes of two bars in twelve come again."""
    again = {at: at - 5 for at in range(size) if at % 12 in (7, 8)}
    return [Ask(told(number // 3), 20 + number // 3 % 40, again=again.get(number)) for number in range(size)]


@pytest.mark.parametrize("int8", [False, True])
def test_another_device_goes_on_with_the_same_bars(int8: bool) -> None:
    whole = list(Player(steps(int8), plan(150), 7, Taste()).bars())
    sizes = [len(bar) for bar in whole]
    assert len({window(sizes[:at], ROOM) for at in range(150)}) > 2  # it has moved more than once
    for known in (1, 60, 117, 149):
        assert list(Player(steps(int8), plan(150), 7, Taste()).bars(whole[:known])) == whole[known:]
    assert list(Player(steps(int8), plan(5), 8, Taste()).bars()) != whole[:5]


def test_bars_have_their_tempo_and_end_and_decode() -> None:
    made = list(Player(steps(), plan(12), 3, Taste(1.3, 1.0)).bars())
    assert [bar[:2] for bar in made] == [[v.BAR_LINE, v.tempo(ask.tempo)] for ask in plan(12)]
    assert max(map(len, made)) <= MAX_BAR + 4
    score = decode([token for bar in made for token in bar])
    assert score.bars == 12
    assert {note.track for note in score.notes} <= {v.PIANO}


@pytest.mark.parametrize("takes", [1, 2])
def test_bars_come_again_at_their_own_tempo_and_are_heard_by_what_follows(takes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(zip(Player(steps(), plan(2), 1, Taste()).bars(), plan(2), strict=True))
    asks = [replace(ask, phrase=at // 6) for at, ask in enumerate(plan(12))]
    loaded, fed = steps(), list[int]()
    feed = loaded.feed
    monkeypatch.setattr(loaded, "feed", lambda tokens: fed.extend(tokens) or feed(tokens))
    heard = list(Player(loaded, asks, 3, Taste(), before, takes).bars())
    assert [bar[2:] for bar in heard[7:9]] == [bar[2:] for bar in heard[2:4]]
    assert heard[7][1] != heard[2][1]
    if takes == 1:
        assert fed == [token for bar in [*(bar for bar, _ in before), *heard] for token in bar]


def test_a_given_piece_is_read_first_and_not_counted() -> None:
    before = list(Player(steps(), plan(5), 1, Taste()).bars())
    read = list(zip(before, plan(5), strict=True))
    on = list(Player(steps(), plan(3), 2, Taste(), read).bars())
    assert len(on) == 3
    other = [(bar, Ask(told(40), None)) for bar in before]
    assert list(Player(steps(), plan(3), 2, Taste(), other).bars()) != on  # what is said of them is read with them
    assert on != list(Player(steps(), plan(3), 2, Taste()).bars())


def test_a_cancelled_job_stops_between_tokens() -> None:
    counted = count(1)

    def check() -> None:
        if next(counted) == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        list(Player(steps(), plan(9), 3, Taste()).bars(check=check))
    assert next(counted) == 6


def test_bars_that_repeat_make_the_next_one_warmer(monkeypatch: pytest.MonkeyPatch) -> None:
    tastes = list[float]()
    repeated = [v.BAR_LINE, v.tempo(3), v.beat(0), v.pitch(v.PIANO, 60), v.velocity(v.PIANO, 5), v.duration(v.PIANO, 4)]

    def watched(logits: np.ndarray, state: State, taste: Taste, random: np.random.Generator, cadence: Cadence | None) -> int:
        tastes.append(taste.temperature)
        return v.BAR_LINE

    monkeypatch.setattr(playing, "choose", watched)
    list(Player(steps(), plan(5), 3, Taste(), [(repeated, plan(1)[0])]).bars([repeated, repeated, repeated]))
    assert tastes == pytest.approx([1.0 + 3 * playing.WARMER, 1.0])


@given(st.lists(st.integers(2, MAX_BAR), max_size=80))
def test_the_window_leaves_room_for_a_bar_and_moves_seldom(sizes: list[int]) -> None:
    first, moved = window(sizes, ROOM)
    assert 0 <= first <= max(0, len(sizes) - 1)
    assert sum(sizes[first:]) <= full(ROOM)
    assert first < moved or first == moved == 0
    if moved:
        assert window(sizes[:moved], ROOM) == (first, moved)


def test_bars_of_a_score_are_read_as_they_are() -> None:
    made: list[Bar] = list(Player(steps(), plan(4), 3, Taste()).bars())
    score = decode([token for bar in made for token in bar])
    assert [token for bar in bars(score) for token in bar][:2] == made[0][:2]
