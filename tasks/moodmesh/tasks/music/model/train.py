"""Training of the composers, resumable after any step (systems S17, S19).

    python -m moodmesh.tasks.music.model.train configs/training/music-attributes-tiny.toml --data DIR --cache DIR --out DIR

Goes on where the checkpoint in --out ends; SIGTERM writes one and ends. `log.jsonl` in --out says how it went.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.corpus.cache import passages
from moodmesh.tasks.music.corpus.sets import data_dir
from moodmesh.tasks.music.model.conditioned import ByAttributes, Unconditional
from moodmesh.tasks.music.model.decoder import SIZES
from moodmesh.tasks.music.model.examples import Source, Windows, sources
from moodmesh.tasks.music.model.recipe import Recipe, load_recipe

SAVE_EVERY_S = 300.0
DEV_WINDOWS = 64
DEV_EVERY = 0.05
"""Of the run, between two looks at dev."""
LOG_EVERY = 50


@dataclass(frozen=True)
class Material:
    """What a run learns from and what it is looked at with."""

    train: Windows
    dev: Windows


def material(recipe: Recipe, root: Path, cache: Path, roles: split.Split) -> Material:
    """The windows of a recipe; dev is never varied and the same for every run."""
    drawn: dict[str, list[Source]] = {"train": [], "dev": []}
    for name in recipe.sets:
        held = passages(root, name, cache)
        for part, found in drawn.items():
            found += sources([one for one in held if roles[name][one.group] == part], whole=name != "emopia")
    return Material(
        Windows(drawn["train"], recipe.length, recipe.seed, recipe.vary), Windows(drawn["dev"], recipe.length, 0, vary=False)
    )


def batch(windows: Windows, numbers: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """(tokens, spans, told) of some windows."""
    drawn = [windows.draw(number) for number in numbers]
    return (
        torch.from_numpy(np.stack([one.tokens for one in drawn])),
        torch.from_numpy(np.stack([one.spans for one in drawn])),
        torch.from_numpy(np.stack([one.told for one in drawn])),
    )


def composer(recipe: Recipe) -> nn.Module:
    """The untrained model of a recipe."""
    torch.manual_seed(recipe.seed)
    size = SIZES[recipe.size]
    return Unconditional(size) if recipe.kind == "unconditional" else ByAttributes(size)


def optimisers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """One for the matrices of the layers where the recipe says Muon, and AdamW for the rest."""
    matrices = [value for name, value in model.named_parameters() if recipe.muon and ".layers." in name and value.ndim == 2]
    chosen = {id(value) for value in matrices}
    decayed = [value for value in model.parameters() if value.ndim == 2 and id(value) not in chosen]
    plain = [value for value in model.parameters() if value.ndim != 2 and id(value) not in chosen]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    made: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, recipe.rate, betas=(0.9, 0.95), fused=True)]
    if matrices:
        made.append(torch.optim.Muon(matrices, recipe.muon_rate, weight_decay=recipe.weight_decay))
    return made


class Run:
    """One training run: model, optimisers and how many steps are done."""

    def __init__(self, recipe: Recipe, out: Path, compiled: bool) -> None:
        self.recipe, self.out, self.step, self.seconds = recipe, out, 0, 0.0
        self.model = composer(recipe)
        self.optimisers = optimisers(self.model, recipe)
        self.rates = [group["lr"] for one in self.optimisers for group in one.param_groups]
        self.loss: Callable[..., Tensor] = torch.compile(self.model) if compiled else self.model
        out.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """Where it goes on from."""
        return self.out / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint; a stop half-way leaves the one before."""
        part = self.checkpoint.with_suffix(".part")
        state = {
            "recipe": self.recipe.sha256,
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimisers": [one.state_dict() for one in self.optimisers],
        }
        torch.save(state, part)
        part.replace(self.checkpoint)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one; ValueError when it is of another recipe."""
        if not self.checkpoint.exists():
            return
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        if state["recipe"] != self.recipe.sha256:
            raise ValueError(f"{self.checkpoint} was made by another recipe: give another --out, or delete it")
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        for one, held in zip(self.optimisers, state["optimisers"], strict=True):
            one.load_state_dict(held)

    def train(self, windows: Windows) -> float:
        """One step; its loss."""
        first = self.step * self.recipe.batch
        inputs = batch(windows, range(first, first + self.recipe.batch))
        loss = self._loss(inputs)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        share = self.recipe.share(self.step)
        for group, rate in zip((group for one in self.optimisers for group in one.param_groups), self.rates, strict=True):
            group["lr"] = rate * share
        for one in self.optimisers:
            one.step()
            one.zero_grad()
        self.step += 1
        return loss.item()

    def dev(self, windows: Windows) -> float:
        """Nats per token on the same windows of dev every time."""
        self.model.eval()
        size = self.recipe.batch
        with torch.inference_mode():
            losses = [self._loss(batch(windows, range(at, at + size))).item() for at in range(0, DEV_WINDOWS, size)]
        self.model.train()
        return float(np.mean(losses))

    def _loss(self, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        tokens, spans, told = inputs
        with torch.autocast("cpu", torch.bfloat16):
            return self.loss(tokens) if self.recipe.kind == "unconditional" else self.loss(tokens, spans, told)


def work(run: Run, given: Material, stopped: Callable[[], bool], say: Callable[[dict[str, Any]], None]) -> None:
    """Train to the end of the recipe, or until stopped; a checkpoint every SAVE_EVERY_S and at the end."""
    recipe, losses, saved, began = run.recipe, list[float](), time.monotonic(), time.monotonic()
    look = max(1, round(DEV_EVERY * recipe.steps))
    before = run.seconds
    while run.step < recipe.steps and not stopped():
        losses.append(run.train(given.train))
        run.seconds = before + time.monotonic() - began
        if run.step % LOG_EVERY == 0 or run.step == recipe.steps:
            seen = run.step * recipe.batch * recipe.length
            line: dict[str, Any] = {"step": run.step, "of": recipe.steps, "tokens": seen, "loss": float(np.mean(losses))}
            losses.clear()
            say({**line, "tokens_per_s": round(seen / run.seconds)})
        if run.step % look == 0 or run.step == recipe.steps:
            say({"step": run.step, "dev": run.dev(given.dev), "seconds": round(run.seconds)})
        if time.monotonic() - saved > SAVE_EVERY_S:
            run.save()
            saved = time.monotonic()
    run.save()


@contextlib.contextmanager
def until_told() -> Iterator[Callable[[], bool]]:
    """Says whether SIGTERM or SIGINT came."""
    told = list[int]()
    before = {
        number: signal.signal(number, lambda number, _: told.append(number)) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """Train one recipe; goes on where it was stopped."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", help="the research data area (default: MOODMESH_DATA)")
    parser.add_argument("--cache", type=Path, required=True, help="where prepared sets are kept")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoint and log go")
    parser.add_argument("--configs", type=Path, default=Path("configs"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, help="another length of the run")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = load_recipe(args.recipe, **({"tokens": args.tokens} if args.tokens else {}))
    given = material(recipe, data_dir(args.data), args.cache, split.load(args.configs))
    run = Run(recipe, args.out, compiled=shutil.which("g++") is not None)
    run.resume()
    with until_told() as stopped, (args.out / "log.jsonl").open("a", encoding="utf-8") as log:

        def say(line: dict[str, Any]) -> None:
            print(json.dumps(line), file=log, flush=True)
            print(json.dumps(line), flush=True)

        work(run, given, stopped, say)


if __name__ == "__main__":
    main()
