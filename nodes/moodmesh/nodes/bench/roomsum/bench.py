"""`moodmesh bench roomsum`: rooms of 3 to 1000, a plain SecAgg and Flower's SecAgg+ beside them in the same run."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from math import comb
from pathlib import Path
from typing import Any

from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.bench.roomsum import flower as flower_script
from moodmesh.nodes.bench.roomsum import secagg
from moodmesh.nodes.bench.roomsum.room import CONTRIBUTE, HOLD, READ, RELAY, SETUP, Room, kind_of, thresholds
from moodmesh.nodes.cli.output import progress
from moodmesh.nodes.errors import UsageError

SIZES, QUICK = (3, 10, 30, 100, 1000), (3, 10, 100)
DROPOUTS = (0.0, 0.1, 0.2)
REPEATS = {3: 30, 10: 20, 30: 6, 100: 3, 1000: 1}
GOALS = {"against_prototype": 2.0, "member_vs_flower": 5.0, "busiest_vs_flower": 15.0}
PROTOTYPE = {
    (10, 2, 0.0): (None, 1.5, 0.3, 1.1, 1.3), (10, 64, 0.0): (None, 1.5, 0.9, 1.0, 1.1),
    (30, 2, 0.0): (None, 4.4, 0.5, 3.1, 4.2), (30, 64, 0.2): (None, 4.3, 1.2, 2.3, 2.4),
    (100, 2, 0.0): (5.7, 8.9, 0.4, 4.5, 5.5), (100, 64, 0.0): (5.3, 7.9, 1.8, 3.8, 5.1),
    (1000, 2, 0.0): (10.3, 47.0, 0.7, 10.4, 15.5), (1000, 64, 0.0): (10.1, 47.0, 2.4, 10.5, 17.8),
}  # fmt: skip
"""By n, d and dropouts: ms of set-up of a member and of the committee, of a member, the committee, a reader (room-mood §13)."""
COLUMNS = ("setup_ms", "setup_committee_ms", "contribute_ms", "committee_ms", "reader_ms")
MISSING = (
    "Flower is not there: `python -m venv flower && flower/bin/pip install flwr==1.41.0`, then `--flower flower/bin/python`"
)


def run(quick: bool, flower: Path | None = None) -> Report:
    """`flower`: a Python that has flwr, which needs other versions of other packages than Moodmesh does."""
    if flower is not None and not flower.exists():
        raise UsageError(f"--flower {flower}: there is no such Python")
    report, python = Report("roomsum", quick), flower or (Path(sys.executable) if importlib.util.find_spec("flwr") else None)
    cells = [(n, d, share) for n in (QUICK if quick else SIZES) for d in (2, 64) for share in _dropouts(n, quick)]
    Room(10, 2, 0)  # warms up what is compiled or allocated once
    secagg.measure(10, 2, 0)
    with progress("roomsum") as bar:
        for done, (n, d, share) in enumerate(cells):
            bar(done / len(cells), f"{n} people, d = {d}, {share:.0%} vanish")
            missing, repeats = round(share * n), 2 if quick and n < 100 else 1 if quick else REPEATS[n]
            report.rows.append(room_row(n, d, missing, repeats) | {"dropouts": share})
            compare(report.rows[-1], PROTOTYPE.get((n, d, share)))
            report.rows.append(secagg_row(n, d, missing, repeats) | {"dropouts": share})
            if d == 64 and (n < 1000 or not share):
                report.rows.append(flower_row(n, d, missing, python) | {"dropouts": share})
    report.failed = not all(row.get("right", True) for row in report.rows)
    report.notes += _notes(python)
    report.summary = summary(report.rows)
    return report


def _dropouts(n: int, quick: bool) -> tuple[float, ...]:
    """None where everybody is needed."""
    return (0.0,) if quick or thresholds(n)[1] == n else DROPOUTS


def room_row(n: int, d: int, missing: int, repeats: int) -> dict[str, Any]:
    """The medians of some rooms."""
    found = [figures(Room(n, d, missing)) for _ in range(repeats)]
    times = {key: round(statistics.median(one[key] for one in found), 2) for key in found[0] if key.endswith("_ms")}
    m, t = thresholds(n)
    return {
        "what": "room", "kind": kind_of(n), "n": n, "d": d, "committee": f"{m}, {t}",
        "stall": round(stall(n, missing, m, t), 4), **times, "up_bytes": found[0]["up_bytes"],
        "up_by_step": found[0]["up_by_step"], "right": all(one["right"] for one in found),
    }  # fmt: skip


def figures(room: Room) -> dict[str, Any]:
    """Milliseconds by role and bytes by step. A member sets up and contributes; the committee holds; everybody may read."""
    here, by_step = set(room.here), room.bytes_up()
    others = here - room.committee
    setup, contribute = room.mean_ms(SETUP, others or here), room.mean_ms(CONTRIBUTE, here)
    return {
        "setup_ms": setup, "setup_committee_ms": room.mean_ms(SETUP, here & room.committee), "contribute_ms": contribute,
        "committee_ms": room.mean_ms(HOLD, here), "reader_ms": room.mean_ms(READ, others or here),
        "relay_ms": room.mean_ms("relay", [RELAY]), "member_ms": setup + contribute, "busiest_ms": room.busiest_ms(),
        "up_bytes": sum(by_step[step] for step in ("join", "reveal", "shares")), "up_by_step": by_step, "right": room.right,
    }  # fmt: skip


def compare(row: dict[str, Any], prototype: tuple[float | None, ...] | None) -> None:
    """Add how many times the prototype's time the worst of ours is, and which."""
    if prototype is not None:
        ratios = {name: row[name] / was for name, was in zip(COLUMNS, prototype, strict=True) if was is not None}
        row["against_prototype"], row["worst"] = max((round(ratio, 2), name) for name, ratio in ratios.items())


