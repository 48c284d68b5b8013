"""Pieces made by rule: they are whole, they show what was wanted, and each seed has its own."""

from __future__ import annotations

import io
from itertools import combinations, pairwise

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from moodmesh.tasks import InvalidInput
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import Key, key
from moodmesh.tasks.music.notation.midi import read, write
from moodmesh.tasks.music.notation.score import Note, Score, excerpt, joined
from moodmesh.tasks.music.notation.tokens import decode, encode
from moodmesh.tasks.music.rules.attributes import Attributes, distance, heard, wanted
from moodmesh.tasks.music.rules.compose import BARS, compose, composed
from moodmesh.tasks.music.rules.form import End, plan

Pair = tuple[Attributes, Score]
MOODS = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(lambda mood: wanted(*mood))
EXTREME = st.builds(
    Attributes,
    minor=st.booleans(),
    bpm=st.floats(30, 240),
    density=st.floats(0, 4),
    register=st.floats(21, 108),
    velocity=st.floats(1, 127),
    dynamics=st.floats(0, 64),
    articulation=st.floats(0, 1),
    polyphony=st.integers(0, 7),
)


@pytest.fixture(scope="module")
def grid() -> list[Pair]:
    """Two seeds of 8 bars at each of 25 moods."""
    steps = (-1.0, -0.5, 0.0, 0.5, 1.0)
    moods = [wanted(valence, arousal) for valence in steps for arousal in steps]
    return [(mood, compose(mood, 8, seed)) for mood in moods for seed in range(2)]


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Rank correlation, equal values sharing their mean rank."""

    def ranks(values: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        shared: np.ndarray[tuple[int], np.dtype[np.float64]] = (np.cumsum(count) - (count - 1) / 2)[place]
        return shared

    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("bpm", 0.99),
        ("density", 0.95),
        ("velocity", 0.95),
        ("dynamics", 0.9),
        ("register", 0.9),
        ("articulation", 0.8),
        ("polyphony", 0.5),
    ],
)
def test_what_is_heard_is_what_was_wanted(grid: list[Pair], name: str, least: float) -> None:
    found = [getattr(heard(score), name) for _, score in grid]
    assert spearman([getattr(mood, name) for mood, _ in grid], found) >= least


def test_it_is_heard_in_the_key_and_mode_it_was_made_in(grid: list[Pair]) -> None:
    assert np.mean([key(score).minor == mood.minor for mood, score in grid]) >= 0.95
    assert np.mean([key(score) == (Key(9, True) if mood.minor else Key(0, False)) for mood, score in grid]) >= 0.85


def test_a_piece_is_nearer_to_its_own_mood_than_to_one_far_away(grid: list[Pair]) -> None:
    calm, wild = wanted(0.5, -0.8), wanted(-0.5, 0.8)
    for mood, score in grid:
        if mood.bpm < 75:
            assert distance(heard(score), calm) < distance(heard(score), wild)
    assert np.mean([distance(mood, heard(score)) for mood, score in grid]) < 0.6


def whole(score: Score, bars: int) -> None:
    """No bar without notes, nothing outside the piano or over the end, and the same after tokens."""
    assert score.bars == bars
    assert {note.bar for note in score.notes} == set(range(bars))
    assert all(note.track == v.PIANO and note.beat + note.duration <= v.BAR for note in score.notes)
    assert decode(encode(score)) == score
    assert 0 <= heard(score).polyphony <= 7


@settings(max_examples=25, deadline=None)
@given(EXTREME | MOODS, st.integers(1, BARS), st.integers(-(2**40), 2**40))
def test_any_piece_is_whole_and_the_same_again(asked: Attributes, bars: int, seed: int) -> None:
    score = compose(asked, bars, seed)
    whole(score, bars)
    assert compose(asked, bars, seed) == score
    assert set(score.tempi) == {v.tempo_step(asked.bpm)}


@settings(max_examples=10, deadline=None)
@given(MOODS, st.integers(0, 1000))
def test_another_reader_finds_no_note_that_hangs(asked: Attributes, seed: int) -> None:
    score = compose(asked, 8, seed)
    data = write(score)
    assert read(data) == score
    sounding = set[int]()
    for track in mido.MidiFile(file=io.BytesIO(data)).tracks:
        for message in track:
            if message.type == "note_on" and message.velocity:
                assert message.note not in sounding
                sounding.add(message.note)
            elif message.type in ("note_on", "note_off"):
                sounding.remove(message.note)
    assert not sounding


def test_bars_come_in_order_one_at_a_time() -> None:
    asked = wanted(0.3, 0.2)
    bars = composed(asked, 12, 7)
    made = next(bars)
    assert (made.bars, made) == (1, excerpt(compose(asked, 12, 7), 0, 1))
    for bar in bars:
        made = joined(made, bar)
    assert made == compose(asked, 12, 7)


@pytest.mark.parametrize("bars", [0, -1, BARS + 1])
def test_a_length_it_cannot_make_is_refused_with_the_range(bars: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 64"):
        compose(wanted(0, 0), bars, 0)


def grams(notes: list[Note], size: int = 8) -> set[tuple[tuple[int, int], ...]]:
    """Runs of (interval to the next note, duration)."""
    steps = [(after.pitch - note.pitch, note.duration) for note, after in pairwise(notes)]
    return {tuple(steps[at : at + size]) for at in range(len(steps) - size + 1)}


@pytest.mark.parametrize("mood", [(0.5, -0.7), (0.8, 0.8), (-0.7, 0.7), (-0.7, -0.7)])
def test_pieces_of_different_seeds_share_few_turns(mood: tuple[float, float]) -> None:
    """Of all notes in order, and of the highest at each onset; over 12 seeds means up to .004 and .000, most .040 and .000."""
    pieces = [compose(wanted(*mood), 16, seed) for seed in range(6)]
    tops = [list({note.onset: note for note in score.notes}.values()) for score in pieces]
    for lines in (tops, [list(score.notes) for score in pieces]):
        own = [grams(line) for line in lines]
        shared = [len(one & other) / min(len(one), len(other)) for one, other in combinations(own, 2)]
        assert np.mean(shared) < 0.02
        assert max(shared) < 0.15


@pytest.mark.parametrize("minor", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_plan_has_phrases_that_return_and_end_on_the_tonic(minor: bool, seed: int) -> None:
    planned = plan(minor, 32, seed)
    assert [bar.place for bar in planned] == [0, 1, 2, 3] * 8
    assert [bar.end != End.NOTHING for bar in planned] == [False, False, False, True] * 8
    heads = {(bar.letter, bar.place): bar.chords for bar in planned if bar.place < 2}
    assert all(bar.chords == heads[bar.letter, bar.place] for bar in planned if bar.place < 2)
    assert planned[0].chords[0].name == planned[-1].chords[-1].name == ("i" if minor else "I")
    for bar in planned:
        if bar.end == End.OPEN:
            assert bar.chords[-1].name == "V"
    assert max(bar.again for bar in planned) >= 2


def tune(score: Score, bar: int) -> dict[int, int]:
    """The highest pitch at each place of a bar where a note begins; what lies below A4 is taken for accompaniment."""
    return {note.beat: note.pitch for note in score.notes if note.bar == bar and note.pitch >= 69}


@pytest.mark.parametrize("seed", range(4))
def test_a_phrase_that_returns_is_recognised_and_the_end_is_a_long_tonic(seed: int) -> None:
    score = compose(wanted(1.0, 0.3), 16, seed)
    planned = plan(False, 16, seed)
    last = max(note for note in score.notes if note.onset == max(n.onset for n in score.notes))
    assert last.pitch % 12 == 0
    assert last.duration >= 6
    opening = {bar.letter: number for number, bar in reversed(list(enumerate(planned))) if bar.place == 0}
    for number, bar in enumerate(planned):
        if bar.place == 0 and bar.again:
            first, later = (tune(score, at) for at in (opening[bar.letter], number))
            assert first == later != {}


@pytest.mark.parametrize("minor", [False, True])
def test_the_melody_leads_into_the_tonic_that_closes_a_phrase(minor: bool) -> None:
    leading = {8, 11} if minor else {11, 2}
    for seed in range(12):
        planned = plan(minor, 16, seed)
        made = list(composed(wanted(-0.5 if minor else 0.5, 0.2), 16, seed))
        closes = [at for at, bar in enumerate(planned) if bar.leads]
        assert closes
        for at in closes:
            last = max(made[at].notes, key=lambda note: (note.onset, note.pitch))
            assert last.pitch % 12 in leading
            assert min(abs(last.pitch - tonic) for tonic in range(0, 128) if tonic % 12 == (9 if minor else 0)) <= 2
