"""`music.transfer`: a piece of music in another mood, with its tune, its bars and all its tracks (systems S18)."""

from __future__ import annotations

from moodmesh.tasks.music.transfer.schema import Transferred, TransferRequest
from moodmesh.tasks.task import Context, Request, Runner, TaskSpec, Variant


class MusicTransfer:
    """The task. A mood that is typed is no feeling, but the piece that is given may be its owner's: it is personal."""

    spec = TaskSpec(
        name="music.transfer",
        version=1,
        summary="A piece of music (MIDI) in another mood, with its tune, its bars and all its tracks",
        request=TransferRequest,
        result=Transferred,
        variants=(Variant("rules", 1, 130),),
        unit="note",
        personal_input=True,
    )

    def units(self, request: Request) -> float:
        """Notes; InvalidInput for a mood or a file that cannot be understood."""
        from moodmesh.tasks.music.transfer.runner import understood

        return float(understood(request)[1][1].kept)

    def result_bytes(self, request: Request) -> int:
        """About twice what was given: a denser piece has more notes."""
        return 2000 + 2 * len(request.input)

    def benchmark_request(self) -> Request:
        """A calm piece of the rule composer, eight times over (some 5000 notes), to be made sad."""
        from moodmesh.tasks.music.notation.midi import write
        from moodmesh.tasks.music.notation.score import joined
        from moodmesh.tasks.music.rules.attributes import wanted
        from moodmesh.tasks.music.rules.compose import compose

        piece = compose(wanted(0.6, -0.7), 64, 1)
        for _ in range(3):
            piece = joined(piece, piece)
        return Request({"emotion": "sad"}, write(piece))

    def open(self, variant: str, context: Context) -> Runner:
        """The rules need no file."""
        from moodmesh.tasks.music.transfer.runner import Transfer

        return Transfer()
