"""`moodmesh`: the stable command line (design §7). Exit codes: 0 ok, 1 failed, 2 usage, 3 no daemon, 4 refused."""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

import typer

from moodmesh.nodes.cli import demo, doctor, jobs, make, models, moods, node, peers, rooms
from moodmesh.nodes.cli.output import say
from moodmesh.nodes.errors import NodeError, explained
from moodmesh.nodes.home import home

app = typer.Typer(
    name="moodmesh",
    help="Your devices as one: they find each other, pair with a short code, and run each job on the most capable one.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for noun in (demo, node, doctor, peers, jobs, models, moods, rooms, make):
    noun.add_to(app)


def main() -> None:
    """Run one command; an error is one sentence on stderr (JSON with --json) and an exit code."""
    try:
        app(standalone_mode=True)
    except NodeError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(explained(error, home()))


def _fail(error: NodeError) -> NoReturn:
    if "--json" in sys.argv:
        print(json.dumps({"error": {"reason": getattr(error, "reason", type(error).__name__), "message": str(error)}}))
    say(f"moodmesh: {error}")
    sys.exit(error.exit_code)
