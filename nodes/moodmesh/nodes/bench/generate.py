"""bench generate: how fast music is written: beside the bare onnxruntime loop, beside PyTorch, and over the mesh."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.cli.make import MOST_BARS
from moodmesh.nodes.demo.scene import Device, Scene
from moodmesh.nodes.demo.story import pair
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.pool.seam import Part, Work
from moodmesh.nodes.pool.session import Session
from moodmesh.tasks.models import ModelStore
from moodmesh.tasks.music.engine.playing import Ask, Player, full
from moodmesh.tasks.music.engine.sampling import Taste
from moodmesh.tasks.music.engine.steps import Stepping, Steps
from moodmesh.tasks.music.generate import MusicGenerate
from moodmesh.tasks.music.generate.composers import WEARY
from moodmesh.tasks.music.generate.makers import unpacked
from moodmesh.tasks.music.rules.attributes import described, wanted
from moodmesh.tasks.music.rules.moods import EMOTIONS
from moodmesh.tasks.task import Variant

TOKENS = 1370
"""Tokens of 20 bars of POP909: the piece that is timed."""
MOOD, SEED, ROUNDS = "happy", 1, 5
TASTE = Taste(weary=WEARY)
"""As what ships plays."""


def run(quick: bool) -> Report:
    """Every trained variant that is installed, as int8 and as fp32, then the mesh."""
    report, rounds = Report("generate", quick), 2 if quick else ROUNDS
    trained = [variant for variant in MusicGenerate.spec.variants if variant.card is not None]
    if not trained:
        raise UsageError("no trained composer is installed: this build has the rules alone, and nothing to be timed")
    shares, pieces, firsts, eager = [], dict[str, float](), dict[str, float](), list[float]()
    for variant in trained:
        bars = _bars(variant)
        for kind in ("int8", "fp32"):
            for threads in (1, 2):
                row = _row(variant, kind, threads, bars, rounds)
                report.rows.append(row)
                shares.append(row["share_of_bare_loop"])
        slow = _eager(variant, 8 if quick else bars, rounds)
        report.rows.append(slow)
        eager.append(slow["fp32_by_eager"])
        for name, found in _mesh(variant, _enough(variant, bars), 1 if quick else 3).items():
            report.rows.append({"what": f"{variant.name} over the mesh, {name}", **found})
            if name == "warm":
                pieces[variant.name], firsts[variant.name] = found["piece_s"], found["first_bar_s"]
    best = trained[-1].name
    report.summary = {
        "share_of_bare_loop_min": min(shares),
        "tokens_per_s": {variant.name: _rate(report, variant.name, "int8") for variant in trained},
        "first_bar_s": firsts[best],
        "piece_s": pieces[best],
        "eager_ratio": min(eager),
    }
    report.notes += [
        f"{TOKENS} tokens are 20 bars of pop; a share or ratio is the median over turns in one process, the first left out",
        "share_of_bare_loop: one session.run_with_iobinding a token, of the same graph and the same tokens at the same places",
        "eager_ratio: PyTorch eager and our engine with the same fp32 weights, one thread; the least of the variants",
        f"over the mesh: from the request to the result, of a piece of at least {TOKENS} tokens (`tokens`; `scaled` where the "
        "longest that may be asked for has fewer: its seconds are then those of the piece by its tokens); cold is the first "
        "job of a daemon after it came up, its pool of processes; with Ray, the default where it is installed, the first job "
        "waits some seconds more for Ray",
    ]
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


def _bars(variant: Variant) -> int:
    """How many bars of it, as int8, have TOKENS tokens."""
    bars, tokens = 0, 0
    for bar in Player(_steps(variant, "int8", 1), _plan(200), SEED, TASTE).bars():
        bars, tokens = bars + 1, tokens + len(bar)
        if tokens >= TOKENS:
            break
    return bars


def _row(variant: Variant, kind: str, threads: int, bars: int, rounds: int) -> dict[str, Any]:
    """Turn by turn: the player, and the bare loop over the very tokens that it has just played, at the same places."""
    steps, alone = _steps(variant, kind, threads), _steps(variant, kind, threads)
    ours, shares, first = list[float](), list[float](), list[float]()
    for _ in range(rounds + 1):
        took, until_first, made = _played(steps, bars)
        ours.append(took)
        first.append(until_first)
        runs = 1 - len(made) / sum(map(len, made))  # the two tokens that a bar begins with: one run of ours, two of the loop
        shares.append(runs * _bare(alone, made) / took)
    share = statistics.median(shares[1:])
    rate = 1 / statistics.median(ours[1:])
    name = f"{variant.name} {kind}, {threads} thread{'s' * (threads > 1)}"
    return {
        "what": name, "tokens_per_s": round(rate, 1), "tokens_per_s_slowest": round(1 / max(ours[1:]), 1),
        "share_of_bare_loop": round(share, 3), "first_bar_s": round(statistics.median(first[1:]), 3),
        "seconds_for_1370": round(TOKENS / rate, 2), "resident_mb": _resident(variant, kind, threads),
    }  # fmt: skip


def _played(steps: Stepping, bars: int) -> tuple[float, float, list[list[int]]]:
    """(seconds a token, seconds until the first bar, the bars) of a piece."""
    began, made, first = time.perf_counter(), list[list[int]](), 0.0
    for bar in Player(steps, _plan(bars), SEED, TASTE).bars():
        first = first or time.perf_counter() - began
        made.append(bar)
    return (time.perf_counter() - began) / sum(map(len, made)), first, made


def _bare(steps: Steps, made: list[list[int]]) -> float:
    """Seconds a token of the session alone, fed the piece one token after the other, from the half on when it is full.

    All is bound once, to memory that numpy shares: between two runs three numbers are written.
    """
    token, last, places = np.zeros((1, 1), np.int64), np.zeros(1, np.int32), np.zeros(1, np.int32)
    steps.remember(_plan(1)[0].told)
    session, bound = steps.alone()
    for name, array in (("tokens", token), ("last_place", last), ("places", places)):
        bound.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    path, past = list[tuple[int, int]](), 0
    for one in (token for bar in made for token in bar):
        past = past // 2 if past == full(steps.room) else past
        path.append((one, past))
        past += 1
    began = time.perf_counter()
    for token[0, 0], last[0] in path:
        places[0] = last[0] + 1
        session.run_with_iobinding(bound)
    return (time.perf_counter() - began) / len(path)


def _resident(variant: Variant, kind: str, threads: int) -> float:
    """MB that a process of its own has taken, which loads the variant and plays eight bars."""
    code = (
        "import psutil\nfrom moodmesh.nodes.bench import generate as g\n"
        f"v = g.MusicGenerate.spec.variant({variant.name!r})\n"
        f"list(g.Player(g._steps(v, {kind!r}, {threads}), g._plan(8), 1, g.TASTE).bars())\n"
        "print(psutil.Process().memory_info().rss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return round(int(done.stdout) / 1e6, 1)


def _eager(variant: Variant, bars: int, rounds: int) -> dict[str, Any]:
    """Turn by turn, one thread: the same fp32 weights in PyTorch, with caches as ours, and in our engine."""
    import torch

    from moodmesh.tasks.music.model.eager import EagerSteps
    from moodmesh.tasks.music.model.ship import composer

    torch.set_num_threads(1)
    eager, steps = EagerSteps(composer(_weights(variant))), _steps(variant, "fp32", 1)
    turns = [(_played(eager, bars)[0], _played(steps, bars)[0]) for _ in range(rounds + 1)][1:]
    return {
        "what": f"{variant.name} PyTorch eager, fp32, 1 thread",
        "tokens_per_s": round(1 / statistics.median(slow for slow, _ in turns), 1),
        "fp32_by_eager": round(statistics.median(slow / fast for slow, fast in turns), 2),
    }


def _enough(variant: Variant, bars: int) -> int:
    """How many bars of the task have TOKENS tokens, from so many on; the most that may be asked for where none have."""
    session = Session({MusicGenerate.spec.name: MusicGenerate()}, ModelStore(Path("none")).path)
    for count in range(min(bars, MOST_BARS), MOST_BARS + 1, 2):
        parts = list[bytes]()
        work = Work("once", MusicGenerate.spec.name, variant.name, {"emotion": MOOD, "bars": count}, seed=SEED)
        session.run(work, lambda event, parts=parts: parts.append(event.data) if isinstance(event, Part) else None)  # type: ignore[misc]
        if _tokens(parts) >= TOKENS:
            return count
    return MOST_BARS


def _tokens(parts: Iterable[bytes]) -> int:
    """Of the bars that a job has told."""
    return sum(len(unpacked(part)[0]) for part in parts)


def _mesh(variant: Variant, bars: int, rounds: int) -> dict[str, dict[str, float]]:
    """A piece from one daemon's request to its result from another: the first job, and the median of those after."""
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
    warm = {key: round(statistics.median(one.get(key, 0.0) for one in times[1:]), 3) for key in times[-1]}
    return {"cold": {key: round(value, 3) for key, value in times[0].items()}, "warm": warm}


def _piece(asker: Device, worker: Device, variant: Variant, bars: int) -> dict[str, float]:
    body = {"task": "music.generate", "params": {"emotion": MOOD, "bars": bars}, "seed": SEED}
    began, first, parts = time.monotonic(), 0.0, list[bytes]()
    job = asker.client.post("jobs", body={**body, "variant": variant.name, "on": worker.name})
    for part in asker.client.parts(job["id"]):
        first = first or time.monotonic() - began
        parts.append(part)
    found = asker.client.get("jobs", job["id"])
    if found["status"] != "SUCCEEDED":
        raise UsageError(f"the piece was not made: {json.dumps(found['message'])}")
    seconds = time.monotonic() - began
    return {"first_bar_s": first, **_whole(seconds, _tokens(parts))}


def _whole(seconds: float, tokens: int) -> dict[str, float]:
    """The seconds of a piece of TOKENS tokens or more; of a shorter one they are scaled, and that is said."""
    if tokens >= TOKENS:
        return {"piece_s": seconds, "tokens": float(tokens)}
    return {"piece_s": seconds * TOKENS / tokens, "tokens": float(tokens), "scaled": 1.0}
