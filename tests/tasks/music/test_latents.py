"""What is asked of the latents of a GMVAE, on latents that do what they are told, and on a small random model."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from moodmesh.tasks.music.corpus.prepare import Passage
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.model import decoder
from moodmesh.tasks.music.model.gmvae import GMVAE, HIGH, LOW, Weights
from moodmesh.tasks.music.model.train import save_weights
from moodmesh.tasks.music.notation.features import Key
from moodmesh.tasks.music.notation.score import Score, transpose
from moodmesh.tasks.music.results import latents, transfers
from moodmesh.tasks.music.results.latents import Latents
from moodmesh.tasks.music.results.runs import Trained
from moodmesh.tasks.music.results.systems import MOODS
from moodmesh.tasks.music.rules.attributes import wanted
from moodmesh.tasks.music.rules.compose import compose

from .models import SMALL

SIZE = Weights().latent


class Obedient(Latents):
    """Latents of which a piece is known by: what is played with z is encoded as z; poly and mode lie apart along all of z."""

    @cached_property
    def model(self) -> Any:
        return SimpleNamespace(weights=Weights())

    @cached_property
    def pieces(self) -> dict[Score, Floats]:
        return {}

    def know(self, score: Score, z: Floats) -> None:
        self.pieces[score] = z

    def encode(self, score: Score) -> Floats:
        return self.pieces[score].copy()

    def play(self, z: Floats, seed: int) -> Score:
        made = compose(wanted(0.0, float(np.clip(z.mean(), -1, 1))), 8, 100 + seed)
        made = transpose(made, len(self.pieces) % 12)
        self.know(made, z)
        return made

    def likeliest(self, z: Floats) -> list[int]:
        return [int(row.mean() > 0) for row in z]

    def mean(self, axis: int, high: int) -> Floats:
        return np.full(SIZE, 0.8 if high else -0.8)


def obedient() -> Obedient:
    return Obedient(None, 8)  # type: ignore[arg-type]  # it has no run


def test_the_share_of_the_way_is_found_and_noise_goes_nowhere() -> None:
    random = np.random.default_rng(3)
    towards = random.normal(size=(40, 3))
    shown = {"towards": towards, "moved": np.column_stack([towards[:, 0] / 2, random.normal(size=40), -towards[:, 2]]),
             "kept": np.zeros((2, 40, 2)), "again": np.ones((40, 2)), "other": np.zeros((40, 2)), "alarm active": np.array(7.0),
             "right": np.column_stack([np.ones(6), np.repeat([1.0, 0.0], 3)]), "song": np.repeat([0.0, 1.0], 3)}  # fmt: skip
    found = latents.table(shown)
    half, none, back = found["exchange"].values()
    assert half == [0.5, 0.5, 0.5]
    assert none[1] < 0 < none[2]
    assert back[0] == -1.0
    assert found["alarms"] == {"active": 7.0}
    assert found["named"] == {"n": 6, "songs": 2, "poly": [1.0, 1.0, 1.0], "mode": [0.5, 0.0, 1.0]}


def test_labels_are_asked_for_in_music_that_no_composer_learned_from() -> None:
    held, clips, asked = obedient(), [], list[tuple[str, ...]]()
    for number, mood in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1), (1, -1)]):
        score = compose(wanted(*mood), 8, number)
        held.know(score, np.array([np.full(SIZE, mood[1]), np.full(SIZE, mood[0] if number < 4 else -mood[0])], float))
        clips.append(Passage("p", "all", f"song{number // 2}", mood, 0, score, Key(0, False), 0.0, ends=True))

    def pieces(*roles: str, sets: tuple[str, ...]) -> dict[str, list[Passage]]:
        asked.append((*roles, *sets))
        return {"emopia": [*clips, replace(clips[0], mood=None)]}

    right, song = latents.named(held, SimpleNamespace(pieces=pieces))  # type: ignore[arg-type]
    assert asked == [("judge", "emopia")]
    assert right.tolist() == [[1, 1], [1, 1], [1, 1], [1, 1], [1, 0]]
    assert song.tolist() == [0, 0, 1, 1, 2]


def test_pieces_follow_latents_that_are_exchanged() -> None:
    held, random = obedient(), np.random.default_rng(0)
    mine, donors = [], []
    for seed in range(12):
        for into in (mine, donors):
            level = float(random.uniform(-0.9, 0.9))
            into.append(compose(wanted(0.0, level), 8, 1000 + 2 * seed + (into is donors)))
            held.know(into[-1], np.full((2, SIZE), level))
    towards, moved = latents.exchanged(held, mine, donors)
    at = latents.MOVED.index("rhythm density")
    share = float((towards * moved).sum(0)[at] / (towards**2).sum(0)[at])
    assert 0.2 < share < 0.9  # half of the latents came from the donor
    mixed = [z for z in held.pieces.values() if np.ptp(z) > 0]
    assert [z[0, 0] for z in mixed] == [held.encode(donor)[0, 0] for donor in donors]  # the first half
    assert [z[1, -1] for z in mixed] == [held.encode(piece)[1, -1] for piece in mine]
    assert latents.statistics(Score((), (20,))).tolist() == [0, 0, 0]


def test_a_move_along_one_latent_leaves_the_other() -> None:
    held = obedient()
    piece = compose(wanted(0.6, 0.6), 8, 1)
    held.know(piece, np.stack([held.mean(0, HIGH), held.mean(1, LOW)]) + np.random.default_rng(1).normal(size=(2, SIZE)) / 9)
    far = compose(wanted(-0.6, -0.6), 8, 2)
    held.know(far, -held.encode(piece))
    kept, again, other = latents.parted(held, [piece, far])
    assert again == pytest.approx(np.ones((2, 2)))
    assert other == pytest.approx(-np.ones((2, 2)))
    assert kept[0, 0, 0] < -0.9  # from high to low
    assert kept[0, 0, 1] == pytest.approx(1.0)
    assert kept[1, 0, 1] < -0.9
    assert kept[1, 0, 0] == pytest.approx(1.0)


def test_transfer_by_latents_goes_from_the_likeliest_component_to_the_one_asked_for() -> None:
    held = obedient()
    piece = compose(wanted(0.6, 0.6), 8, 1)
    rest = np.random.default_rng(1).normal(size=(2, SIZE)) / 9
    held.know(piece, np.stack([held.mean(0, HIGH), held.mean(1, HIGH)]) + rest)
    for to, mood in enumerate(MOODS):
        made = transfers.by_latents(held)(piece, to, 5)
        asked = np.stack([held.mean(0, int(mood.arousal > 0)), held.mean(1, int(mood.valence > 0))])
        assert held.encode(made) == pytest.approx(asked + rest)


def test_content_is_whole_of_the_same_piece_and_little_of_another() -> None:
    piece, other = compose(wanted(0.6, 0.6), 8, 1), compose(wanted(-0.6, -0.6), 8, 2)
    assert transfers.content(piece, piece) == pytest.approx(np.ones(3))
    assert (transfers.content(piece, other) < 0.9).all()
    assert transfers.content(piece, transpose(piece, 1))[[1, 2]] == pytest.approx([1.0, 0.0])
    assert transfers.content(piece, Score((), (20,)))[[0, 2]].tolist() == [0.0, 0.0]
    half = Score(tuple(note for note in piece.notes if note.bar < 4 and note.onset + note.duration <= 64), piece.tempi)
    assert transfers.content(piece, half)[0] < 0.55, "what one of them leaves out is unlike the other"


def test_a_trained_file_is_encoded_played_and_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(decoder.SIZES, "tiny", SMALL)
    torch.manual_seed(1)
    model = GMVAE(SMALL, Weights())
    save_weights(model, tmp_path / "w.safetensors")
    held = Latents(Trained("GMVAE tiny", "gmvae-tiny", "gmvae", "tiny", file=tmp_path / "w.safetensors"), 4)
    z = held.encode(compose(wanted(0.6, 0.6), 8, 1))
    assert z.shape == (2, SIZE)
    assert held.likeliest(np.stack([held.mean(0, HIGH), held.mean(1, LOW)])) == [HIGH, LOW]
    assert held.play(z, 3) == held.play(z, 3)
    assert held.play(z, 3).bars == 4
