"""What the latents of a GMVAE hold: collapse, exchange between pieces, and what a mood moves (systems S17, S18)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from moodmesh.tasks.music.judge import measures
from moodmesh.tasks.music.judge.gates import cut
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.structure import NAMES, structure
from moodmesh.tasks.music.model.gmvae import AXES, GMVAE, HIGH, LOW, alarms
from moodmesh.tasks.music.model.likelihood import given
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.tokens import windows
from moodmesh.tasks.music.results import likelihoods
from moodmesh.tasks.music.results.figures import Arrays
from moodmesh.tasks.music.results.real import Real
from moodmesh.tasks.music.results.runs import Planned, Trained
from moodmesh.tasks.music.results.systems import memory_of, played, remembering
from moodmesh.tasks.tables import Table, short

if TYPE_CHECKING:
    from moodmesh.tasks.music.results.bench import Bench

PAIRS = 24
"""Pairs of pieces that exchange latents, and pieces that change their mood; six playings a pair, of a second or two each."""
MOVED = ("pitch range", "polyphony", "rhythm density")
"""What must follow the latents."""
_DRAWS = 2000


@dataclass(frozen=True)
class Latents:
    """A GMVAE to encode with and to play on."""

    run: Trained
    bars: int

    @cached_property
    def model(self) -> GMVAE:
        """On PyTorch."""
        model = likelihoods.loaded(self.run)
        assert isinstance(model, GMVAE)
        return model

    def encode(self, score: Score) -> Floats:
        """[2, latent] the mean of q(z | x) of the first window of a piece."""
        tokens = torch.from_numpy(next(windows(score)).astype(np.int64))[None]
        with torch.inference_mode():
            return np.asarray(self.model.encode(tokens)[0][0].numpy(), np.float64)

    def play(self, z: Floats, seed: int) -> Score:
        """A piece that is played with z in mind."""
        weights = self.run.weights
        return played(remembering(weights, self.run.size, memory_of(weights, z)), self.bars, seed)

    def likeliest(self, z: Floats) -> list[int]:
        """[2] the component of each axis that z belongs to."""
        with torch.inference_mode():
            posterior = self.model.posterior(torch.from_numpy(z[None].astype(np.float32)))
        return [int(one) for one in posterior[0].argmax(-1)]

    def mean(self, axis: int, high: int) -> Floats:
        """[latent] of a component."""
        return np.asarray(self.run.weights["means"][axis, high], np.float64)


def retrain(bench: Bench, runs: Sequence[Trained], say: Callable[[str], None]) -> None:
    """Make what is not there."""
    for run in (one for one in runs if one.kind == "gmvae"):
        say(f"latents: {run.row} ...")
        bench.keep(f"latents {run.row}", run.sha256, lambda run=run: probed(run, bench))  # type: ignore[misc]


def probed(run: Trained, bench: Bench) -> Arrays:
    """All figures of a run: `alarm` of each name, `right` and `song` of `named`; unless it is a fraction, `towards` and `moved`
    of `exchanged`, and `kept`, `again` and `other` of `parted`."""
    latents = Latents(run, bench.bars)
    found = [given(window) for part in likelihoods.dev(bench.real, bench.windows).values() for window in part]
    with torch.inference_mode():
        said = alarms(latents.model, found)
    right, song = named(latents, bench.real)
    shown = {f"alarm {name}": np.array(value) for name, value in said.items()} | {"right": right, "song": song}
    if run.fraction:
        return shown
    pieces = [score for _, _, score in cut(bench.real.pieces("dev"), bench.bars, 2)]
    order = np.random.default_rng(0).permutation(len(pieces))[: 2 * min(PAIRS, len(pieces) // 2)]
    mine, donors = ([pieces[at] for at in part] for part in np.split(order, 2))
    towards, moved = exchanged(latents, mine, donors)
    cosines = dict(zip(("kept", "again", "other"), parted(latents, mine), strict=True))
    return {**shown, "towards": towards, "moved": moved, **cosines}


def named(latents: Latents, real: Real) -> tuple[Floats, Floats]:
    """Of every labelled clip of the judges' half, which no composer knows: [clips, 2] whether q(y | x) names its arousal and
    its valence, and [clips] the number of its song."""
    clips = [one for one in real.pieces("judge", sets=("emopia",))["emopia"] if one.mood is not None and one.score.notes]
    songs = {song: number for number, song in enumerate(sorted({one.group for one in clips}))}
    found = np.array([latents.likeliest(latents.encode(one.score)) for one in clips])
    asked = np.array([[one.mood[1] > 0, one.mood[0] > 0] for one in clips if one.mood])
    return np.asarray(found == asked, np.float64), np.array([songs[one.group] for one in clips], np.float64)


def exchanged(latents: Latents, mine: Sequence[Score], donors: Sequence[Score]) -> tuple[Floats, Floats]:
    """[pairs, 3] how far the MOVED statistics of a donor lie from those of a piece, and how far they move when the first half
    of its latents is the donor's; both played with one seed. What is compared shares no chance: donors are as they are."""
    half = latents.model.weights.latent // 2
    towards, moved = [], []
    for seed, (piece, donor) in enumerate(zip(mine, donors, strict=True)):
        z, other = latents.encode(piece), latents.encode(donor)
        swapped = np.concatenate([other[:, :half], z[:, half:]], axis=1)
        plain, new = (statistics(latents.play(one, seed)) for one in (z, swapped))
        towards.append(statistics(donor) - statistics(piece))
        moved.append(new - plain)
    return np.array(towards), np.array(moved)


