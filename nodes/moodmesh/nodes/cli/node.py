"""up, status, health, config, tasks, token, identity: the node itself."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from moodmesh.nodes.cli.client import Client
from moodmesh.nodes.cli.output import Json, ago, columns, emit, say
from moodmesh.nodes.errors import NoDaemon, UsageError
from moodmesh.nodes.home import home

config_app = typer.Typer(help="The configuration and where each value came from.", no_args_is_help=True)
token_app = typer.Typer(help="The token of the local API.", no_args_is_help=True)
identity_app = typer.Typer(help="The key of this device.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands of this noun."""
    for command in (up, status, health, tasks):
        app.command()(command)
    app.add_typer(config_app, name="config")
    app.add_typer(token_app, name="token")
    app.add_typer(identity_app, name="identity")


def up(
    profile: Annotated[str | None, typer.Option(help="phone, laptop, desktop or server.")] = None,
    name: Annotated[str | None, typer.Option(help="What paired peers see; the host name otherwise.")] = None,
    option: Annotated[list[str] | None, typer.Option("--set", help="Any setting, as section.key=value.")] = None,
) -> None:
    """Run this device's node in the foreground until Ctrl-C.

    Example: moodmesh up --profile laptop --name kitchen
    """
    with _no_public_authorities():
        from moodmesh.nodes.daemon import run

    flags: dict[str, object] = {"node.profile": profile, "node.name": name}
    for pair in option or []:
        key, _, value = pair.partition("=")
        flags[key] = tuple(filter(None, value.split(","))) if key in ("mesh.peers", "mesh.interfaces") else value
    raise typer.Exit(run({key: value for key, value in flags.items() if value is not None}))


@contextlib.contextmanager
def _no_public_authorities() -> Iterator[None]:
    """aiohttp reads every public authority at import: 80 ms and 2 MB for a trust store that no link of ours ever uses."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def status(json: Json = False) -> None:
    """Who this device is and what it does right now.

    Example: moodmesh status --json
    """
    found = Client().get("status")

    def text() -> list[str]:
        f = found
        lines = [
            f"{f['name']}  ({f['profile']})  up {ago(f['uptime_s'])}, pid {f['pid']}",
            f"  device    {f['device_grouped']}",
            f"  home      {f['home']}",
            f"  engine    {f['engine']}, {f['free_slots']} of {f['slots']} slots free, {f['running']} running",
            f"  memory    {f['memory_free_mb']} MB for jobs; {f['cores']} cores; power {f['power']}",
            f"  GPU       {', '.join(f['gpus']) or 'none'}",
            f"  peers     {f['linked']} of {f['peers']} linked, peer port {f['port']}",
        ]
        for copied in f["duplicate"]:
            who = "this device" if copied["us"] else copied["name"]
            lines.append(f"  WARNING   {who} runs in two places: `moodmesh identity reset` on the copy, then pair it anew")
        return lines

    emit(found, json, text)


def health(json: Json = False) -> None:
    """The parts of the node: what works, what is missing, what mends it.

    Example: moodmesh health
    """
    found = Client().get("health")
    rows = [(n, p["state"], p["detail"], p["remedy"]) for n, p in sorted(found["parts"].items())]
    emit(found, json, lambda: columns(rows, ("part", "state", "detail", "what to do")))


def tasks(json: Json = False) -> None:
    """The tasks installed here, their variants and this device's measured rates.

    Example: moodmesh tasks
    """
    found = Client().get("tasks")

    def text() -> list[str]:
        rows = [
            (t["name"], v["name"], f"{v['memory_mb']} MB", rate(v), t["unit"], "" if v["present"] else "model not here")
            for t in found["tasks"]
            for v in t["variants"]
        ]
        broken = [f"broken plug-in {name}: {why}" for name, why in found["broken"].items()]
        return columns(rows, ("task", "variant", "memory", "s per unit", "unit", "")) + broken

    def rate(v: dict[str, object]) -> str:
        return f"{v['seconds_per_unit']:.3g}" + (" (guess)" if v["guess"] else "")

    emit(found, json, text)


@config_app.command("show")
def config_show(
    origin: Annotated[bool, typer.Option("--origin", help="Also say where each value came from.")] = False, json: Json = False
) -> None:
    """Every setting, as the running daemon has it, else as the next `up` would read it.

    Example: moodmesh config show --origin
    """
    try:
        found = Client().get("config")
        flat, origins = found["values"], found["origins"]
    except NoDaemon:
        from moodmesh.nodes.config import load

        values, origins = load(home(), {})
        flat = {f"{section}.{key}": v for section, table in values.model_dump(mode="json").items() for key, v in table.items()}
    data = {key: {"value": value, "origin": origins[key]} for key, value in flat.items()}
    rows = [(key, repr(value), *([origins[key]] if origin else [])) for key, value in flat.items()]
    head = ("setting", "value", "origin") if origin else ("setting", "value")
    emit(data, json, lambda: columns(rows, head))


@token_app.command("rotate")
def token_rotate(json: Json = False) -> None:
    """Replace the token of the local API; open pages and old links stop working at once.

    Example: moodmesh token rotate
    """
    Client().post("token", "rotate")
    emit({"rotated": True}, json, lambda: ["the token was replaced"])


@identity_app.command("reset")
def identity_reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Make a new device key and forget every pair. Stop the daemon first.

    Example: moodmesh identity reset --yes
    """
    from moodmesh.nodes.reset import reset_identity

    if not yes:
        say("This device gets a new key: every pair is forgotten, here and, once they notice, there.")
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask on: add --yes to go on")
        typer.confirm("Go on?", abort=True, err=True)
    device, damaged = reset_identity(home())
    if damaged is not None:
        say(f"The store was damaged; it was set aside as {damaged}, with the journal of jobs in it.")
    emit({"device": device}, json, lambda: [f"new device id {device}; pair again with `moodmesh pair`"])
