"""Beats found in made-up performances whose beats are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moodmesh.tasks.music.corpus import beats, grid
from moodmesh.tasks.music.corpus.beats import Array
from moodmesh.tasks.music.notation.midi import Performance, performance, quantised, write

from .pieces import scale


def freely(bars: int = 16, jitter: float = 0.008, seed: int = 0) -> tuple[Performance, Array]:
    """A scale played with a tempo that drifts between 80 and 110, and the times of its beats."""
    rng = np.random.default_rng(seed)
    written = performance(write(scale(bars)))
    pace = 60 / (95 + 15 * np.sin(np.arange(bars * 4 + 4) / 9))
    times = np.concatenate([[0.7], 0.7 + np.cumsum(pace)])
    start, end = (np.interp(at, np.arange(len(times)), times) for at in (written.start, written.end))
    start = np.maximum(start + rng.normal(0, jitter, len(start)), 0)
    order = np.argsort(start)
    columns = {"start": start * 2, "end": end * 2, "pitch": written.pitch, "velocity": written.velocity, "track": written.track}
    as_recorded = {name: column[order] for name, column in columns.items()}
    return replace(written, **as_recorded, tempo_at=np.zeros(1), tempo=np.full(1, 120.0)), times[: bars * 4]


@pytest.mark.parametrize("seed", range(3))
def test_beats_and_bars_are_found_though_the_tempo_drifts(seed: int) -> None:
    played, truth = freely(seed=seed)
    start, end = played.seconds(played.start), played.seconds(played.end)
    found = beats.beats(beats.onsets(start, played.pitch, played.velocity))
    nearest = np.abs(found[:, None] - truth[None]).min(0)
    assert np.mean(nearest < 0.07) > 0.95
    first = beats.downbeat(found, start, end, played.pitch)
    assert np.abs(found[first::4, None] - truth[None, ::4]).min(0).mean() < 0.03


def test_a_free_performance_is_put_back_on_its_grid() -> None:
    played, _ = freely()
    assert grid.grid_error(played) > 0.2
    on_beats = grid.tracked(played)
    assert grid.grid_error(on_beats) < 0.06
    score = quantised(on_beats)
    wanted = scale(16)
    offset = score.notes[0].onset
    assert [(n.onset - offset, n.pitch) for n in score.notes] == [(n.onset, n.pitch) for n in wanted.notes]
    assert offset % 16 == 0
    assert score.seconds == pytest.approx(played.seconds(played.end).max() - 0.7, rel=0.1)


def test_notes_at_random_do_not_pass_for_music_on_a_grid() -> None:
    played, _ = freely()
    rng = np.random.default_rng(1)
    at = np.sort(rng.uniform(0, 80, len(played.start)))
    assert grid.grid_error(grid.tracked(replace(played, start=at, end=at + 0.5))) > 0.1


def test_what_is_written_on_a_grid_stays_on_it() -> None:
    played = performance(write(scale()))
    assert grid.on_a_grid(played) is played
    assert grid.grid_error(played) == 0


def test_annotated_beats_become_the_quarters() -> None:
    played, truth = freely(jitter=0.0)
    on_beats = grid.warped(played, truth, 0)
    assert grid.grid_error(on_beats) < 1e-3
    assert quantised(on_beats).notes == scale(16).notes
    late = quantised(grid.warped(played, truth[1:-1], 3))
    assert [n[:3] for n in late.notes] == [n[:3] for n in scale(16).notes]
    upbeat = quantised(grid.warped(played, truth, 3))
    assert upbeat.notes[0].onset == 4


def test_no_notes_have_no_error() -> None:
    played, _ = freely()
    assert grid.grid_error(grid.chosen(played, np.zeros(len(played.start), bool))) == 0
