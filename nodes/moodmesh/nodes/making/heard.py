"""Playing a piece, also while it is still being made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from moodmesh.nodes.cli.output import say
from moodmesh.nodes.errors import NodeError
from moodmesh.nodes.home import home

if TYPE_CHECKING:
    from moodmesh.tasks.music.notation.score import Score
    from moodmesh.tasks.music.sound.play import Output
    from moodmesh.tasks.music.sound.render import Engine


def engine() -> Engine:
    """What plays music on this device, by its settings; where it is not what was asked for, that is said."""
    from moodmesh.nodes.config import load
    from moodmesh.tasks.music.sound.soundfont import chosen

    found = chosen(load(home(), {})[0].music.soundfont)
    if found.said:
        say(found.said)
    return found.engine


def output() -> Output:
    """Where sound goes; `NodeError` where nothing plays, said before anything is made."""
    from moodmesh.tasks.errors import NoSound
    from moodmesh.tasks.music.sound.play import opened

    try:
        return opened()
    except NoSound as error:
        raise NodeError(f"{error}; or leave --play out") from None


def play(bars: Iterable[Score], where: Output) -> str:
    """Play scores as they come, from when two seconds of sound are there; the name of what played them."""
    from moodmesh.tasks.errors import NoSound
    from moodmesh.tasks.music.sound import play as playing
    from moodmesh.tasks.music.sound.mastering import live
    from moodmesh.tasks.music.sound.render import rendered

    try:
        return playing.play(live(rendered(bars, engine())), lambda: where)
    except NoSound as error:
        raise NodeError(f"{error}") from None
