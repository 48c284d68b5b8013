"""The gate put to the test: real music by cross-fitting, kinds of false music seen and unseen, the controls of the results."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from moodmesh.tasks.music.judge import CARDS, export, gate, gates, negatives
from moodmesh.tasks.music.judge.controls import MOODS, atonal, in_key, shuffled
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.labelled import Labelled
from moodmesh.tasks.music.judge.markov import Markov
from moodmesh.tasks.music.judge.runner import FIGURES, Judge
from moodmesh.tasks.music.judge.ship import HERE, WAYS
from moodmesh.tasks.music.notation.score import Score

BARS = 8
"""Length of the pieces at the gate: most clips of EMOPIA have no 16 bars in one passage."""
OF_EACH = 40
"""Pieces of a control for each mood, and of a made-up kind for each fold."""


def second_judge(rows: Labelled, folder: Path) -> Judge:
    """A judge of VGMIDI's labels; its file stays in `folder`, since the set allows research only."""
    file = folder / "second.onnx"
    export.save(WAYS["base"].fit(rows.vectors(FIGURES["base"]), rows.high), file)
    return Judge(file, "base")


def gated(root: Path, cache: Path, configs: Path, vgmidi: Labelled) -> dict[str, Floats]:
    """[n, 3] what of real, nll and structure passes; of the controls also [n, 2] the chances by each judge."""
    given = gates.pieces(root, cache, configs, ("judge", "held"))
    mine = gates.pieces(root, cache, configs, ("train", "dev"))
    train = gates.pieces(root, cache, configs, ("train",))
    markov = negatives.reference([one for found in train.values() for one in found])
    made: dict[str, list[Floats]] = {}
    for name, row in _cross_fitted(given, mine, markov):
        made.setdefault(name, []).append(row)
    whole = gates.evaluation(given, BARS, markov)
    usual = gates.usual(mine)
    controls = {"in-key random": in_key(usual), "atonal random": atonal(usual), "bar-shuffled": shuffled(mine["emopia"])}
    with tempfile.TemporaryDirectory() as folder:
        judges = {name: Judge(HERE / "weights" / CARDS[f"music-judge-{name}"].file, name) for name in WAYS}
        judges["second"] = second_judge(vgmidi, Path(folder))
        for name, control in controls.items():
            played = [control(mood, BARS, 5000 + seed) for mood in MOODS for seed in range(OF_EACH)]
            made[f"control/{name}"] = [_passed(whole, piece) for piece in played]
            for judge, asked in judges.items():
                made[f"judged/{name}/{judge}"] = [asked.chances(piece) for piece in played]
    return {name: np.array(rows, np.float64) for name, rows in made.items()}


def _cross_fitted(given: gates.Pieces, mine: gates.Pieces, markov: Markov) -> Iterator[tuple[str, Floats]]:
    """Real pieces at gates that saw none of their group, and made-up ones at gates with and without their kind."""
    for number, (held, learn, band) in enumerate(gates.rounds(gates.cut(given, BARS))):
        scores, bands = [one[2] for one in learn], [one[2] for one in band]
        false = gates.made_up(scores, gates.usual(given), markov)
        whole = _fitted(scores, bands, false, markov, "")
        yield from ((f"real/{name}", _passed(whole, score)) for name, _, score in held)
        fresh = negatives.kinds([one[2] for one in held], gates.usual(mine), markov, BARS)
        for kind, make in fresh.items():
            without = _fitted(scores, bands, false, markov, kind)
            for seed in range(OF_EACH):
                piece = make(100_000 * (number + 1) + seed)
                yield f"kind/{kind}", _passed(whole, piece)
                yield f"unseen/{kind}", _passed(without, piece)


def _fitted(learn: list[Score], band: list[Score], false: dict[str, list[Score]], markov: Markov, without: str) -> gate.Gate:
    return gate.fit(learn, band, [piece for kind, found in false.items() if kind != without for piece in found], markov.nll)


def _passed(one: gate.Gate, piece: Score) -> Floats:
    return np.array(one.inside(one.measured(piece)), np.float64)
