"""Nats a token of dev by every composer, by set (evaluation §5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from moodmesh.tasks.music.judge.gate import Nll
from moodmesh.tasks.music.judge.gates import FREE, SETS
from moodmesh.tasks.music.judge.markov import Markov
from moodmesh.tasks.music.model.conditioned import ByAttributes, Unconditional
from moodmesh.tasks.music.model.decoder import SIZES
from moodmesh.tasks.music.model.examples import Window, Windows, sources
from moodmesh.tasks.music.model.gmvae import GMVAE, Weights
from moodmesh.tasks.music.model.likelihood import Nats, bound, by_mood, by_steps, by_torch, predicted
from moodmesh.tasks.music.notation.tokens import decode, windows
from moodmesh.tasks.music.notation.vocabulary import PAD
from moodmesh.tasks.music.results.real import Real
from moodmesh.tasks.music.results.runs import Trained
from moodmesh.tasks.music.results.systems import steps

if TYPE_CHECKING:
    from moodmesh.tasks.music.results.bench import Bench

LENGTH = 1024
MARKOV = "order-3 Markov"


def dev(real: Real, count: int) -> dict[str, list[Window]]:
    """`count` fixed windows of the dev part of each set."""
    made = {}
    for name, found in real.pieces("dev").items():
        drawn = Windows(sources(found, whole=name != "emopia"), 0, vary=False)
        made[name] = [drawn.draw(number, LENGTH) for number in range(count)]
    return made


def by_markov(markov: Markov) -> Nats:
    """Nats a token of a window; its first, a bar line, is not counted."""

    def nats(window: Window) -> float:
        tokens = window.tokens[window.tokens != PAD].tolist()
        return (markov.nll(tokens) * len(tokens) - markov.nll(tokens[:1])) / predicted(window)

    return nats


def surprise(run: Trained) -> Nll:
    """Nats a token of a piece by an unconditional run, in runs of whole bars of at most LENGTH tokens: what the gate asks."""
    model = loaded(run)
    assert isinstance(model, Unconditional)

    def nll(tokens: Sequence[int]) -> float:
        rows = list(windows(decode(tokens), LENGTH))
        counts = [int((row[1:] != PAD).sum()) for row in rows]
        with torch.inference_mode():
            tensors = [
                torch.from_numpy(row[: count + 1].astype(np.int64))[None] for row, count in zip(rows, counts, strict=True)
            ]
            each = [float(model(one)) for one in tensors]
        return float(np.average(each, weights=counts))

    return nll


def loaded(run: Trained) -> ByAttributes | Unconditional | GMVAE:
    """The model of a run on PyTorch, in evaluation mode."""
    size = SIZES[run.size]
    if run.kind == "gmvae":
        model: ByAttributes | Unconditional | GMVAE = GMVAE(size, Weights(latent=run.weights["means"].shape[2]))
    else:
        model = ByAttributes(size) if run.kind == "attributes" else Unconditional(size)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in run.weights.items()})
    return model.eval()


def ways(run: Trained) -> dict[str, Nats]:
    """How likely a run calls a window, by row."""
    model = loaded(run)
    if isinstance(model, GMVAE):
        return {f"{run.row}, -ELBO": bound(model), f"{run.row}, z from p(z given y)": by_mood(model)}
    if isinstance(model, Unconditional):
        return {run.row: by_torch(model)}
    return {f"{run.row}, fp32": by_torch(model), f"{run.row}, int8": by_steps(steps(run, int8=True))}


def retrain(bench: Bench, runs: Sequence[Trained], say: Callable[[str], None]) -> None:
    """Make what is not there."""
    held = dev(bench.real, bench.windows)
    say("likelihoods ...")
    bench.keep(f"nats {MARKOV}", "", lambda: measured(held, {MARKOV: by_markov(bench.real.markov)}))
    for run in runs:
        bench.keep(f"nats {run.row}", run.sha256, lambda run=run: measured(held, ways(run)))  # type: ignore[misc]


def measured(held: dict[str, list[Window]], by: dict[str, Nats]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """[sets + 2] nats a token of each row by SETS, then of the FREE together, which every composer learned from, and of all."""
    counts = {name: [predicted(window) for window in held[name]] for name in SETS}
    parts = [*((name,) for name in SETS), FREE, SETS]
    made = {}
    for row, nats in by.items():
        each = {name: [nats(window) for window in held[name]] for name in SETS}
        made[row] = np.array(
            [
                np.average(
                    np.concatenate([each[name] for name in part]), weights=np.concatenate([counts[name] for name in part])
                )
                for part in parts
            ]
        )
    return made
