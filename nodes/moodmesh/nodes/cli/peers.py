"""pair, near, peers: who is there and what each may do."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from moodmesh.mesh.address import show as address
from moodmesh.nodes.cli.client import Client, Unreachable
from moodmesh.nodes.cli.output import Json, ago, columns, emit, interactive, put, say
from moodmesh.nodes.errors import Refused, UsageError

peers_app = typer.Typer(help="Paired devices and what each may do here.", invoke_without_command=True)
Name = Annotated[str, typer.Argument(help="A peer's name, or the beginning of its device id.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this noun."""
    app.command()(pair)
    app.command()(near)
    app.add_typer(peers_app, name="peers")


def pair(
    code: Annotated[str | None, typer.Argument(help="The code (or QR text) that the other device shows.")] = None,
    at: Annotated[str | None, typer.Option(help="HOST:PORT of the window, when nothing finds it.")] = None,
    near: Annotated[bool, typer.Option("--near", help="The device that is nearest by Bluetooth.")] = False,
    json: Json = False,
) -> None:
    """Pair two devices: run it without a code on one, with the code it shows on the other.

    Example: moodmesh pair 37-482915
    """
    if near and at:
        raise UsageError("--near and --at name two places: give one of them")
    if code is None and near:
        code = _nearest(json)
    if code is None:
        _host(json)
        return
    found = Client(timeout=120).post("pair", "join", body={"code": code, "at": at, "near": near})
    emit(found, json, lambda: paired_lines(found))


def _nearest(json: bool) -> str:
    """The code of the nearest device, as somebody who sees its screen types it."""
    found = Client(timeout=60).get("pair", "nearest")
    signal, begins = f"{found['signal']:.0f} dBm", found["nameplate"]
    if json or not interactive():
        raise UsageError(f"the nearest device ({signal}) shows a code that begins with {begins}: moodmesh pair CODE --near")
    say(f"The nearest device that pairs ({signal}) shows a code that begins with {begins}.")
    typed = str(typer.prompt("Type the code on its screen"))
    return typed if "-" in typed else f"{begins}-{typed}"


def _host(json: bool) -> None:
    import json as jsonlib

    last: dict[str, Any] = {}
    for event in Client().events("pair", method="POST", body={}):
        last = event
        if json:
            print(jsonlib.dumps(event), flush=True)
        elif event["event"] in ("open", "wrong_code"):
            _show_code(event)
        elif event["event"] == "failed":
            say(event["message"])
    if last.get("event") == "paired":
        if not json:
            put("\n".join(paired_lines(last)))
    elif last.get("event") in ("locked", "expired"):
        raise Refused(last["message"], last["event"])
    else:
        raise Unreachable("the daemon stopped, and with it the window: `moodmesh up`, then `moodmesh pair` again")


def _show_code(event: dict[str, Any]) -> None:
    if event["event"] == "wrong_code":
        say("Wrong code, or someone tried to guess it. Nothing was paired. There is a new code:")
    print(f"\n    {event['code']}\n", flush=True)
    if interactive():
        import segno

        segno.make(event["qr"], error="m").terminal(out=sys.stderr, compact=True)
    say(f"On the other device: moodmesh pair {event['code']}   ({event['left_s']:.0f} s left)")
    if not event["addresses"]:
        say("No network interface is up, so nobody can reach this device: `moodmesh near` tells more.")
    for where in event["addresses"][:2]:
        say(f"  or, if it is not found: moodmesh pair {event['code']} --at {address(where)}")


def paired_lines(event: dict[str, Any]) -> list[str]:
    """What both screens show."""
    return [
        f"paired with {event['name']} - {event['words']}",
        f"It may do nothing yet. moodmesh peers allow {event['name']} --preset friend   (own, for a device of yours)",
    ]


def near(json: Json = False) -> None:
    """Who is around, by which radio, how fresh; and what cannot look.

    Example: moodmesh near
    """
    found = Client().get("near")

    def text() -> list[str]:
        rows = [
            (d["name"] or "a stranger", d["state"] if d["pairing"] is None else "pairing", ", ".join(d["radios"]),
             ago(d["age_s"]), "" if d["signal"] is None else f"{d['signal']:.0f} dBm", ", ".join(d["addresses"]))
            for d in found["devices"]
        ]  # fmt: skip
        lines = columns(rows, ("who", "state", "found by", "seen", "signal", "at")) if rows else ["nobody is near"]
        lines += [f"{name}: {why}" for name, why in found["troubles"].items()]
        told = [(f"{r['radio']}: {r['reason']}", r["remedy"]) for r in found["radios"] if r["reason"]]
        return lines + ["; ".join(filter(None, both)) for both in told]

    emit(found, json, text)


