"""Runs `music.generate`: bars from a composer, handed on as they come, and the piece as MIDI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from moodmesh.tasks.music.engine.playing import Bar
from moodmesh.tasks.music.engine.steps import Steps
from moodmesh.tasks.music.generate import SELECTOR
from moodmesh.tasks.music.generate.asked import Asked
from moodmesh.tasks.music.generate.composers import Composer, Rules, Trained
from moodmesh.tasks.music.generate.makers import Maker, composers, packed, said, unpacked
from moodmesh.tasks.music.generate.schema import Heard, MadeMusic
from moodmesh.tasks.music.generate.selector import Selector
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.midi import write
from moodmesh.tasks.music.notation.reading import MACHINE, Reading
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.tokens import decode
from moodmesh.tasks.music.rules.attributes import Attributes, heard
from moodmesh.tasks.task import Context, Output, Request, Runner, Variant

PIECE = "piece.mid"


def open_runner(variant: Variant, context: Context) -> Runner:
    """The runner of a variant; OSError when its model file is missing or damaged."""
    if variant.card is None:
        return Generate(variant, Rules)
    return Generate(variant, partial(Trained, Steps.load(context.model(variant.card))))


class Generate:
    """A loaded variant; its composer is made with what chooses among takes, which is loaded when it is first wanted."""

    def __init__(self, variant: Variant, composer: Callable[[Selector], Composer]) -> None:
        self._variant, self._composer = variant, composer
        self._selector: Selector | None = None

    def run(self, request: Request, context: Context) -> Output:
        """Answer one request; each bar is handed on as a part (`packed`)."""
        asked = Asked.of(request)
        by_file = asked.request.takes > 1 and self._chooses(context)
        composer = self._composer((by_file and self._selector) or Selector())
        maker = self._variant.card.sha256 if self._variant.card else None
        made = [unpacked(part) for part in request.parts]
        for bar in composer.bars(asked, [bar for bar, _ in made], context.check):
            context.emit(len(made), packed(bar, maker))
            made.append((bar, maker))
            context.progress(len(made) / asked.request.bars)
        plain = whole([bar for bar, _ in made])
        score = asked.finished(plain)
        selector = SELECTOR.sha256 if by_file and SELECTOR else None
        value = _described(asked, score, plain, [maker for _, maker in made], selector)
        return Output(value.model_dump(mode="json"), {PIECE: write(score, value.provenance)})

    def _chooses(self, context: Context) -> bool:
        """Whether the file with gate and filter is here; without it takes are chosen by what was asked alone."""
        if self._selector is None and SELECTOR is not None:
            try:
                self._selector = Selector.load(context.model(SELECTOR))
            except OSError:
                return False
        return self._selector is not None


def whole(made: Sequence[Bar]) -> Score:
    """The bars as one score."""
    return decode([token for bar in made for token in bar] + [v.EOS] * bool(made))


def _described(asked: Asked, score: Score, made: Score, makers: Sequence[Maker], selector: str | None) -> MadeMusic:
    by = composers(makers)
    made_by = f"{MACHINE} music.generate, seed {asked.seed}: {said(by, score.bars - made.bars + 1)}."
    return MadeMusic(
        bars=score.bars,
        seconds=round(score.seconds, 3),
        notes=len(score.notes),
        key=" and ".join(map(str, asked.keys)),
        moods=tuple((round(mood.valence, 3), round(mood.arousal, 3)) for mood in asked.moods),
        asked=shown(asked.phrases[0][2]),
        heard=shown(heard(made)),
        given=asked.reading,
        composers=by,
        seed=asked.seed,
        takes=asked.request.takes,
        selector=selector,
        provenance=_from(asked.reading, made_by) if asked.reading else f"Made {made_by}",
    )


def _from(given: Reading, made_by: str) -> str:
    """Of a piece whose first bars were given, after what is said of these."""
    before = "Bar 1 is that" if given.bars == 1 else f"Bars 1 to {given.bars} are those"
    now = f"{before} of the file that was given, under its licence; from bar {given.bars + 1} on made {made_by}"
    return f"{given.said} {now}".strip()


def shown(attributes: Attributes) -> Heard:
    """Attributes as results have them."""
    figures = {name: round(value, 3) for name, value in vars(attributes).items()}
    return Heard(pitch=figures.pop("register"), **figures)
