"""What the commands print: data on stdout (a table, or JSON), talk and progress on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import typer

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_JSON_CONTROLS = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}  # JSON escapes those below 0x20 itself
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def emit(data: Any, as_json: bool, text: Callable[[], Sequence[str]]) -> None:
    """Print JSON, or the lines of `text`."""
    if as_json:
        print(json.dumps(data, ensure_ascii=False).translate(_JSON_CONTROLS))
    else:
        put("\n".join(text()))


def put(text: str) -> None:
    """Data for people. What a peer wrote cannot steer the terminal: control characters are shown as what they are."""
    print(text.translate(_CONTROLS), flush=True)


def say(line: str) -> None:
    """Talk."""
    print(line.translate(_CONTROLS), file=sys.stderr, flush=True)


def columns(rows: Sequence[Sequence[Any]], head: Sequence[str]) -> list[str]:
    """Aligned columns, the last one ragged."""
    table = [list(map(str, head)), *([("" if c is None else str(c)) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]


def ago(seconds: float) -> str:
    """A duration in one unit; none is negative, also where a clock was set back."""
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def interactive() -> bool:
    """Whether stderr is a terminal that moves."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def progress(title: str) -> Iterator[Callable[[float, str], None]]:
    """A bar on a terminal, a line for each new step otherwise. Call it with the share done and a few words."""
    if not interactive():
        told: list[str] = []

        def tell(share: float, words: str) -> None:
            if words and words not in told[-1:]:
                told[:] = [words]
                say(words)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, no_color="NO_COLOR" in os.environ or None)
    bars = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), console=console, transient=True
    )
    with bars as bar:
        line = bar.add_task(title, total=1.0)
        yield lambda share, words: bar.update(line, completed=share, description=(words or title)[:80].translate(_CONTROLS))
