"""`music.judge`: the emotion of a MIDI file by machine; and a gate: is it music at all? (systems S20, evaluation §5)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.models import load_cards
from moodmesh.tasks.music.judge.schema import JudgeRequest, MusicVerdict
from moodmesh.tasks.task import Context, Request, Runner, TaskSpec, Variant

CARDS = load_cards(Path(__file__).with_name("models.toml"))
VARIANTS = (
    Variant("tiny", 1, 120, CARDS.get("music-judge-tiny")),
    Variant("base", 2, 120, CARDS.get("music-judge-base")),
)


class MusicJudge:
    """The task; models load in `open`.

    Personal, though a piece is not a mood: what someone plays, writes or had made from a mood says what they feel, and its
    verdict says it in figures.
    """

    spec = TaskSpec(
        name="music.judge",
        version=1,
        summary="Arousal and valence of a MIDI file, as a listener would call them",
        request=JudgeRequest,
        result=MusicVerdict,
        variants=tuple(v for v in VARIANTS if v.card is not None),
        unit="byte",
        personal=True,
    )

    def units(self, request: Request) -> float:
        """Bytes of the file: seconds grow with its notes. InvalidInput for what is no MIDI file at its first look."""
        if not request.input:
            raise InvalidInput("there is no MIDI file: give one with --input FILE")
        if not request.input.startswith(b"MThd"):
            raise InvalidInput("the input is not a MIDI file (it does not begin with MThd): export it as a standard MIDI file")
        return float(len(request.input))

    def result_bytes(self, request: Request) -> int:
        """About 80 bytes a window, a window about every 2 kB of the file."""
        return 400 + 80 * (len(request.input) // 2000)

    def benchmark_request(self) -> Request:
        """A piece by rule of many bars."""
        return Request({}, _benchmark())

    def open(self, variant: str, context: Context) -> Runner:
        """Load a variant; OSError when its model file is missing or damaged."""
        from moodmesh.tasks.music.judge.runner import open_runner

        return open_runner(self.spec.variant(variant), context)


@cache
def _benchmark() -> bytes:
    from moodmesh.tasks.music.notation import midi
    from moodmesh.tasks.music.notation.score import joined
    from moodmesh.tasks.music.rules.attributes import wanted
    from moodmesh.tasks.music.rules.compose import BARS, compose

    moods = ((0.6, 0.6), (-0.6, 0.6), (-0.6, -0.6), (0.6, -0.6))
    piece = compose(wanted(*moods[0]), BARS, 0)
    for seed, mood in enumerate(moods[1:]):
        piece = joined(piece, compose(wanted(*mood), BARS, seed))
    return midi.write(piece)
