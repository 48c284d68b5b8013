"""What the table is made from: pieces of every row, what is measured of them, likelihoods; kept on disk (evaluation §9)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.generate import CARDS as GENERATE
from moodmesh.tasks.music.generate.novelty import LINES
from moodmesh.tasks.music.judge import CARDS
from moodmesh.tasks.music.judge.gate import Nll
from moodmesh.tasks.music.judge.gates import FREE
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.tokens import decode, encode
from moodmesh.tasks.music.results import habits, latents, likelihoods, transfers
from moodmesh.tasks.music.results.figures import Arrays, Ear
from moodmesh.tasks.music.results.grams import Known
from moodmesh.tasks.music.results.real import Real
from moodmesh.tasks.music.results.runs import PLANNED, Planned, Trained, found
from moodmesh.tasks.music.results.systems import (
    FORMS,
    MOODS,
    REAL,
    SHUFFLED,
    TABLE,
    TAKES,
    System,
    labelled,
    trained,
    untrained,
)
from moodmesh.tasks.music.rules.moods import Mood
from moodmesh.tasks.tables import PredictionMissing

_PIECES = 4
"""Raised whenever what a row plays changes but for its weights: what was made before is made anew."""
_FIGURES = 5
"""Raised whenever measures, gates or probes change."""
GRID = (-0.8, -0.4, 0.0, 0.4, 0.8)
GRID_BARS, GRID_SEEDS = 8, 4
HELD = "held real music"
"""Real pieces of the sets that the shipped model learns from, of other groups; no moods are known of them."""


JUDGED = "real music of the judges' half"
"""Of EMOPIA: with HELD what structure statistics are compared with."""


@dataclass(frozen=True)
class Bench:
    """Where everything lies, and how much is made: `per` pieces a mood of `bars` bars; `windows` of dev a set."""

    real: Real
    runs: Path
    kept: Path
    per: int = 100
    bars: int = 16
    windows: int = 16

    @property
    def key(self) -> str:
        """Names what everything is made by but the weights: rules, judges, data, split, sizes."""
        said = [str((_PIECES, _FIGURES)), *(card.sha256 for card in CARDS.values()), *_chosen_by(), *self._learned]
        return hashlib.sha256(" ".join([*said, str((self.per, self.bars, self.windows))]).encode()).hexdigest()[:12]

    @cached_property
    def _learned(self) -> list[str]:
        """Hashes of what rows without weights are made of: the split and the sets."""
        files = [self.real.root / "music" / name / "index.csv" for name in ("emopia", "vgmidi", "pop909", "giantmidi")]
        return [split.sha256(split.load(self.real.configs)), *(hashlib.sha256(one.read_bytes()).hexdigest() for one in files)]

    def file(self, name: str) -> Path:
        """Where the figures of a row, or of a part named otherwise, lie."""
        return self.kept / f"generation-{re.sub('[^A-Za-z0-9]+', '-', name).strip('-')}-{self.key}.npz"

    def load(self, name: str, weights: str | None = None) -> Arrays | None:
        """What `keep` kept; None where it is not there, PredictionMissing where it is of other weights than those given."""
        if not self.file(name).exists():
            return None
        with np.load(self.file(name)) as held:
            arrays = {part: held[part] for part in held.files}
        made_by, _ = str(arrays.pop("weights")), arrays.pop("reference")
        if weights is not None and made_by != weights:
            raise PredictionMissing(
                f"{self.file(name).name} was made by other weights: run `moodmesh results generation --retrain`"
            )
        return {part: values.astype(np.float64) for part, values in arrays.items()}

    def weights_of(self, name: str) -> str:
        """The hash of the weights that the kept figures of a row were made by."""
        with np.load(self.file(name)) as held:
            return str(held["weights"])

    def reference_of(self, name: str) -> str:
        """The hash of the model whose surprise the gate asked when they were made; "" for the order-3 Markov model."""
        with np.load(self.file(name)) as held:
            return str(held["reference"])

    @cached_property
    def reference(self) -> Trained | None:
        """The unconditional model, whose surprise the gate asks as soon as its weights are there."""
        return next((run for run in found(self.runs)[0] if run.kind == "unconditional"), None)

    def keep(self, name: str, weights: str, make: Callable[[], Arrays]) -> None:
        """Make the figures of a row unless they are there, of the same weights and by the same reference model."""
        asked = self.reference.sha256 if self.reference else ""
        if self.file(name).exists() and (self.weights_of(name), self.reference_of(name)) == (weights, asked):
            return
        self.kept.mkdir(parents=True, exist_ok=True)
        new = self.file(name).with_suffix(".new.npz")
        arrays = {part: values.astype(np.float32) for part, values in make().items()}
        np.savez_compressed(new, allow_pickle=False, weights=np.array(weights), reference=np.array(asked), **arrays)
        new.replace(self.file(name))

    def of_moods(self, system: System, asked: Sequence[tuple[int, int]]) -> list[Score]:
        """The pieces of a row, for each (seed, quadrant)."""
        return self.pieces(system, "moods", [(MOODS[number], seed) for seed, number in asked], self.bars)

    def pieces(self, system: System, part: str, asked: list[tuple[Mood, int]], bars: int) -> list[Score]:
        """A piece for each (mood, seed), kept beside the prepared music, so that a stop loses little."""
        source = system.weights or self._learned
        named = f"{_PIECES} {system.name} {source} {part} {bars} {len(asked)} {_chosen_by()}"
        file = self.real.cache / "generation" / f"{hashlib.sha256(named.encode()).hexdigest()[:16]}.npz"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            made = [encode(system.pieces(mood, bars, seed)) for mood, seed in asked]
            new = file.with_suffix(".new.npz")
            np.savez_compressed(new, tokens=np.concatenate(made).astype(np.uint16), sizes=[len(one) for one in made])
            new.replace(file)
        with np.load(file) as held:
            ends = np.cumsum(held["sizes"])[:-1]
            return [decode(one.tolist()) for one in np.split(held["tokens"], ends)]


def _chosen_by() -> list[str]:
    """The hash of the selector that ships, if one does."""
    return [card.sha256 for name, card in GENERATE.items() if name == "music-selector"]


def mixed(bench: Bench) -> list[str]:
    """The planned rows whose kept figures are of more than one file of weights: a making that was stopped half-way."""

    def sources(one: Planned) -> set[str]:
        rows = [part for name in _rows_of(one) for part in (name, f"{name} grid", f"habits {name}")]
        parts = [*rows, f"nats {one.row}", f"latents {one.row}", f"transfer {one.row}"]
        return {bench.weights_of(name) for name in parts if bench.file(name).exists()}

    return [one.row for one in PLANNED if len(sources(one)) > 1]


def missing(bench: Bench) -> list[Planned]:
    """The rows without weights here and without kept figures."""
    return [one for one in found(bench.runs)[1] if not any(bench.file(name).exists() for name in _rows_of(one))]


def _rows_of(one: Planned) -> list[str]:
    return [one.row + form for form in (FORMS[one.size] if one.kind == "attributes" else ("",))]


def names(bench: Bench) -> list[tuple[str, str | None]]:
    """(row, hash of the weights that are here, None for a row without or whose weights are elsewhere), real music last."""
    made, absent = found(bench.runs)
    rows: list[tuple[str, str | None]] = [(name, one.sha256) for one in made for name in _rows_of(one)]
    rows += [(name, None) for one in absent for name in _rows_of(one) if bench.file(name).exists()]
    return [*rows, *((name, None) for name in UNTRAINED), (REAL, None)]


UNTRAINED = (
    TABLE,
    *(f"{TABLE}, takes {takes}" for takes in TAKES),
    f"{TABLE}, matched",
    "order-3 Markov",
    "in-key random",
    "atonal random",
    SHUFFLED,
)


def retrain(bench: Bench, say: Callable[[str], None]) -> None:
    """Make what is not there: pieces of each row, their figures, likelihoods, latents, transfers."""
    say("reading the prepared music ...")
    real, (runs, _) = bench.real, found(bench.runs)
    train = [one.score for pieces in real.pieces("train").values() for one in pieces]
    nll = likelihoods.surprise(bench.reference) if bench.reference else None
    ear = Ear(real.judges, real.gate(bench.bars, nll), {line: Known(train, line) for line in LINES})
    heard = cache(lambda: _unseen(bench, ear, nll))
    bench.keep(HELD, "", lambda: heard()[HELD])
    bench.keep(JUDGED, "", lambda: heard()[JUDGED])
    bench.keep(REAL, "", lambda: _of_real(bench, ear))
    systems = [*untrained(real), *(row for run in runs for row in trained(run))]
    for system in systems:
        say(f"{system.name} ...")
        bench.keep(system.name, system.weights, lambda system=system: _moods(bench, ear, system, nll))  # type: ignore[misc]
        if system.anywhere:
            bench.keep(f"{system.name} grid", system.weights, lambda system=system: _grid(bench, ear, system))  # type: ignore[misc]
    say("habits ...")
    habits.retrain(bench, systems, _asked(bench))
    likelihoods.retrain(bench, runs, say)
    latents.retrain(bench, runs, say)
    transfers.retrain(bench, ear, runs, say)


def _unseen(bench: Bench, ear: Ear, nll: Nll | None) -> dict[str, Arrays]:
    """The real music that the gate was fitted to, each piece at a gate that saw none of its group."""
    rows: dict[str, list[Arrays]] = {HELD: [], JUDGED: []}
    for gate, excerpts in bench.real.unseen(bench.bars, nll):
        for name, folds in rows.items():
            mine = [score for part, _, score in excerpts if (part in FREE) == (name == HELD)]
            folds.append(replace(ear, gate=gate).measured(mine))
    return {name: {part: np.concatenate([one[part] for one in folds]) for part in folds[0]} for name, folds in rows.items()}


def _moods(bench: Bench, ear: Ear, system: System, nll: Nll | None) -> Arrays:
    """Of a row whose kind the gate learned to refuse also `new` [n, 3]: what passes at a gate that never met it."""
    order = _asked(bench)
    pieces = bench.of_moods(system, order)
    found = ear.measured(pieces)
    if system.kind:
        gate = bench.real.gate(bench.bars, nll, system.kind)
        found["new"] = np.array([gate.inside(gate.measured(one)) if one.notes else [0.0] * 3 for one in pieces], np.float64)
    seeds, quadrants = np.array(order, np.float64).T
    return {**found, "seed": seeds, "quadrant": quadrants}


def _asked(bench: Bench) -> list[tuple[int, int]]:
    """(seed, quadrant) of each piece of a row."""
    return [(seed, number) for seed in range(bench.per) for number in range(len(MOODS))]


def _grid(bench: Bench, ear: Ear, system: System) -> Arrays:
    cells = [(Mood(v, a), seed) for seed in range(GRID_SEEDS) for v in GRID for a in GRID]
    found = ear.judged(bench.pieces(system, "grid", cells, GRID_BARS))
    return {**found, "asked": np.array([mood for mood, _ in cells])}


def _of_real(bench: Bench, ear: Ear) -> Arrays:
    found = labelled(bench.real, bench.bars)
    songs = {song: number for number, song in enumerate(sorted({song for _, song, _ in found}))}
    rows = ear.measured([score for _, _, score in found])
    return {**rows, "seed": np.array([songs[song] for _, song, _ in found]), "quadrant": np.array([q for q, _, _ in found])}
