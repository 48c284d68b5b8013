from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.tasks import InvalidInput
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.grammar import START, State, allowed, follow
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.tokens import bars, decode, encode, windows
from moodmesh.tasks.music.notation.vocabulary import NUMBERS, Kind

from .pieces import scale, scores


@given(scores())
def test_a_score_survives_its_tokens(score: Score) -> None:
    tokens = encode(score)
    assert decode(tokens) == score
    assert encode(decode(tokens)) == tokens


def test_the_order_is_that_of_the_specification() -> None:
    low = "Pitch-Piano_36 Velocity-Piano_61 Duration-Piano_16"
    high = "Pitch-Piano_60 Velocity-Piano_81 Duration-Piano_2"
    names = f"Bar Tempo_120 Beat_0 {low} {high} Beat_2".split()
    assert [v.NAMES[token] for token in encode(scale())[: len(names)]] == names


def sampled(rng: np.random.Generator, size: int) -> list[int]:
    """Tokens drawn under the grammar alone, each kind as likely as another."""
    state, tokens = START, list[int]()
    while len(tokens) < size:
        may = np.flatnonzero(allowed(state))
        kinds = [v.meaning(int(token))[0] for token in may]
        kind = rng.choice(sorted(set(kinds)))
        tokens.append(int(rng.choice(may[[k == kind for k in kinds]])))
        state = follow(state, tokens[-1])
    return tokens


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, 120))
def test_whatever_is_sampled_decodes_and_encodes_the_same_from_then_on(seed: int, size: int) -> None:
    tokens = sampled(np.random.default_rng(seed), size)
    score = decode(tokens)
    assert decode(encode(score)) == score
    assert score.bars == sum(v.meaning(token)[0] == Kind.TEMPO for token in tokens)


@given(scores())
def test_the_grammar_allows_what_is_encoded_and_never_nothing(score: Score) -> None:
    state = START
    for token in [*encode(score), v.PAD, v.PAD]:
        mask = allowed(state)
        assert mask.shape == (v.SIZE,)
        assert mask[token]
        state = follow(state, token)


def test_every_state_leaves_a_way_on() -> None:
    last = v.pitch(v.STRINGS, v.HIGHEST)
    for state in (START, State(Kind.DURATION, v.STRINGS, 15, last), State(Kind.BEAT, 0, 15), State(Kind.PAD), State(Kind.EOS)):
        assert allowed(state).any()
    assert set(np.flatnonzero(allowed(State(Kind.DURATION, v.STRINGS, 15, last)))) == {v.EOS, v.BAR_LINE}
    with pytest.raises(ValueError, match="read-only"):
        allowed(START)[0] = True


@pytest.mark.parametrize(
    ("names", "place"),
    [
        ("Beat_0", 0),
        ("Bar Beat_0", 1),
        ("Bar Tempo_120 Pitch-Piano_60", 2),
        ("Bar Tempo_120 Beat_0 Bar", 3),
        ("Bar Tempo_120 Beat_0 Pitch-Piano_60 Velocity-Bass_1", 4),
        ("Bar Tempo_120 Beat_0 Pitch-Piano_60 Velocity-Piano_1 Duration-Piano_1 Pitch-Piano_60", 6),
        ("Bar Tempo_120 Beat_3 Pitch-Piano_60 Velocity-Piano_1 Duration-Piano_1 Beat_3", 6),
        ("Bar Tempo_120 EOS Bar", 3),
    ],
)
def test_what_the_grammar_forbids_is_named(names: str, place: int) -> None:
    with pytest.raises(InvalidInput, match=f"token {place} of the sequence"):
        decode([NUMBERS[name] for name in names.split()])


@pytest.mark.parametrize("token", [-1, 923, 10**9])
def test_a_number_that_is_no_token_is_refused(token: int) -> None:
    with pytest.raises(InvalidInput, match="token 0"):
        decode([token])


def test_a_sequence_that_was_cut_decodes_to_what_was_finished() -> None:
    tokens = encode(scale())
    for end in range(len(tokens)):
        assert (
            decode(tokens[:end]).notes == scale().notes[: max(0, sum(v.meaning(t)[0] == Kind.DURATION for t in tokens[:end]))]
        )


@given(scores(), st.integers(8, 200))
def test_windows_hold_whole_bars_in_order(score: Score, size: int) -> None:
    made = list(windows(score, size))
    wanted = [bar for bar in bars(score) if len(bar) <= size]
    assert all(len(window) == size and window.dtype == np.uint16 for window in made)
    flat = [int(token) for window in made for token in window if token not in (v.PAD, v.EOS)]
    assert flat == [token for bar in wanted for token in bar]
    for window in made:
        assert window[0] == v.BAR_LINE
        assert encode(decode(window.tolist()))[:-1] == [t for t in window if t not in (v.PAD, v.EOS)]
