"""bench faults: many runs on several fleets at once, kept as they end so that a long bench may be done in steps."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from moodmesh.nodes.bench.checkpoint import add, resumed
from moodmesh.nodes.bench.faults.play import Play
from moodmesh.nodes.bench.faults.schedule import DEVICES, PACES, Action, schedule
from moodmesh.nodes.bench.faults.verdict import SECOND_STAGE, Breach, judge, watch
from moodmesh.nodes.bench.fleet import Fleet, FleetFailed
from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.cli.output import progress, say
from moodmesh.nodes.errors import UsageError

RUNS, QUICK_RUNS = 1000, 20
FLEETS = 4
RUNS_A_FLEET = 40
"""Then its daemons end, nobody may be left, and others begin with empty homes."""
CHECKPOINT = "bench-faults.jsonl"
KINDS = {"lost": "lost", "duplicate": "duplicates", "orphan": "orphans"}
"""Breaches with a figure of their own in the summary; `violations` counts all others."""


@dataclass
class Outcome:
    """One run, as the checkpoint keeps it."""

    seed: int
    seconds: float
    jobs: dict[str, int]
    breaches: list[dict[str, str]] = field(default_factory=list)
    kept: str = ""


class Bench:
    """Runs from seed to seed, each as `draw` says; failed homes go to `keep`.

    `patch`: statements that change each daemon first, for tests that this harness can fail.
    """

    def __init__(self, patch: str = "", keep: Path | None = None, draw: Callable[[int], list[Action]] = schedule) -> None:
        self._patch, self._keep, self._draw = patch, keep, draw
        self._lock = threading.Lock()

    def go(self, seeds: list[int], done: Callable[[Outcome], None], fleets: int = FLEETS) -> None:
        """Run every seed, `fleets` at a time; `done` hears of each, one call at a time."""
        left = iter(seeds)
        stop = threading.Event()

        def work() -> None:
            try:
                while not stop.is_set() and self._fleet(left, done):
                    pass
            except BaseException:
                stop.set()
                raise

        with ThreadPoolExecutor(min(fleets, len(seeds))) as workers:
            for future in [workers.submit(work) for _ in range(min(fleets, len(seeds)))]:
                future.result()

    def _fleet(self, left: Any, done: Callable[[Outcome], None]) -> bool:
        """One fleet from its first run to its end; False when there was no run left for it."""
        fleet: Fleet | None = None
        seed: int | None = None
        try:
            for number in count(1):
                with self._lock:
                    seed = next(left, None)
                if seed is None:
                    break
                fleet = fleet or self._fresh()
                outcome = self._one(fleet, seed, last=number == RUNS_A_FLEET)
                with self._lock:
                    done(outcome)
                if outcome.breaches or number == RUNS_A_FLEET:
                    return True
            return False
        finally:
            if fleet is not None:
                fleet.close()

    def _fresh(self) -> Fleet:
        fleet = Fleet(DEVICES, paces=PACES, patch=self._patch)
        try:
            for member in fleet.members.values():
                watch(member.home)
            fleet.start()
        except BaseException:
            fleet.close()
            raise
        return fleet

    def _one(self, fleet: Fleet, seed: int, last: bool) -> Outcome:
        began = time.monotonic()
        try:
            played = Play(fleet, seed).run(self._draw(seed))
            breaches, jobs = judge(fleet, played)
        except FleetFailed as error:
            breaches, jobs = [Breach("unlinked", str(error))], Counter()
        if last or breaches:
            breaches += [Breach("orphan", f"{left} is left when all daemons are down") for left in fleet.down()]
        outcome = Outcome(seed, round(time.monotonic() - began, 2), dict(jobs), [asdict(b) for b in breaches])
        if breaches:
            outcome.kept = str(self._kept(fleet, seed))
        return outcome

    def _kept(self, fleet: Fleet, seed: int) -> Path:
        """A copy of the homes of a run that failed."""
        kept = (self._keep or Path(tempfile.mkdtemp(prefix="moodmesh-faults-"))) / f"faults-{seed}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(fleet.root, kept, ignore=shutil.ignore_patterns("api.token", "identity"))
        return kept


def run(
    quick: bool, runs: int | None = None, seed: int | None = None, replay: int | None = None,
    out: Path | None = None, resume: bool = False,
) -> Report:  # fmt: skip
    """`runs` from `seed` on, or `replay` alone; with `resume` those that the checkpoint in `out` does not have yet."""
    if resume and out is None:
        raise UsageError("--resume needs --out DIR: the directory with the checkpoint of the bench that was broken off")
    checkpoint = out / CHECKPOINT if out is not None else None
    before = read(checkpoint) if resume and checkpoint is not None else []
    drawn = min((outcome.seed for outcome in before), default=random.SystemRandom().randrange(10**6))
    first = drawn if seed is None else seed
    wanted = [replay] if replay is not None else list(range(first, first + (runs or (QUICK_RUNS if quick else RUNS))))
    found = {outcome.seed: outcome for outcome in before if outcome.seed in wanted}
    todo = [s for s in wanted if s not in found]
    if replay is not None:
        say("\n".join(str(action) for action in schedule(replay)))
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        if not resume and replay is None:
            checkpoint.write_text("")
    with progress("faults") as bar:

        def done(outcome: Outcome) -> None:
            found[outcome.seed] = outcome
            if checkpoint is not None and replay is None:
                add(checkpoint, asdict(outcome))
            if outcome.breaches:
                say(f"{_told(outcome)}. Homes: {outcome.kept}")
            bar(
                len(found) / len(wanted),
                f"{10 * (10 * len(found) // len(wanted))} % of {len(wanted)} runs from seed {wanted[0]}",
            )

        if todo:
            Bench(keep=out).go(todo, done)
    return report(quick, [found[s] for s in wanted])


def read(checkpoint: Path) -> list[Outcome]:
    """The runs that a checkpoint keeps; a line that was cut off is none."""
    return [Outcome(**run) for run in resumed(checkpoint)]


def report(quick: bool, outcomes: list[Outcome]) -> Report:
    """What all runs came to."""
    found = Report("faults", quick)
    kinds = Counter(breach["kind"] for outcome in outcomes for breach in outcome.breaches)
    jobs = sum((Counter(outcome.jobs) for outcome in outcomes), Counter())
    found.rows.append({"what": "jobs", **{name.lower(): n for name, n in sorted(jobs.items())}})
    found.row("a run", [outcome.seconds for outcome in outcomes])
    failed = [outcome for outcome in outcomes if outcome.breaches]
    found.failed = bool(failed)
    found.notes += [_told(outcome) for outcome in failed]
    if jobs["FAILED"]:
        found.notes.append(
            "failed: what may run only once and was lost in the midst of it ends so, and says that (unknown_outcome)"
        )
    found.notes.append(f"seeds {outcomes[0].seed} to {outcomes[-1].seed}; reference: 0 of every breach is what is promised")
    found.summary = {
        "runs": len(outcomes),
        **{name: kinds[kind] for kind, name in KINDS.items()},
        "violations": sum(n for kind, n in kinds.items() if kind not in KINDS),
        **{name: jobs[name] for name in SECOND_STAGE},
    }
    return found


def _told(outcome: Outcome) -> str:
    what = "; ".join(f"{b['kind']}: {b['what']}" for b in outcome.breaches)
    return f"seed {outcome.seed} FAILED: {what}. Again: moodmesh bench faults --replay {outcome.seed}"