def secagg_row(n: int, d: int, missing: int, repeats: int) -> dict[str, Any]:
    """The medians of some sums of the plain SecAgg."""
    found = [secagg.measure(n, d, missing) for _ in range(repeats)]
    return {
        "what": "plain SecAgg", "n": n, "d": d, "committee": "{}, {}".format(*secagg.GRAPH[n]),
        "member_ms": round(statistics.median(one.client_ms for one in found), 2),
        "busiest_ms": round(statistics.median(one.server_ms for one in found), 2),
        "up_bytes": found[0].up_bytes, "right": all(one.right for one in found),
    }  # fmt: skip


def flower_row(n: int, d: int, missing: int, python: Path | None) -> dict[str, Any]:
    """One sum of Flower's functions, in a process of their own."""
    row = {"what": "Flower SecAgg+", "n": n, "d": d, "committee": "{}, {}".format(*flower_script.PARAMETERS[n])}
    if python is None:
        return row | {"note": "not installed"}
    command = [str(python), str(flower_script.__file__), *map(str, (n, d, missing))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"{python} cannot run Flower: {done.stderr.strip().splitlines()[-1]}. {MISSING}")
    found = json.loads(done.stdout.splitlines()[-1])
    row |= {"member_ms": round(found["client_ms"], 2), "busiest_ms": round(found["server_ms"], 2)}
    row |= {"up_bytes": found["up_bytes"], "right": found["right"]}
    return row | ({"note": "server extrapolated from 102 clients"} if found["extrapolated"] else {})


def stall(n: int, missing: int, m: int, t: int) -> float:
    """How often so many missing of `n` leave fewer than `t` of a committee of `m`: hypergeometric, exactly."""
    return sum(comb(missing, k) * comb(n - missing, m - k) for k in range(m - t + 1, min(m, missing) + 1)) / comb(n, m)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Flower's time over ours at n = 100, d = 64, the least over the dropouts; what is worst against the prototype."""

    def ratio(key: str) -> float | None:
        at = {(row["what"], row["dropouts"]): row.get(key) for row in rows if (row["n"], row["d"]) == (100, 64)}
        theirs = {share: value for (what, share), value in at.items() if what == "Flower SecAgg+" and value}
        return round(min(value / (at["room", share] or 1) for share, value in theirs.items()), 1) if theirs else None

    worst = max((row["against_prototype"] for row in rows if "against_prototype" in row), default=None)
    found = {"member_vs_flower": ratio("member_ms"), "busiest_vs_flower": ratio("busiest_ms"), "against_prototype": worst}
    return {**found, "goals": GOALS, "rows": rows}


def _notes(python: Path | None) -> list[str]:
    return [
        "milliseconds of processor time; who vanishes does so after the draw, in SecAgg between shares and vector",
        "committee: holders, and how many open (SecAgg: neighbours, threshold); stall: how often the missing leave fewer",
        "member_ms = setup + contribute, keys and noise included; busiest: a device that gathers, relays, holds and reads",
        "d = 64 is 32 moods at once, in this benchmark only: rooms of people have d = 2 and refuse anything else",
        "SecAgg adds no noise, and has no signatures and no consistency check; its busiest node is the server",
        "the prototype's times are those of its own runs (room-mood §13), not of this one",
        *([] if python else [MISSING]),
    ]
