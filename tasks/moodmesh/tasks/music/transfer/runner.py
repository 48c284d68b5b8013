"""Runs `music.transfer`."""

from __future__ import annotations

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.generate.asked import point
from moodmesh.tasks.music.generate.makers import FREE
from moodmesh.tasks.music.generate.runner import PIECE, shown
from moodmesh.tasks.music.generate.schema import Composer
from moodmesh.tasks.music.notation.features import key
from moodmesh.tasks.music.notation.midi import read_given, unreadable, write
from moodmesh.tasks.music.notation.reading import MACHINE, Reading
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.rules.attributes import heard, wanted
from moodmesh.tasks.music.rules.moods import Mood
from moodmesh.tasks.music.transfer.rules import tempi, transferred
from moodmesh.tasks.music.transfer.schema import Transferred, TransferRequest
from moodmesh.tasks.task import Context, Output, Request


def understood(request: Request) -> tuple[TransferRequest, tuple[Score, Reading], Mood]:
    """The request, the piece with how it was read, and the mood; InvalidInput says what is wrong with them, or that
    what would come out is too long to be read again."""
    asked = TransferRequest.model_validate(dict(request.params))
    mood = point(asked.emotion, asked.valence, asked.arousal)
    if asked.thin and "rhythm" in asked.keep:
        raise InvalidInput("`thin` lets notes fall away, and `keep` rhythm none: leave one of them out")
    if not request.input:
        raise InvalidInput("no piece is given to be put into another mood: hand in a MIDI file")
    score, reading = read_given(request.input)
    if said := _unreadable(score, tempi(score, wanted(*mood), asked.keep)):
        easy = "" if _unreadable(score, score.tempi) else "keep its `tempo`, or "
        raise InvalidInput(f"{said}: {easy}cut the file")
    return asked, (score, reading), mood


def _unreadable(score: Score, tempi: tuple[int, ...]) -> str:
    """What would keep it, at those tempi, from being read again: its last notes may sound one bar longer."""
    return unreadable((*tempi, *tempi[-1:]), len(score.notes))


_SAID = (
    f"Put into another mood {MACHINE} music.transfer, the rules, without a model. "
    "It stays under the licence of the file that was given."
)


class Transfer:
    """The rules as a loaded variant."""

    def run(self, request: Request, context: Context) -> Output:
        """Answer one request."""
        context.check()
        asked, (score, reading), mood = understood(request)
        made = transferred(score, wanted(*mood), asked.keep, thin=asked.thin, check=context.check)
        context.check()
        value = Transferred(
            bars=made.bars,
            seconds=round(made.seconds, 3),
            notes=len(made.notes),
            given=reading,
            key=str(key(made)),
            moods=((round(mood.valence, 3), round(mood.arousal, 3)),),
            kept=tuple(sorted(asked.keep)),
            before=shown(heard(score)),
            asked=shown(wanted(*mood)),
            heard=shown(heard(made)),
            composers=(Composer(variant="rules", licence=FREE, bars=made.bars),),
            seed=request.seed,
            provenance=f"{reading.said} {_SAID}".strip(),
        )
        context.progress(1.0)
        return Output(value.model_dump(mode="json"), {PIECE: write(made, value.provenance)})
