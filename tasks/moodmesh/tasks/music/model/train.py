"""Training of the composers, resumable after any step (systems S17, S19).

    python -m moodmesh.tasks.music.model.train configs/training/music-attributes-tiny.toml --data DIR --out DIR

Goes on where the checkpoint in --out ends; SIGTERM writes one and ends. `log.jsonl` in --out says how it went.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.corpus.cache import passages
from moodmesh.tasks.music.corpus.sets import data_dir
from moodmesh.tasks.music.model import gmvae
from moodmesh.tasks.music.model.conditioned import ByAttributes, Unconditional
from moodmesh.tasks.music.model.decoder import SIZES
from moodmesh.tasks.music.model.examples import Source, Windows, sources
from moodmesh.tasks.music.model.gmvae import GMVAE, alarms
from moodmesh.tasks.music.model.recipe import Recipe, load_recipe

SAVE_EVERY_S = 300.0
WEIGHTS = "weights.safetensors"
DEV_WINDOWS = 64
DEV_EVERY = 0.1
"""Of the run, between two looks at dev."""
LOG_EVERY = 50
CPU = torch.device("cpu")
_STEPS = 10**9
"""More than any run has."""


@dataclass(frozen=True)
class Material:
    """What a run learns from and what it is looked at with; `labelled` has moods, and is what a GMVAE has besides: played as it
    was when it was labelled."""

    train: Windows
    dev: Windows
    labelled: Windows | None = None


def material(recipe: Recipe, root: Path, cache: Path, roles: split.Split) -> Material:
    """The windows of a recipe; dev is never varied and the same for every run."""
    drawn: dict[str, list[Source]] = {"train": [], "dev": []}
    for name in recipe.sets:
        held = passages(root, name, cache)
        for part, found in drawn.items():
            found += sources([one for one in held if roles[name][one.group] == part], whole=name != "emopia")
    dev = Windows(drawn["dev"], 0, vary=False)
    known = labelled(drawn["train"], recipe)
    if recipe.kind != "gmvae" or not known:
        return Material(Windows(drawn["train"], recipe.seed, recipe.vary), dev)
    rest = [replace(one, mood=None) for one in drawn["train"]]
    return Material(Windows(rest, recipe.seed, recipe.vary), dev, Windows(known, recipe.seed + 1, vary=False))


def labelled(found: Sequence[Source], recipe: Recipe) -> list[Source]:
    """The sources that have a label, with those labels that a recipe uses: of a share of the songs of each mood (a song counts
    where most of its clips do; one song at the least), by chance; scrambled among these if it says so. The others are here
    without: runs of any share hear the same music, and what they are told of it is all that differs (fewer labels weigh less in
    the loss, which is a mean over windows)."""
    random = np.random.default_rng(recipe.seed)
    known = [one for one in found if one.mood is not None]
    clips = Counter((one.song, one.mood) for one in known)
    mood_of = {song: mood for (song, mood), _ in sorted(clips.items(), key=lambda one: (one[1], str(one[0])))}
    chosen = set[str]()
    for mood in sorted(set(mood_of.values()), key=str):
        songs = sorted(song for song, its in mood_of.items() if its == mood)
        chosen |= set(random.permutation(songs)[: max(1, round(recipe.labels * len(songs)))].tolist())
    told = [place for place, one in enumerate(known) if one.song in chosen]
    order = random.permutation(told) if recipe.scrambled else told
    moods = dict(zip(told, (known[at].mood for at in order), strict=True))
    return [replace(one, mood=moods.get(place)) for place, one in enumerate(known)]


@dataclass(frozen=True)
class Batch:
    """Some windows as tensors, the batch as their first axis; `mood` is (arousal, valence) as 0, 1 or -1 for unknown."""

    tokens: Tensor
    spans: Tensor
    told: Tensor
    polyphony: Tensor
    minor: Tensor
    mood: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, one.name).to(device) for one in fields(self)))


def batch(windows: Windows, numbers: Sequence[int], length: int) -> Batch:
    """Windows of `length` tokens by their numbers."""
    drawn = [windows.draw(number, length) for number in numbers]
    arrays = [np.stack([getattr(one, name) for one in drawn]) for name in ("tokens", "spans", "told", "polyphony")]
    moods = [[-1, -1] if one.mood is None else [(one.mood[1] + 1) // 2, (one.mood[0] + 1) // 2] for one in drawn]
    tokens, spans, told, polyphony = (torch.from_numpy(array) for array in arrays)
    return Batch(tokens, spans, told, polyphony, torch.tensor([int(one.minor) for one in drawn]), torch.tensor(moods))


def composer(recipe: Recipe) -> nn.Module:
    """The untrained model of a recipe."""
    torch.manual_seed(recipe.seed)
    size = SIZES[recipe.size]
    match recipe.kind:
        case "unconditional":
            return Unconditional(size, recipe.dropout)
        case "attributes":
            return ByAttributes(size, recipe.dropout)
    return GMVAE(size, recipe.weights, recipe.dropout, recipe.token_drop)


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


def save_weights(model: nn.Module, file: Path) -> None:
    """All weights as fp16."""
    save_file({name: value.detach().half().cpu().contiguous() for name, value in model.state_dict().items()}, file)


def begin_with(model: nn.Module, file: Path) -> None:
    """Take over the decoder of a trained composer of the same size, but for how it reads its memory."""
    held = {name: value.float() for name, value in load_file(file).items() if name.startswith("decoder.")}
    wrong = model.load_state_dict({name: value for name, value in held.items() if ".memory." not in name}, strict=False)
    if wrong.unexpected_keys:
        raise ValueError(f"{file} holds a decoder of another kind: {wrong.unexpected_keys[0]}")


class Run:
    """One training run: model, optimisers and how many steps are done."""

    def __init__(
        self, recipe: Recipe, out: Path, compiled: bool, start: Path | None = None, device: torch.device = CPU
    ) -> None:
        self.recipe, self.out, self.step, self.seconds, self.device = recipe, out, 0, 0.0, device
        self.model = composer(recipe)
        if start:
            begin_with(self.model, start)
        self.model.to(device)
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
        save_weights(self.model, self.out / WEIGHTS)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one; ValueError when it is of another recipe."""
        if not self.checkpoint.exists():
            return
        state: dict[str, Any] = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["recipe"] != self.recipe.sha256:
            raise ValueError(f"{self.checkpoint} was made by another recipe: give another --out, or delete it")
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        for one, held in zip(self.optimisers, state["optimisers"], strict=True):
            one.load_state_dict(held)

    def train(self, given: Material) -> float:
        """One step; its loss. Chance is of (seed, step) alone: a run that goes on draws what it would have drawn."""
        recipe, halves = self.recipe, 1 + self.recipe.halved(self.step)
        torch.manual_seed(recipe.seed * _STEPS + self.step)
        count = recipe.batch * halves
        turn = given.labelled if self.step % recipe.labelled_every == 0 else None
        numbers, lost = range(recipe.first(self.step), recipe.first(self.step) + count), 0.0
        for part in range(recipe.accumulate):
            mine = numbers[part * count // recipe.accumulate : (part + 1) * count // recipe.accumulate]
            loss = self._loss(batch(turn or given.train, mine, recipe.length // halves), recipe.warm(self.step))
            loss = loss * (len(mine) / count)
            loss.backward()  # type: ignore[no-untyped-call]
            lost += loss.item()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        share = self.recipe.share(self.step)
        for group, rate in zip((group for one in self.optimisers for group in one.param_groups), self.rates, strict=True):
            group["lr"] = rate * share
        for one in self.optimisers:
            one.step()
            one.zero_grad()
        self.step += 1
        return lost

    def dev(self, windows: Windows) -> dict[str, float]:
        """The loss on the same windows of dev every time; of a GMVAE with the KL at its highest and the same draws of z, its
        terms, and what shows a collapse."""
        self.model.eval()
        size = self.recipe.batch
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(0)
            batches = [batch(windows, range(at, at + size), self.recipe.length) for at in range(0, DEV_WINDOWS, size)]
            if isinstance(self.model, GMVAE):
                found = self._mixture(self.model, [_for_gmvae(one.to(self.device)) for one in batches])
            else:
                found = {"dev": float(np.mean([self._loss(one, 1.0).item() for one in batches]))}
        self.model.train()
        return found

    def _mixture(self, model: GMVAE, batches: list[gmvae.Windows]) -> dict[str, float]:
        with torch.autocast(self.device.type, torch.bfloat16):
            terms = [model.terms(one) for one in batches]
            rows = [{"dev": model.objective(*pair, 1.0), **pair[0]} for pair in zip(terms, batches, strict=True)]
            return {name: float(np.mean([row[name].item() for row in rows])) for name in rows[0]} | alarms(model, batches)

    def _loss(self, given: Batch, warm: float) -> Tensor:
        given = given.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            match self.recipe.kind:
                case "unconditional":
                    return self.loss(given.tokens)
                case "attributes":
                    return self.loss(given.tokens, given.spans, given.told)
            return self.loss(_for_gmvae(given), torch.tensor(warm, device=self.device))


def _for_gmvae(given: Batch) -> gmvae.Windows:
    return gmvae.Windows(given.tokens, given.polyphony, given.minor, given.mood)


def work(run: Run, given: Material, stopped: Callable[[], bool], say: Callable[[dict[str, Any]], None]) -> None:
    """Train to the end of the recipe, or until stopped; a checkpoint every SAVE_EVERY_S and at the end."""
    recipe, losses, saved, began = run.recipe, list[float](), time.monotonic(), time.monotonic()
    look = max(1, round(DEV_EVERY * recipe.steps))
    before = run.seconds
    while run.step < recipe.steps and not stopped():
        losses.append(run.train(given))
        run.seconds = before + time.monotonic() - began
        if run.step % LOG_EVERY == 0 or run.step == recipe.steps:
            seen = run.step * recipe.batch * recipe.length
            line: dict[str, Any] = {"step": run.step, "of": recipe.steps, "tokens": seen, "loss": float(np.mean(losses))}
            losses.clear()
            say({**line, "tokens_per_s": round(seen / run.seconds)})
        if run.step % look == 0 or run.step == recipe.steps:
            say({"step": run.step, **run.dev(given.dev), "seconds": round(run.seconds)})
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
    parser.add_argument("--cache", type=Path, default=Path(".cache/music"), help="where prepared sets are kept")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoint and log go")
    parser.add_argument("--configs", type=Path, default=Path("configs"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", type=torch.device, help="where to compute, like cuda (default: a GPU where there is one)")
    parser.add_argument("--start", type=Path, help="the weights of a trained composer whose decoder this one begins with")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another value of the recipe, as TOML")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = load_recipe(args.recipe, args.set)
    if args.start:
        recipe = replace(recipe, start=hashlib.sha256(args.start.read_bytes()).hexdigest())
    given = material(recipe, data_dir(args.data), args.cache, split.load(args.configs))
    device = args.device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = Run(recipe, args.out, shutil.which("g++") is not None, args.start, device)
    run.resume()
    with until_told() as stopped, (args.out / "log.jsonl").open("a", encoding="utf-8") as log:

        def say(line: dict[str, Any]) -> None:
            print(json.dumps(line), file=log, flush=True)
            print(json.dumps(line), flush=True)

        say({"step": run.step, "recipe": asdict(recipe)})
        work(run, given, stopped, say)


if __name__ == "__main__":
    main()
