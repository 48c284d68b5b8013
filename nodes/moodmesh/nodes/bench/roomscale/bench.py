"""`moodmesh bench roomscale`: rooms of 10 to 1000 in one process, in virtual time; what each role costs in them."""

from __future__ import annotations

import gc
import random
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from moodmesh.nodes.bench import virtual
from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.bench.roomscale.picture import draw
from moodmesh.nodes.cli.output import progress
from moodmesh.nodes.demo.room.cast import SPAN_S, kind_for
from moodmesh.nodes.demo.room.moods import Simulated
from moodmesh.nodes.demo.room.net import GATHERER, MEMBER, RELAY, Net
from moodmesh.nodes.demo.room.twins import Lived, Twin, live
from moodmesh.nodes.rooms.model import create
from moodmesh.privacy.sums.committee import size

SIZES, QUICK = (10, 30, 100, 300, 1000), (10, 30, 100, 300)
REPEATS = {10: 5, 30: 5, 100: 2}
DROPOUTS = (0.0, 0.1)
EPOCH = 3_000_000
SEED = 1
COMMITTEE = "committee"
ROLES = (MEMBER, COMMITTEE, GATHERER, RELAY)


def run(quick: bool, out: Path | None = None) -> Report:
    """Fails when somebody reads a sum that is not of what its contributors released, or a whole room opens nothing."""
    report = Report("roomscale", quick)
    cells = [(n, share) for n in (QUICK if quick else SIZES) for share in DROPOUTS]
    once(10, 0.0, SEED)  # warms up what is compiled or allocated once
    with progress("roomscale") as bar:
        for done, (n, share) in enumerate(cells):
            bar(done / len(cells), f"{n} people, {share:.0%} vanish")
            report.rows.append(row(n, share, 1 if quick else REPEATS.get(n, 1)))
    whole = {r["n"]: r for r in report.rows if not r["dropouts"]}
    report.failed = not all(r["right"] for r in report.rows) or any(r["opened"] < 1 for r in whole.values())
    report.notes += [
        "milliseconds of processor time, of the steps of the protocol with noise and ledger; median of the repeats, "
        "mean of a role",
        f"committee: up to 64 people everybody is in it; {GATHERER}, {RELAY}: what that adds for the device, a member as well",
        "busiest_ms: the one device that did most, all its roles together",
        "result_s: virtual seconds from the wish (ambient: from when joining begins) until half of the people have "
        "read the sum: waits of the protocol alone, the network takes no time and neither do the processors",
        "bytes, messages: what one device of a role sends, without TLS; a gatherer and a relay send to everybody",
        "dropouts: a tenth of the people, each vanishing at a random moment of the run; 30 are too few then, and tell nothing",
        "opened: in how many of the repeats somebody read the sum; told: how many people did; right: of what was contributed",
    ]
    report.summary = {
        "right": not report.failed,
        "cpu_ms": {str(n): {role: r.get(f"{role}_ms") for role in (*ROLES, "busiest")} for n, r in whole.items()},
        "result_s": {str(n): r["result_s"] for n, r in whole.items()},
        "opened": {str(r["n"]): r["opened"] for r in report.rows if r["dropouts"]},
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        draw(list(whole.values()), (*ROLES, "busiest"), out / "bench-roomscale.svg")
    return report


def row(n: int, share: float, repeats: int) -> dict[str, Any]:
    """Some rooms of one size."""
    began = time.monotonic()
    found = [once(n, share, SEED + k) for k in range(repeats)]
    seconds = time.monotonic() - began
    kind = found[0]["kind"]
    right, why = all(one["right"] for one in found), Counter(w for one in found for w in one["why"])
    keys = dict.fromkeys(key for one in found for key in one["figures"])
    middle = {key: round(statistics.median(one["figures"][key] for one in found if key in one["figures"]), 2) for key in keys}
    return {
        "n": n, "kind": kind, "dropouts": share, "repeats": len(found), "committee": "{}, {}".format(*size(n)),
        "opened": sum(one["told"] > 0 for one in found) / len(found), "told": statistics.median(one["told"] for one in found),
        "right": right, **middle,
        "why_not": "; ".join(f"{w} ({count} devices)" for w, count in why.most_common(2)),
        "real_s": round(seconds / len(found), 1),
    }  # fmt: skip


def once(n: int, share: float, seed: int) -> dict[str, Any]:
    """One room in one epoch."""
    chance = random.Random(seed)  # noqa: S311 - who vanishes, nothing secret
    kind, eps = kind_for(n)
    crashes = {who: chance.uniform(0, SPAN_S[kind]) for who in chance.sample(range(1, n), round(share * n))}
    net, moods = Net(range(n)), Simulated(n, np.random.default_rng(seed)).after(0.0)
    with tempfile.TemporaryDirectory() as folder:
        twins = {i: Twin.new(Path(folder), i) for i in range(n)}
        gc.collect()
        gc.disable()  # a device has its own objects alone; here are those of all, and none should pay for looking through them
        try:
            lived = virtual.run(live(net, create("scale", kind, eps), EPOCH, twins, moods, crashes), virtual.VirtualLoop())
        finally:
            gc.enable()
    why = [reason.partition(":")[0] for who, reason in lived.why.items() if who not in crashes and who not in lived.opened]
    return {"kind": kind, "told": len(lived.opened), "right": lived.right(), "why": why, "figures": figures(net, lived, n)}


def figures(net: Net, lived: Lived, n: int) -> dict[str, float]:
    """By role: milliseconds, bytes and messages of the mean device that had it, those of whoever opened the sum or tried to."""
    first = next(iter(lived.opened.values()), None)
    seats = [] if first is None else [lived.keys[seat.e_pub] for seat in first.draw.roster.seats]
    everyone = set(range(n)) if size(n)[0] == n else set[int]()
    sitting = everyone if first is None else {seats[i] for i in first.draw.committee}
    found: dict[str, float] = {}
    for role in ROLES:
        held = GATHERER if role == GATHERER else RELAY if role == RELAY else MEMBER
        devices = [i for i, r in net.seconds if r == held and (held is not MEMBER or (i in sitting) == (role == COMMITTEE))]
        if devices:
            found[f"{role}_ms"] = 1000 * statistics.fmean(net.seconds[i, held] for i in devices)
            found[f"{role}_bytes"] = round(statistics.fmean(net.bytes[i, held] for i in devices))
            found[f"{role}_messages"] = round(statistics.fmean(net.messages[i, held] for i in devices), 1)
    found["busiest_ms"] = 1000 * max(sum(net.seconds.get((i, r), 0.0) for r in (MEMBER, GATHERER, RELAY)) for i in range(n))
    if lived.told_s:
        found["result_s"] = statistics.median(lived.told_s.values()) - lived.began_s
        found["contributors"] = 0 if first is None else len(first.contributors)
    return found
