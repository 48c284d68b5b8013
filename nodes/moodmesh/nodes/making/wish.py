"""A wish for music, understood and checked: the job that it comes to, and what is to become of its answer."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.making.meant import Meant

if TYPE_CHECKING:
    from moodmesh.tasks.music.notation.reading import Reading

    Notes = tuple[bytes, Reading | None]

GENERATE, TRANSFER = "music.generate", "music.transfer"


@dataclass(frozen=True)
class Wish:
    """A request of `task`, checked here before anything is handed in; `routing`: what of `JobRequest` says where it goes.
    `given`: the notes of the user's file, and `reading` what of the file they are."""

    task: str
    meant: Meant
    params: Mapping[str, Any]
    name: str
    given: bytes = b""
    reading: Reading | None = None
    seed: int = field(default_factory=lambda: secrets.randbits(31))
    routing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """As the daemon takes it."""
        return {
            "task": self.task, "params": dict(self.params), "input": base64.b64encode(self.given).decode(), "seed": self.seed,
            "personal": self.meant.personal, **self.routing,
        }  # fmt: skip

    @property
    def bars(self) -> int:
        """How many bars are to be made; 0 of a transfer, which makes all at once."""
        return int(self.params.get("bars", 0))

    def check(self) -> None:
        """`UsageError` for what the task would refuse on every device."""
        from pydantic import ValidationError

        from moodmesh.tasks import registry
        from moodmesh.tasks.errors import InvalidInput
        from moodmesh.tasks.task import Request

        task = registry.load()[0].get(self.task)
        if task is None:
            raise UsageError(f"{self.task} is not installed here: `pip install` this version of moodmesh anew")
        try:
            task.units(Request(self.params, self.given, self.seed))
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None
        except InvalidInput as error:
            raise UsageError(str(error)) from None


def generate(meant: Meant, options: Mapping[str, Any], go_on: Path | None, notes: Notes = (b"", None), **more: Any) -> Wish:
    """A new piece; `go_on`: a file, and its `notes`, after which it begins."""
    params = {**meant.params, **{name: value for name, value in options.items() if value is not None}}
    name = f"{go_on.stem}-continued" if go_on else meant.name
    return Wish(GENERATE, meant, params, name, *notes, **more)


def transfer(meant: Meant, file: Path, notes: Notes, keep: list[str], *, thin: bool, **more: Any) -> Wish:
    """A piece in another mood."""
    params = {**meant.params, **({"keep": sorted(set(keep))} if keep else {}), **({"thin": True} if thin else {})}
    return Wish(TRANSFER, meant, params, f"{file.stem}-{meant.name}", *notes, **more)
