"""bench roomfaults: epochs of one room, each judged after it, and whether the bytes of two epochs tell a device."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.bench.roomfaults.capture import told
from moodmesh.nodes.bench.roomfaults.linking import Found, compare
from moodmesh.nodes.bench.roomfaults.play import Play, Played
from moodmesh.nodes.bench.roomfaults.schedule import NAMES, schedule
from moodmesh.nodes.bench.roomfaults.town import Town
from moodmesh.nodes.bench.roomfaults.verdict import TWICE, Verdict, judge
from moodmesh.nodes.cli.output import progress, say

EPOCHS, QUICK_EPOCHS = 60, 8
MOST_UNOPENED = 1 / 6
PAIRED = 6
"""Of the devices; all others know nobody. Of 66 pairs of devices, 15 are paired."""


def play(
    seed: int, epochs: int, names: Sequence[str] = NAMES, paired: Collection[str] = NAMES[:PAIRED], patch: str = "",
    done: Callable[[Played, Verdict], None] = lambda played, verdict: None, keep: bool = False,
) -> tuple[list[tuple[Played, Verdict]], list[Found]]:  # fmt: skip
    """Every epoch with its verdict, and what links epochs of a device. `patch`: statements that change the daemons
    first; `keep`: the homes, if something was found."""
    town = Town(names, paired, patch)
    found: list[tuple[Played, Verdict]] = []
    try:
        for inside, plan in schedule(seed, epochs, names):
            if not found:
                town.open(inside)
            played = Play(town, inside, plan, seed).run()
            found.append((played, judge(town, played)))
            done(*found[-1])
        links = compare(told({name: (member.home, member.home_made.port) for name, member in town.members.items()}))
        if keep and (any(one.linked for one in links) or any(verdict.breaches for _, verdict in found)):
            say(f"the homes are kept in {_kept(town)}")
        return found, links
    finally:
        town.close()


def _kept(town: Town) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="moodmesh-roomfaults-")) / "homes"
    shutil.copytree(town.fleet.root, kept, ignore=shutil.ignore_patterns("api.token", "identity"))
    return kept


def run(quick: bool, runs: int | None = None, seed: int | None = None) -> Report:
    """`runs` epochs; `seed` draws what is done in each."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    epochs = runs or (QUICK_EPOCHS if quick else EPOCHS)
    say(f"seed {seed}")
    began = time.monotonic()
    with progress("roomfaults") as bar:
        count = 0

        def done(played: Played, verdict: Verdict) -> None:
            nonlocal count
            count += 1
            if verdict.breaches:
                say(f"epoch {played.plan.number} of seed {seed}: {'; '.join(verdict.breaches)}")
            bar(count / epochs, f"{10 * (10 * count // epochs)} % of {epochs} epochs of seed {seed}")

        found, links = play(seed, epochs, done=done, keep=True)
    return report(quick, seed, found, links, time.monotonic() - began)


def report(quick: bool, seed: int, found: list[tuple[Played, Verdict]], links: list[Found], seconds: float) -> Report:
    """What all epochs came to."""
    result = Report("roomfaults", quick)
    for played, verdict in found:
        result.rows.append({
            "epoch": played.plan.number, "outcome": verdict.outcome, "n": verdict.n, "of": verdict.contributors,
            "unchecked": verdict.unchecked, "seconds": played.seconds,
            "done": "; ".join(played.done) + ("; asked again" if played.plan.again else ""), "why": verdict.why,
            **({"breaches": verdict.breaches} if verdict.breaches else {}),
        })  # fmt: skip
    outcomes = Counter(verdict.outcome for _, verdict in found)
    breaches = [breach for _, verdict in found for breach in verdict.breaches]
    result.summary = {
        "epochs": len(found), **{name: outcomes[name] for name in ("opened", "aborted", "refused")},
        "violations": len(breaches), "charged_twice": sum(b.startswith(TWICE) for b in breaches),
        "linkable": sum(one.linked for one in links), "seed": seed,
    }  # fmt: skip
    few = outcomes["opened"] < len(found) * (1 - MOST_UNOPENED)
    result.failed = bool(breaches) or few or result.summary["linkable"] > 0
    result.notes = [
        *(f"epoch {p.plan.number}: {'; '.join(v.breaches)}" for p, v in found if v.breaches),
        f"{seconds / len(found):.1f} s an epoch; the same plan again: bench roomfaults --runs {len(found)} --seed {seed}",
        *(str(one) for one in links),
        "reference: 0 violations, at least five of six epochs opened",
    ]
    return result
