"""A wish as a job: handed in, followed bar by bar, heard while it is made, and written when it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from moodmesh.nodes.cli.client import Client
from moodmesh.nodes.cli.jobs import unsuccessful
from moodmesh.nodes.cli.output import progress
from moodmesh.nodes.making.wish import GENERATE, TRANSFER, Wish

if TYPE_CHECKING:
    from moodmesh.tasks.music.sound.play import Output

Tell = Callable[[float, str], None]
PIECE = "piece.mid"


@dataclass
class Made:
    """A job whose answer is a piece; `found` its result and `midi` its file once it is there."""

    client: Client
    wish: Wish
    job: dict[str, Any]
    found: dict[str, Any] = field(default_factory=dict)
    midi: bytes = b""

    @classmethod
    def of(cls, client: Client, wish: Wish) -> Made:
        """Hand it in."""
        return cls(client, wish, client.post("jobs", body=wish.body))

    def follow(self) -> None:
        """Until it is there, with the bars counted; `NodeError` when it failed."""
        with progress("waiting for a device") as tell:
            for event in self.client.events("jobs", self.job["id"], "events"):
                if event["event"] == "job":
                    tell(event["share"], self._words(event))
        self.take()

    def parts(self, tell: Tell) -> Iterator[bytes]:
        """The parts as they come; when all are there, the piece is."""
        for number, part in enumerate(self.client.parts(self.job["id"]), 1):
            tell(number / self.wish.bars, f"bar {number} of {self.wish.bars}")
            yield part

    def take(self) -> None:
        """The result and its file; `NodeError` when the job failed."""
        job = self.client.get("jobs", self.job["id"])
        if job["status"] != "SUCCEEDED":
            raise unsuccessful(job)
        self.found = self.client.get("jobs", job["id"], "result")
        if self.wish.reading is not None:  # of the file itself: the task was given what is left of it
            self.found["result"]["given"] = asdict(self.wish.reading)
        self.midi = self.client.bytes("jobs", job["id"], "files", PIECE)

    def _words(self, event: dict[str, Any]) -> str:
        if event["message"] or event["status"] != "RUNNING":
            return str(event["message"] or f"{event['status'].lower()} {self.wish.task}")
        done = event.get("streamed", 0)
        return f"bar {done} of {self.wish.bars}" if self.wish.task == GENERATE and done else f"running {self.wish.task}"


def told(made: Made) -> list[str]:
    """The piece in words: what it is, what made it, where, under which licence."""
    piece, run = made.found["result"], made.found
    run_s = run["provenance"]["seconds"]
    given, moved = piece["given"], made.wish.task == TRANSFER
    before = f" (before: {given['notes']})" if moved else ""
    makers, on = _by_bars(piece, _maker), "on" if len(piece["composers"]) == 1 else "finished on"
    licence, seed = _licence(piece, given, moved), "" if moved else f", seed {piece['seed']}"
    return [
        f"# {piece['bars']} bars, {piece['seconds']:.0f} s, {piece['key']}, {piece['notes']} notes{before}, "
        f"for {made.wish.meant.said}",
        f"# made by {makers}{seed}, {on} {run['ran_on']} in {run_s:.3g} s; {licence}",
        f"# {run['why']}",
        *_read(given),
        *_kept(piece),
        *_chosen(piece),
    ]


def _by_bars(piece: dict[str, Any], words: Callable[[dict[str, Any]], str]) -> str:
    """Words of each of its composers, with the bars where there are several."""
    found = piece["composers"]
    if len(found) == 1:
        return words(found[0])
    said, last = [], piece["bars"] - sum(by["bars"] for by in found)
    for by in found:
        first, last = last + 1, last + by["bars"]
        said.append(f"{words(by)} in {f'bar {first}' if first == last else f'bars {first} to {last}'}")
    return ", ".join(said)


def _maker(by: dict[str, Any]) -> str:
    if by["sha256"] is None:
        return f"the {by['variant']} (no model)"
    return f"{by['variant']} ({by['model'] or 'weights'} {by['sha256'][:12]})"


def _licence(piece: dict[str, Any], given: dict[str, Any] | None, moved: bool) -> str:
    made = "licence " + _by_bars(piece, lambda by: str(by["licence"]))
    if given is None:
        return made
    yours = "stays under the licence of your file"
    since = f" from bar {given['bars'] + 1} on" if len(piece["composers"]) == 1 else ""
    return f"it {yours}" if moved else f"{made}{since}, what is before it {yours}"


def _read(given: dict[str, Any] | None) -> list[str]:
    """What of the user's file is not as it was."""
    if given is None:
        return []
    lost, cut = given["notes"] - given["kept"], given["shortened"]
    said = [f"its {' and '.join(given['metres'])} is in {given['bars']} bars of 4/4 now"] if given["metres"] else []
    said += [f"{lost} of {given['notes']} notes are left out (beyond a piano, or one key struck twice at once)"] if lost else []
    said += [f"{cut} notes are shorter (to a bar, or to where their key is struck again)"] if cut else []
    far = given["beyond"]
    said += [f"{far} bars are beyond 30 to 240 quarters a minute, and are played at the nearest"] if far else []
    return [f"# of your file: {'; '.join(said)}"] if said else []


def _kept(piece: dict[str, Any]) -> list[str]:
    """Of a transfer: what was not to change, and that the mode was not to with it."""
    if not piece.get("kept"):
        return []
    mode = "minor" if piece["before"]["minor"] else "major"
    stays = piece["asked"]["minor"] != piece["before"]["minor"] and {"melody", "key"} & set(piece["kept"])
    return [f"# kept: {', '.join(piece['kept'])}{f'; with that the mode is kept, too: it stays {mode}' if stays else ''}"]


def _chosen(piece: dict[str, Any]) -> list[str]:
    """What was not looked at where the file that chooses among takes was not there."""
    if piece.get("takes", 1) == 1 or piece["selector"] is not None:
        return []
    return [
        f"# of {piece['takes']} takes the nearest to the mood was kept; whether it is like music, and new, was not looked at: "
        "the model music-selector is not there, or damaged (`moodmesh doctor` there)"
    ]


def title(made: Made) -> str:
    """Of a picture of it."""
    piece = made.found["result"]
    return f"{made.wish.meant.said}: {piece['key']}, {' and '.join(dict.fromkeys(by['variant'] for by in piece['composers']))}"


def played(made: Made, write: Callable[[], None], where: Output) -> str:
    """Play the piece, a new one from its first bars on; `write` is called once it is there, before its last bars are heard.
    The name of what played it."""
    from moodmesh.nodes.making import heard

    if made.wish.task != GENERATE:
        from moodmesh.tasks.music.notation.midi import read

        made.follow()
        write()
        return heard.play([read(made.midi)], where)
    from moodmesh.tasks.music.generate.hearing import heard_bars
    from moodmesh.tasks.task import Request

    def bars(tell: Tell) -> Iterator[Any]:
        request = Request(made.wish.params, made.wish.given, made.wish.seed)
        yield from heard_bars(request, made.parts(tell))
        made.take()
        write()

    with progress("waiting for a device") as tell:
        return heard.play(bars(tell), where)
