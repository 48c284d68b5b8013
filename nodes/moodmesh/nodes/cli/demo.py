"""demo, bench, results: what a newcomer and a sceptic run first."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from moodmesh.nodes.cli.output import Json, say
from moodmesh.nodes.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Register the commands of this noun."""
    app.command()(demo)


def demo(
    input: Annotated[Path | None, typer.Option("--input", help="A text to read instead of our diary page.")] = None,
    picture: Annotated[Path, typer.Option(help="Where the mood curve goes, as PNG.")] = Path("moodmesh-demo.png"),
    duty: Annotated[list[str] | None, typer.Option(help="Another throttle for a device, like laptop=1.0.")] = None,
    json: Json = False,
) -> None:
    """Three daemons on this machine find each other, pair, run a job on the best one, and survive its death.

    Example: moodmesh demo --input diary.txt
    """
    from moodmesh.nodes.demo.story import Story, page_of

    try:
        duties = {name: float(share) for name, share in (pair.split("=") for pair in duty or [])}
        page = page_of(input)
    except ValueError:
        raise UsageError("--duty takes NAME=SHARE, like laptop=1.0") from None
    except OSError as error:
        raise UsageError(f"cannot read {input}: {error.strerror}") from None
    found = Story(page, picture.absolute(), duties, told=say if json else print).run()
    if json:
        print(jsonlib.dumps(found))
    else:
        t = found["timings"]
        print(
            f"\nfound each other in {t['discovery_s']:.2f} s, paired in {t['pairing_s']:.2f} s each, "
            f"first line of the job after {t['submit_to_start_ms']:.0f} ms, all in {t['total_s']:.0f} s"
        )
