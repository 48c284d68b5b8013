"""doctor: what is missing or broken on this device, and what mends it."""

from __future__ import annotations

from dataclasses import asdict

import typer

from moodmesh.nodes.cli.output import Json, columns, emit
from moodmesh.nodes.home import home


def add_to(app: typer.Typer) -> None:
    """Register the commands of this noun."""
    app.command()(doctor)


def doctor(json: Json = False) -> None:
    """Examine this device: network, files, engine, models. Exit code 1 when something is broken.

    Example: moodmesh doctor
    """
    from moodmesh.nodes.doctor.examine import examine

    findings = examine(home())
    bad = sum(finding.state == "broken" for finding in findings)

    def text() -> list[str]:
        rows = [(f.state, f.subject, f.detail, f.remedy) for f in findings]
        last = f"{bad} broken: the commands in the last column mend it" if bad else "nothing is broken"
        return [*columns(rows, ("", "what", "found", "what to do")), "", last]

    emit({"broken": bad, "findings": [asdict(finding) for finding in findings]}, json, text)
    raise typer.Exit(1 if bad else 0)
