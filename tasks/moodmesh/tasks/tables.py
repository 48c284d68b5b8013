"""What the results tables share: the command that makes one, the fields at its head, its check, the foot of its page."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from moodmesh.tasks import environment
from moodmesh.tasks.models import Card

Table = dict[str, Any]


class PredictionMissing(OSError):
    """What a table is computed from is not kept; the message names the command that makes it."""


def short(value: float) -> float:
    """A figure as tables keep it: four decimals."""
    return round(float(value), 4)


def head(name: str, schema: int, quick: bool, data: Sequence[Table], seeds: Table, models: dict[str, str]) -> Table:
    """The first fields (evaluation §9), the machine as it is now; `models`: the hash of each by name."""
    return {
        "table": name,
        "schema": schema,
        "quick": quick,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **environment.commit(Path.cwd()),
        "data": list(data),
        "seeds": seeds,
        "hardware": environment.hardware(),
        "software": environment.software(),
        "models": models,
    }


def origin(file: Path) -> Table:
    """When and where the figures of a stored table were made, for one that is computed from the same; nothing without one."""
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {field: held[field] for field in ("created", "commit", "dirty", "hardware", "software") if field in held}


def shas(cards: Mapping[str, Card]) -> dict[str, str]:
    """The hash of each model by name."""
    return {name: card.sha256 for name, card in cards.items()}


def file_hash(file: Path) -> str:
    """SHA-256 of one file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def hashes(files: Sequence[Path]) -> dict[str, str]:
    """Each file by its folder and name, with its hash."""
    return {file.parent.name + "/" + file.name: file_hash(file) for file in files}


def strays(stored: Table, computed: Table, key: Sequence[str], figure: str, interval: str) -> list[str]:
    """Rows (by the fields `key`) whose figure left its stored 95 % interval, as sentences."""
    old = {tuple(row[part] for part in key): row[interval] for row in stored["rows"]}
    lines = []
    for row in computed["rows"]:
        name = tuple(row[part] for part in key)
        low, high = old.get(name, (-np.inf, np.inf))
        if not low - 1e-4 <= row[figure] <= high + 1e-4:
            lines.append(f"{' '.join(name)}: {figure} is {row[figure]}, outside its stored interval {low} to {high}")
    return lines


def command(name: str, about: str | None, quick: str) -> argparse.ArgumentParser:
    """The options of every `moodmesh results` command; `quick`: what that option leaves out."""
    parser = argparse.ArgumentParser(prog=f"moodmesh results {name}", description=about)
    parser.add_argument("--data", metavar="DIR", help="the research data area (else MOODMESH_DATA)")
    parser.add_argument("--quick", action="store_true", help=f"{quick}; marked as such")
    parser.add_argument("--check", action="store_true", help="compare with the stored table instead of writing it")
    parser.add_argument("--json", action="store_true", help="last line: the summary as one JSON object")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--configs", type=Path, default=Path("configs/training"))
    return parser


def attempt(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """The exit code of `run`; 1 with the reason when it cannot run."""
    try:
        return run(args)
    except OSError as error:
        if args.json:
            print(json.dumps({"error": {"reason": type(error).__name__, "message": str(error)}}))
        print(f"cannot run: {error}", file=sys.stderr)
        return 1


def finish(
    args: argparse.Namespace,
    table: Table,
    page: str,
    check: Callable[[Table, Table], list[str]],
    draw: Callable[[Table, Path], None] = lambda table, file: None,
) -> int:
    """Check the stored table against this one, or store this one; show its page. The exit code: 1 when a figure strayed."""
    file = args.out / f"{table['table']}.json"
    wrong = check(json.loads(file.read_text(encoding="utf-8")), table) if args.check else []
    if not args.check and not args.quick:  # a quick table is to be looked at, not kept
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        file.with_suffix(".md").write_text(page, encoding="utf-8")
        draw(table, file.with_suffix(".svg"))
    print(page)
    for line in wrong:
        print(line, file=sys.stderr)
    if args.json:
        print(json.dumps({"table": table["table"], "quick": args.quick, "summary": table["summary"], "failed": wrong}))
    return 1 if wrong else 0
