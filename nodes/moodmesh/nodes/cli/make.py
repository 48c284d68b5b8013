"""make: music from a mood, written by the most capable device."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from moodmesh.nodes.cli.client import Client, outliving
from moodmesh.nodes.cli.jobs import explained, time_of
from moodmesh.nodes.cli.output import Json, emit, put, say
from moodmesh.nodes.errors import UsageError

if TYPE_CHECKING:
    from moodmesh.nodes.making.meant import Meant
    from moodmesh.nodes.making.wish import Wish

make_app = typer.Typer(help="Make something from a mood: yours, a room's, or one that you name.", no_args_is_help=True)
From = Annotated[
    Literal["mood", "room"] | None,
    typer.Option("--from", help="mood: how you feel now; it goes to your own devices only. room: what a room told of itself."),
]
PathFile = Annotated[
    Path | None,
    typer.Option("--path", help="A mood over time: CSV or JSON of points (at or seconds, valence, arousal). Own devices only."),
]
Share = Annotated[
    bool,
    typer.Option(
        "--share",
        help="With --from mood or --path: peers with `mood.share` may make it too; they are told one of nine moods (of a path "
        "nine of these, in order), and the notes of a file. Else with a file: its notes may go to any device that permits it.",
    ),
]
RoomName = Annotated[str | None, typer.Option("--room", help="With --from room: which one, where you are in several.")]
Keys = Literal["C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B"]
KEPT = ("melody", "tempo", "key", "rhythm", "dynamics")
BARS, MOST_BARS = 20, 64


def add_to(app: typer.Typer) -> None:
    """Register the commands of this noun."""
    app.add_typer(make_app, name="make")


@make_app.callback()
def make() -> None:
    """More than music will come here."""


@make_app.command()
def music(
    from_: From = None,
    emotion: Annotated[
        str | None, typer.Option(help="A word: happy, angry, sad, calm and others; an unknown one lists them.")
    ] = None,
    va: Annotated[str | None, typer.Option(metavar="V,A", help="Valence and arousal, each -1 to 1, like 0.4,-0.3.")] = None,
    path: PathFile = None,
    room: RoomName = None,
    share: Share = False,
    continue_: Annotated[
        Path | None,
        typer.Option("--continue", help="Go on from this MIDI file. Its notes go to your own devices only, or with --share."),
    ] = None,
    transfer: Annotated[
        Path | None,
        typer.Option(help="Put this MIDI file into the mood instead of making a new piece. Own devices only, or with --share."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT,...",
            help=f"With --transfer: what is not to change, of {', '.join(KEPT)}; with melody or key the mode stays, too.",
        ),
    ] = None,
    thin: Annotated[
        bool, typer.Option("--thin", help="With --transfer: notes may be left out where the mood wants fewer.")
    ] = False,
    bars: Annotated[int | None, typer.Option(min=1, max=MOST_BARS, help=f"How long; {BARS} bars otherwise.")] = None,
    bpm: Annotated[float | None, typer.Option(min=30, max=240, help="Quarters a minute; the mood chooses otherwise.")] = None,
    key: Annotated[
        Keys | None, typer.Option(help="The tonic; major or minor follows the mood. Not with --continue: its file has one.")
    ] = None,
    ensemble: Annotated[
        Literal["piano", "strings", "guitar", "trio", "band"] | None, typer.Option(help="Who plays; the piano alone otherwise.")
    ] = None,
    takes: Annotated[int | None, typer.Option(min=1, max=8, help="Play each phrase so often and keep the best.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.5, max=1.5, help="How daring a model is; 1 otherwise.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 1, help="Same seed, same piece, of the same model.")] = None,
    variant: Annotated[str | None, typer.Option(help="Only this variant of the model, like rules.")] = None,
    on: Annotated[str | None, typer.Option(help="Only this peer; `here` for this device.")] = None,
    by: Annotated[str | None, typer.Option(help="The best quality that is done by then, like 10s or 2min.")] = None,
    quality: Annotated[
        Literal["best", "fast"], typer.Option(help="best: no smaller model while a better one is there.")
    ] = "best",
    play: Annotated[
        bool, typer.Option("--play", help="Hear it, from its first bars on; no file then, but those of --out.")
    ] = False,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="Write it here: .mid, .wav, .ogg or .flac; once for each. Otherwise MOOD.mid in this folder."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Files that are there already may be replaced.")] = False,
    roll: Annotated[Path | None, typer.Option(help="Draw its notes and its mood into this .png.")] = None,
    why: Annotated[bool, typer.Option("--why", help="Also say why it was made where it was made.")] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Only show what would leave this device, and make nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """A piece of music in a mood, as MIDI and as sound; made on the device that returns it soonest.

    Example: moodmesh make music --emotion calm --play

    Example: moodmesh make music --from room --bars 32 --ensemble strings --out evening.mid --out evening.ogg

    Example: moodmesh make music --transfer song.mid --emotion sad --keep rhythm
    """
    from moodmesh.nodes.making import files, wish

    options = {"bars": bars, "bpm": bpm, "key": key, "ensemble": ensemble, "takes": takes, "temperature": temperature}
    fitting(options | {"seed": seed}, continue_=continue_, transfer=transfer, keep=keep, thin=thin, path=path)
    files.writable(out or ([] if play or preview else [files.free("piece")]), roll, overwrite=overwrite)
    notes = {file: files.music_of(file) for file in (continue_, transfer) if file is not None}
    by_s = time_of("--by", by) if by is not None else None
    routing: dict[str, Any] = {"variant": variant, "on": on, "by_s": by_s, "quality": quality}
    if by is not None and quality == "fast":
        raise UsageError(
            "--by takes the best quality that is done in time, --quality fast whatever is soonest: give one of them"
        )
    meant = mood_of(from_, emotion, va, path, room, share=share, file=bool(notes))
    if share and meant.personal is None:
        routing["public"] = True
    more: dict[str, Any] = {"routing": routing, **({} if seed is None else {"seed": seed})}
    if transfer is not None:
        wished = wish.transfer(meant, transfer, notes[transfer], kept_of(keep), thin=thin, **more)
    else:
        go_on = {} if continue_ is None else {"notes": notes[continue_]}
        wished = wish.generate(meant, options | {"bars": bars or BARS}, continue_, **go_on, **more)
    wished.check()
    if preview:
        leaves(wished, json)
    else:
        _make(wished, out or [], roll, overwrite=overwrite, play=play, why=why, json=json)


def fitting(
    options: dict[str, Any], *, continue_: Path | None, transfer: Path | None, keep: str | None, thin: bool, path: Path | None
) -> None:
    """`UsageError` for options that say nothing together."""
    if transfer is None and (keep is not None or thin):
        raise UsageError("--keep and --thin say what becomes of the piece of --transfer: give that file")
    if thin and "rhythm" in kept_of(keep):
        raise UsageError("--thin lets notes fall away, and --keep rhythm none: leave one of them out")
    if continue_ is not None and options["key"] is not None:
        raise UsageError("--continue goes on in the key of its file: leave --key out")
    if transfer is None:
        return
    if continue_ is not None or path is not None:
        raise UsageError("--transfer puts a whole piece into one mood: leave --continue and --path out")
    if given := [name for name, value in options.items() if value is not None]:
        raise UsageError(f"--transfer keeps the piece as it is but for its mood: leave --{' and --'.join(given)} out")


def mood_of(
    from_: str | None,
    emotion: str | None,
    va: str | None,
    path: Path | None,
    room: str | None,
    *,
    share: bool,
    file: bool = False,
) -> Meant:
    """The mood that is meant; the daemon is asked only where it has to know. `file`: a piece is given, too."""
    from moodmesh.nodes.making import meant

    way = meant.one_way({"--from": from_, "--emotion": emotion, "--va": va, "--path": path})
    if share and from_ != "mood" and path is None and not file:
        raise UsageError("--share is about --from mood, --path and files: what you type, and what a room told, is free already")
    if room is not None and from_ != "room":
        raise UsageError("--room says which room --from room means: give both")
    if way == "--emotion":
        return meant.word(emotion or "")
    if way == "--va":
        return meant.numbers(va or "")
    if path is not None:
        return meant.path(path, share=share)
    return meant.room(Client(timeout=60), room) if from_ == "room" else meant.own(Client(), share=share)


def kept_of(text: str | None) -> list[str]:
    """What --keep names."""
    found = [] if text is None else [part.strip() for part in text.split(",")]
    if unknown := [part for part in found if part not in KEPT]:
        raise UsageError(f"--keep {unknown[0] or '(empty)'}: name what is kept, of {', '.join(KEPT)}, with commas between")
    return found


def leaves(wished: Wish, json: bool) -> None:
    """Show the request as it would leave this device, and to whom."""
    found = Client().post("privacy", "request", body=wished.body)

    def text() -> list[str]:
        whom = ", ".join(found["devices"]) or "nobody: it stays here"
        whose = f"{_told(wished)}, to own devices and peers with mood.share" if found["shared"] else "own devices only"
        lines = [
            f"{found['task']}, {whose if found['personal'] else 'any device that permits it'}; of those that are paired: {whom}"
        ]
        for message in found["messages"]:
            lines += [f"{message['kind']}, {message['bytes']} bytes:", message["text"]]
        return lines

    emit(found, json, text)


def _told(wished: Wish) -> str:
    """What of its owner a request that is shared tells."""
    mood = "a path in nine steps, each one of nine moods" if "path" in wished.params else "one of nine moods"
    return f"{mood}, and the notes of your file" if wished.given else mood


def _make(wished: Wish, outs: list[Path], roll: Path | None, *, overwrite: bool, play: bool, why: bool, json: bool) -> None:
    from moodmesh.nodes.making import files, heard, made

    where = heard.output() if play else None
    one = made.Made.of(Client(timeout=120), wished)
    if one.job["quality"] and one.job["quality"]["words"]:
        say(one.job["quality"]["words"])
    say(f"job {one.job['id']}")
    wrote: list[Path] = []
    kept = f"moodmesh job result {one.job['id'][:8]} --out FOLDER"

    def write() -> None:
        into = outs or ([] if play else [files.free(wished.name)])
        moods, title = one.found["result"]["moods"], made.title(one)
        how = f"`{kept}` writes it as MIDI"
        wrote.extend(files.write_all(into, roll, one.midi, moods, title, how, overwrite=overwrite))

    with outliving(one.job["id"]):
        if where is not None:
            by = made.played(one, write, where)
            say(f"# heard by {by}")
        else:
            one.follow()
            write()
        reason = one.client.get("jobs", one.job["id"], "explain") if why else None
    if json:
        print(jsonlib.dumps({**one.found, "written": [str(file) for file in wrote], **({"explain": reason} if why else {})}))
        return
    for line in made.told(one):
        say(line)
    if not outs and play:
        say(f"# to keep it: {kept}")
    for line in [*map(str, wrote), *(explained(reason) if reason else [])]:
        put(line)
