"""The parts of the demo of rooms that need no room: its people, its plan, its clock, its verdict."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from moodmesh.nodes.bench.roommood import annotated
from moodmesh.nodes.cli.main import app
from moodmesh.nodes.demo.room.cast import kind_for, late, moves, next_epoch
from moodmesh.nodes.demo.room.moods import Annotated, Simulated, mean
from moodmesh.nodes.demo.room.story import by_chance
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.rooms.model import create
from moodmesh.nodes.rooms.mood import SPREAD

CHANCE = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("people", "asked", "found"),
    [(3, None, ("circle", 0)), (4, None, ("circle", 0)), (5, None, ("on-demand", 4)), (13, None, ("on-demand", 4)),
     (14, None, ("on-demand", 2)), (29, None, ("on-demand", 2)), (30, None, ("ambient", 0)), (1000, None, ("ambient", 0)),
     (12, "circle", ("circle", 0)), (40, "on-demand", ("on-demand", 2))],
)  # fmt: skip
def test_so_many_people_have_such_a_room(people: int, asked: str | None, found: tuple[str, int]) -> None:
    assert kind_for(people, asked) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("people", "asked", "why"),
    [(2, None, "two people never get a room mood"), (-1, None, "two people"), (1001, None, "at most 1000"),
     (4, "on-demand", "at least 5"), (29, "ambient", "at least 30"), (13, "circle", "paired")],
)  # fmt: skip
def test_other_rooms_are_refused_with_the_reason(people: int, asked: str | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        kind_for(people, asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(("people", "kind"), [(3, "circle"), (5, "on-demand"), (12, "on-demand"), (40, "ambient")])
def test_everybody_who_goes_comes_back_and_the_first_person_stays(people: int, kind: str) -> None:
    for seed in range(20):
        here = set(range(people)) - set(late(people, kind))  # type: ignore[arg-type]
        seen: set[str] = set()
        for plan in moves(people, kind, 13, seed):  # type: ignore[arg-type]
            for move in plan:
                assert move.who != 0
                assert (move.who in here) == (move.what in ("leaves", "crashes"))
                (here.discard if move.who in here else here.add)(move.who)
                seen.add(move.what + " within" * move.within)
        assert seen == {"joins", "leaves", "crashes", "crashes within", "returns"}
        assert len(here) == people


def test_the_clock_moves_on_as_far_as_the_budgets_demand() -> None:
    room, charges, epochs = create("x", "on-demand", 4), [], [100]
    for _ in range(6):
        epoch, price, _ = next_epoch(room, 8, charges, epochs[-1])
        charges.append((epoch, price))
        epochs.append(epoch)
    assert [b - a for a, b in pairwise(epochs[1:])] == [6, 6, 6, 144 - 18, 6]
    ambient = create("x", "ambient")
    assert next_epoch(ambient, 30, [], 7)[::2] == (8, "")


def test_simulated_moods_spread_as_people_do_and_walk_slowly() -> None:
    moods = Simulated(400, CHANCE)
    first = moods.after(0.0)
    assert moods.after(0.0) == first
    assert np.std([p.valence for p in first]) == pytest.approx(SPREAD, rel=0.2)
    assert all(p.valence**2 + p.arousal**2 <= 1 + 1e-9 for p in moods.after(1000.0))
    steps = [mean(moods.after(1 / 6)).valence for _ in range(400)]
    assert 0.05 < np.std(np.diff(steps)) < 0.2
    assert np.std([mean(Simulated(50, CHANCE).after(1000.0)).valence for _ in range(200)]) < 0.6


def test_annotated_moods_are_of_people_or_of_rows_and_say_so(tmp_path: Path) -> None:
    va = np.full((6, 2, 600, 2), 5.0)
    va[:, 0, :, 0] += np.arange(6)[:, None] / 2
    va[:, 1] = 1.0
    np.savez(tmp_path / annotated.FILE, va10hz=va.astype(np.float16))
    few = Annotated(tmp_path, 5, np.random.default_rng(2))
    assert "different people, one video" in few.label
    told = [few.after(1.0) for _ in range(12)]
    blocks = [block for block in (told[:6], told[6:]) if block[0][0].arousal == 0]
    assert len(blocks) == 1  # one video after the other
    assert len({p.valence for p in blocks[0][0]}) == 5
    assert all(p.valence == pytest.approx(-(0.5**0.5)) for p in next(b for b in (told[:6], told[6:]) if b not in blocks)[0])
    many = Annotated(tmp_path, 20, CHANCE)
    assert "6 people x 2 videos, with replacement" in many.label
    assert len(many.after(1.0)) == 20
    with pytest.raises(UsageError, match="no annotations"):
        Annotated(tmp_path / "nowhere", 5, CHANCE)


def test_how_many_misses_are_chance() -> None:
    assert by_chance(0, 6) == pytest.approx(1)
    assert by_chance(1, 6) == pytest.approx(1 - 0.95**6)
    assert by_chance(2, 6) > 1e-2
    assert by_chance(4, 6) < 1e-4


def test_the_options_of_the_page_come_before_room_and_those_of_a_room_after_it() -> None:
    shown = CliRunner().invoke(app, ["demo", "room", "--help"]).output
    assert "--people" in shown
    assert "--input" not in shown
    for words, why in (
        (["demo", "--picture", "x.png", "room"], "come after that word"),
        (["demo", "room", "--people", "2"], "two people never"),
        (["demo", "room", "--picture", "/nowhere/x.png"], "make it first"),
        (["demo", "--input", "/nowhere/x.txt"], "cannot read"),
    ):
        found = CliRunner().invoke(app, words)
        assert isinstance(found.exception, UsageError)
        assert why in str(found.exception)
