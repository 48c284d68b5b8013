"""What is heard of a piece while it is being made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from moodmesh.tasks.music.generate.asked import Asked
from moodmesh.tasks.music.generate.makers import unpacked
from moodmesh.tasks.music.generate.runner import whole
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.task import Request


def heard_bars(request: Request, parts: Iterable[bytes]) -> Iterator[Score]:
    """Each part of the answer of `music.generate`, as it comes, as the bar that the finished piece has in that place; a piece
    that was given to go on from is not among them. InvalidInput for a request, or a part, that cannot be understood."""
    asked = Asked.of(request)
    for part in parts:
        yield asked.heard(whole([unpacked(part)[0]]))
