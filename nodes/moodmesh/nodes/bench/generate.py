"""bench generate: how fast music is written: beside the bare onnxruntime loop, beside PyTorch, and over the mesh."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.demo.scene import Device, Scene
from moodmesh.nodes.demo.story import pair
from moodmesh.nodes.errors import UsageError
from moodmesh.tasks.models import ModelStore
from moodmesh.tasks.music.engine.playing import Ask, Player, full
from moodmesh.tasks.music.engine.sampling import Taste
from moodmesh.tasks.music.engine.steps import Steps
from moodmesh.tasks.music.generate import MusicGenerate
from moodmesh.tasks.music.generate.makers import unpacked
from moodmesh.tasks.music.rules.attributes import described, wanted
from moodmesh.tasks.music.rules.moods import EMOTIONS
from moodmesh.tasks.task import Variant

TOKENS = 1370
"""Tokens of 20 bars of POP909: the piece that is timed."""
MOOD, SEED, ROUNDS = "happy", 1, 5


def run(quick: bool) -> Report:
    """Every trained variant that is installed, as int8 and as fp32, then the mesh."""
    report, rounds = Report("generate", quick), 2 if quick else ROUNDS
    trained = [variant for variant in MusicGenerate.spec.variants if variant.card is not None]
    if not trained:
        raise UsageError("no trained composer is installed: this build has the rules alone, and nothing to be timed")
    shares, pieces, firsts, eager = [], dict[str, float](), dict[str, float](), list[float]()
    for variant in trained:
        made = _made(variant)
        for kind in ("int8", "fp32"):
            for threads in (1, 2):
                row = _row(variant, kind, threads, made, rounds)
                report.rows.append(row)
                shares.append(row["share_of_bare_loop"])
        slow = _eager(variant, made)
        report.rows.append({"what": f"{variant.name} PyTorch eager, fp32, 1 thread", "tokens_per_s": round(slow, 1)})
        eager.append(_rate(report, variant.name, "int8") / slow)
        for name, found in _mesh(variant, len(made), 1 if quick else 3).items():
            report.rows.append({"what": f"{variant.name} over the mesh, {name}", **found})
            if name == "warm":
                pieces[variant.name], firsts[variant.name] = found["piece_s"], found["first_bar_s"]
    best = trained[-1].name
    report.summary = {
        "share_of_bare_loop_min": min(shares),
        "tokens_per_s": {variant.name: _rate(report, variant.name, "int8") for variant in trained},
        "first_bar_s": firsts[best],
        "piece_s": pieces[best],
        "eager_ratio": round(min(eager), 2),
    }
    report.notes.append(f"{TOKENS} tokens are 20 bars of pop; a share or ratio compares medians of turns in one process")
    return report


def _rate(report: Report, variant: str, kind: str) -> float:
    found: float = next(row["tokens_per_s"] for row in report.rows if row["what"] == f"{variant} {kind}, 1 thread")
    return found


def _steps(variant: Variant, kind: str, threads: int) -> Steps:
    if kind == "int8":
        return Steps.load(_file(variant), threads)
    from moodmesh.tasks.music.model.ship import graphs

    return Steps(*graphs(_weights(variant), int8=False), threads)


def _file(variant: Variant) -> Path:
    assert variant.card is not None
    return ModelStore(Path("none")).path(variant.card)


def _weights(variant: Variant) -> Path:
    """The fp16 weights that the shipped graphs were made from."""
    return _file(variant).with_suffix(".safetensors")


def _plan(bars: int) -> list[Ask]:
    asked = wanted(*EMOTIONS[MOOD])
    return [Ask(tuple(described(asked, 8, closing=False)), 45)] * bars


def _made(variant: Variant) -> list[list[int]]:
    """The bars of a piece of at least TOKENS tokens."""
    made = list[list[int]]()
    for bar in Player(_steps(variant, "int8", 1), _plan(200), SEED, Taste()).bars():
        made.append(bar)
        if sum(map(len, made)) >= TOKENS:
            break
    return made


def _row(variant: Variant, kind: str, threads: int, made: list[list[int]], rounds: int) -> dict[str, Any]:
    """Turn by turn: the player, and the bare loop over as many tokens at the same places."""
    steps = _steps(variant, kind, threads)
    ours, bare, first = list[float](), list[float](), list[float]()
    count = 0
    for _ in range(rounds + 1):
        began, count = time.perf_counter(), 0
        for number, bar in enumerate(Player(steps, _plan(len(made)), SEED, Taste()).bars()):
            if number == 0:
                first.append(time.perf_counter() - began)
            count += len(bar)
        ours.append((time.perf_counter() - began) / count)
        bare.append(_bare(steps, made))
    share = statistics.median(b / o for b, o in zip(bare[1:], ours[1:], strict=True))
    rate = 1 / statistics.median(ours[1:])
    name = f"{variant.name} {kind}, {threads} thread{'s' * (threads > 1)}"
    return {
        "what": name, "tokens_per_s": round(rate, 1), "tokens_per_s_slowest": round(1 / max(ours[1:]), 1),
        "share_of_bare_loop": round(share, 3), "first_bar_s": round(statistics.median(first[1:]), 3),
        "piece_s": round(TOKENS / rate, 2), "peak_mb": _peak(variant, kind, threads),
    }  # fmt: skip


def _bare(steps: Steps, made: list[list[int]]) -> float:
    """Seconds a token of the session alone, fed the piece one token after the other, from the half on when it is full."""
    tokens = [token for bar in made for token in bar]
    steps.past = 0
    spent = 0.0
    for token in tokens:
        if steps.past == full(steps.room):
            steps.past //= 2
        began = time.perf_counter()
        steps.feed([token])
        spent += time.perf_counter() - began
    return spent / len(tokens)


def _peak(variant: Variant, kind: str, threads: int) -> float:
    """MB that a process of its own takes at most, which loads the variant and plays eight bars."""
    code = (
        "from moodmesh.nodes.bench import generate as g\n"
        f"v = g.MusicGenerate.spec.variant({variant.name!r})\n"
        f"list(g.Player(g._steps(v, {kind!r}, {threads}), g._plan(8), 1, g.Taste()).bars())\n"
        "print(g.resource.getrusage(g.resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return round(int(done.stdout) / 1024, 1)


def _eager(variant: Variant, made: list[list[int]]) -> float:
    """Tokens a second of the same weights in PyTorch, with caches as ours, one thread."""
    import torch

    from moodmesh.tasks.music.model.eager import EagerSteps
    from moodmesh.tasks.music.model.ship import composer

    torch.set_num_threads(1)
    steps = EagerSteps(composer(_weights(variant)))
    began = time.perf_counter()
    count = sum(len(bar) for bar in Player(steps, _plan(len(made)), SEED, Taste()).bars())
    return count / (time.perf_counter() - began)


def _mesh(variant: Variant, bars: int, rounds: int) -> dict[str, dict[str, float]]:
    """A piece from one daemon's request to another's last bar: the first job, and the median of those after."""
    settings = {"pool.kind": "process", "power.battery_floor": 0}
    scene = Scene({"phone": settings, "desktop": settings}, {})
    try:
        asker, worker = scene.devices.values()
        scene.wait("ready", lambda d: bool(d.client.get("status")["ready"]), 120)
        pair(asker, worker)
        for us, them in ((asker, worker), (worker, asker)):
            us.command("peers", "allow", them.name, "music.generate", "own.device")
        scene.wait("linked", lambda d: d.client.get("status")["linked"] == 1)
        times = [_piece(asker, worker, variant, bars) for _ in range(rounds + 1)]
    finally:
        scene.close()
    warm = {key: round(statistics.median(one[key] for one in times[1:]), 3) for key in times[0]}
    return {"cold": {key: round(value, 3) for key, value in times[0].items()}, "warm": warm}


def _piece(asker: Device, worker: Device, variant: Variant, bars: int) -> dict[str, float]:
    body = {"task": "music.generate", "params": {"emotion": MOOD, "bars": min(bars, 64)}, "seed": SEED}
    began, first, tokens = time.monotonic(), 0.0, 0
    job = asker.client.post("jobs", body={**body, "variant": variant.name, "on": worker.name})
    for part in asker.client.parts(job["id"]):
        first = first or time.monotonic() - began
        tokens += len(unpacked(part)[0])
    found = asker.client.get("jobs", job["id"])
    if found["status"] != "SUCCEEDED":
        raise UsageError(f"the piece was not made: {json.dumps(found['message'])}")
    seconds = time.monotonic() - began
    return {"first_bar_s": first, "piece_s": seconds, "tokens": float(tokens), "piece_s_for_1370": seconds * TOKENS / tokens}


__all__ = ["resource", "run"]