@peers_app.callback()
def peers(context: typer.Context) -> None:
    """Without a command: the list."""
    if context.invoked_subcommand is None:
        list_()


@peers_app.command("list")
def list_(json: Json = False) -> None:
    """Every paired device.

    Example: moodmesh peers list
    """
    found = Client().get("peers")

    def text() -> list[str]:
        rows = [
            (p["name"], p["state"], ago(p["heard_s_ago"]) if p["heard_s_ago"] is not None else ago(p["away_s"]) + " away",
             " ".join(sorted(p["may"])) or "nothing", " ".join(p["we_may"]) or "nothing")
            for p in found["peers"]
        ]  # fmt: skip
        lines = columns(rows, ("name", "state", "heard", "may here", "we may there")) if rows else ["none: `moodmesh pair`"]
        return lines + [f"{p['name']}: {p['trouble']}" for p in found["peers"] if p["trouble"]]

    emit(found, json, text)


@peers_app.command()
def show(name: Name, json: Json = False) -> None:
    """One peer: rules, link, what it offers.

    Example: moodmesh peers show kitchen
    """
    found = Client().get("peers", name)

    def text() -> list[str]:
        lines = [f"{found['name']}  {found['state']}  {found['device']}"]
        if found["address"]:
            lines.append(f"  link      {found['address'][0]} port {found['address'][1]}, rtt {found['rtt_ms']:.1f} ms")
        lines += [f"  trouble   {found['trouble']}"] if found["trouble"] else []
        lines += [f"  may       {action}  {limits or ''}".rstrip() for action, limits in sorted(found["may"].items())]
        lines.append(f"  we may    {' '.join(found['we_may']) or 'nothing'}")
        if abs(found["correction"] - 1) > 0.05:
            lines.append(f"  takes     {found['correction']:.2f} times what it claims")
        for task, doc in ((found["capability"] or {}).get("tasks") or {}).items():
            for variant, v in doc["variants"].items():
                lines.append(f"  offers    {task} {variant}: {v['mean']:.3g} s per unit{' (guess)' if v['guess'] else ''}")
        return lines

    emit(found, json, text)


@peers_app.command()
def allow(
    name: Name,
    actions: Annotated[
        list[str] | None, typer.Argument(help="Tasks like emotion.text, families like emotion.*, actions.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="none, friend, or own (a device of yours).")] = None,
    jobs_per_hour: Annotated[int | None, typer.Option(min=0, help="Jobs begun within any hour.")] = None,
    seconds_per_day: Annotated[float | None, typer.Option(min=0, help="Compute seconds.")] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Jobs at a time.")] = None,
    bytes_per_day: Annotated[int | None, typer.Option(min=0, help="In and out.")] = None,
    largest_s: Annotated[float | None, typer.Option(min=0, help="Predicted seconds of one job, at most.")] = None,
    hours: Annotated[str | None, typer.Option(help="Hours of the day, like 8-18.")] = None,
    battery_floor: Annotated[int | None, typer.Option(min=0, max=100, help="Not below so many per cent.")] = None,
    mains_only: Annotated[bool, typer.Option("--mains-only", help="Not on battery.")] = False,
    days: Annotated[float | None, typer.Option(min=0, help="The permission ends after so many days.")] = None,
    json: Json = False,
) -> None:
    """Let a peer use tasks here; `own` also lets this device send it personal input.

    Example: moodmesh peers allow kitchen --preset own
    """
    limits = {
        "jobs_per_hour": jobs_per_hour, "seconds_per_day": seconds_per_day, "concurrent": concurrent,
        "bytes_per_day": bytes_per_day, "largest_s": largest_s, "hours": hours, "battery_floor": battery_floor,
        "mains_only": mains_only or None, "expires": time.time() + 86400 * days if days is not None else None,
    }  # fmt: skip
    body = {"preset": preset, "actions": actions or [], "limits": {k: v for k, v in limits.items() if v is not None}}
    if preset is None and not actions:
        raise typer.BadParameter("name tasks or actions, or a --preset")
    found = Client().post("peers", name, "allow", body=body)
    emit(found, json, lambda: [f"{found['name']} may: {' '.join(sorted(found['may'])) or 'nothing'}"])


@peers_app.command()
def deny(name: Name, json: Json = False) -> None:
    """Take every permission from a peer; what runs for it is ended.

    Example: moodmesh peers deny kitchen
    """
    found = Client().post("peers", name, "deny")
    emit(found, json, lambda: [f"{found['name']} may do nothing here"])


@peers_app.command()
def forget(name: Name, json: Json = False) -> None:
    """Unpair: its key, rules and jobs here are gone at once.

    Example: moodmesh peers forget kitchen
    """
    found = Client().delete("peers", name)
    emit(found, json, lambda: [f"{found['forgotten']} is forgotten"])