def statistics(score: Score) -> Floats:
    """[3] by MOVED; 0 where nothing is to be heard."""
    if not score.notes:
        return np.zeros(len(MOVED))
    return np.asarray(structure(score)[[NAMES.index(name) for name in MOVED]])


def parted(latents: Latents, mine: Sequence[Score]) -> tuple[Floats, Floats, Floats]:
    """[2, pieces, 2] cosine by latent between the encodings of two pieces played before and after the axis is moved from its
    lower to its higher component, and [pieces, 2] of two played with the same latents by other chance (what could be kept at
    the most), and of a piece and the next one, which has other latents (what is alike by chance)."""
    kept = np.zeros((2, len(mine), 2))
    again = np.zeros((len(mine), 2))
    plain = []
    for seed, piece in enumerate(mine):
        z = latents.encode(piece)
        before = latents.encode(latents.play(z, seed))
        plain.append(before)
        again[seed] = _cosine(before, latents.encode(latents.play(z, len(mine) + seed)))
        for axis in range(len(AXES)):
            moved = z.copy()
            apart = latents.mean(axis, HIGH) - latents.mean(axis, LOW)
            away = np.sign((z[axis] - (latents.mean(axis, HIGH) + latents.mean(axis, LOW)) / 2) @ apart)
            moved[axis] -= away * apart
            kept[axis, seed] = _cosine(before, latents.encode(latents.play(moved, seed)))
    other = np.array([_cosine(one, plain[(seed + 1) % len(plain)]) for seed, one in enumerate(plain)])
    return kept, again, other


def _cosine(one: Floats, other: Floats) -> NDArray[np.float64]:
    """[2] by latent."""
    return np.asarray((one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1) + 1e-9))


def tables(bench: Bench, runs: Sequence[Planned]) -> dict[str, Table]:
    """By row, of the runs that were probed."""
    found = {run.row: bench.load(f"latents {run.row}") for run in runs}
    return {row: table(held) for row, held in found.items() if held is not None}


def table(found: Arrays) -> Table:
    """The collapse alarms; how much of the way to its donor a piece goes, with interval; cosines by moved and read latent."""
    said = {name.removeprefix("alarm "): short(float(value)) for name, value in found.items() if name.startswith("alarm ")}
    labels = {"n": len(found["right"]), "songs": len(set(found["song"]))} | _named(found["right"], found["song"])
    if "moved" not in found:
        return {"alarms": said, "named": labels}
    return {
        "alarms": said,
        "named": labels,
        "exchange": {name: _slope(found["towards"][:, n], found["moved"][:, n]) for n, name in enumerate(MOVED)},
        "kept": {
            moved: {read: short(found["kept"][a, :, b].mean()) for b, read in enumerate(AXES)} for a, moved in enumerate(AXES)
        },
        **{beside: {read: short(found[beside][:, b].mean()) for b, read in enumerate(AXES)} for beside in ("again", "other")},
        "pairs": len(found["moved"]),
    }


def _named(right: Floats, song: Floats) -> Table:
    """By axis the mean and its bootstrap interval over songs."""
    between = measures.interval(measures.drawn(right, [str(one) for one in song]))
    return {axis: [short(value) for value in (right[:, n].mean(), *between[n])] for n, axis in enumerate(AXES)}


def _slope(towards: Floats, moved: Floats) -> list[float]:
    """Share of the way that is gone, by least squares, with its bootstrap interval over pairs."""
    draws = np.random.default_rng(0).integers(len(moved), size=(_DRAWS, len(moved)))
    slopes = (towards[draws] * moved[draws]).sum(1) / (towards[draws] ** 2).sum(1)
    middle = float((towards * moved).sum() / (towards**2).sum())
    return [short(value) for value in (middle, *np.quantile(slopes, [0.025, 0.975]))]
