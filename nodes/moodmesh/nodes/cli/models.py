"""models: the weights of the tasks, which are here, and fetching one from a paired device."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from moodmesh.nodes.cli.client import Client, Unreachable
from moodmesh.nodes.cli.output import Json, columns, emit, progress
from moodmesh.nodes.errors import NodeError

models_app = typer.Typer(help="Model files: what they are, and whether they are here.", invoke_without_command=True)
Name = Annotated[str, typer.Argument(help="A model's name, as `moodmesh models list` shows it.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this noun."""
    app.add_typer(models_app, name="models")


@models_app.callback()
def models(context: typer.Context) -> None:
    """Without a command: the list."""
    if context.invoked_subcommand is None:
        list_()


@models_app.command("list")
def list_(json: Json = False) -> None:
    """Every model of the installed tasks.

    Example: moodmesh models list
    """
    found = Client().get("models")

    def text() -> list[str]:
        rows = [(m["name"], m["task"], m["variant"], _size(m), m["licence"], _where(m)) for m in found["models"]]
        return columns(rows, ("model", "task", "variant", "size", "licence", ""))

    emit(found, json, text)


@models_app.command()
def show(name: Name, json: Json = False) -> None:
    """The card of a model: data, training, quality, licence, hash.

    Example: moodmesh models show emotion-text-tiny
    """
    m = Client().get("models", name)

    def text() -> list[str]:
        return [
            f"{m['name']}  ({m['task']} {m['variant']}, {_size(m)}, {_where(m)})",
            f"  quality   {m['quality']}",
            f"  data      {'; '.join(m['data'])}",
            f"  training  {m['training']}",
            f"  licence   {m['licence']}",
            f"  sha256    {m['sha256']}",
        ]

    emit(m, json, text)


@models_app.command()
def pull(name: Name, json: Json = False) -> None:
    """Fetch a model file, by its hash, from a paired device that has it.

    Example: moodmesh models pull emotion-text-tiny
    """
    last: dict[str, Any] = {}
    with progress(f"fetching {name}") as moved:
        for event in Client().events("models", name, "pull", method="POST", body={}):
            last = event
            if event["event"] == "progress":
                moved(event["share"], "")
    if last.get("event") == "failed":
        raise NodeError(last["message"])
    if last.get("event") != "done":
        raise Unreachable("the daemon stopped in the middle of the fetch; run it again, it goes on where it was")
    emit(last, json, lambda: [f"{name}: fetched from {last['from']}" if last["from"] else f"{name} was here already"])


def _size(model: dict[str, Any]) -> str:
    return f"{model['bytes'] / 1e6:.1f} MB"


def _where(model: dict[str, Any]) -> str:
    return "here" if model["present"] else "not here"
