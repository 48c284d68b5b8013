"""`music.generate`: a piece of music in a mood, as MIDI, bar by bar (systems S17, S19)."""

from __future__ import annotations

from pathlib import Path

from moodmesh.tasks.models import load_cards
from moodmesh.tasks.music.generate.schema import MadeMusic, MusicRequest
from moodmesh.tasks.task import Context, Request, Runner, TaskSpec, Variant

CARDS = load_cards(Path(__file__).with_name("models.toml"))
SELECTOR = CARDS.get("music-selector")
VARIANTS = (
    Variant("rules", 1, 130),
    Variant("tiny", 2, 160, CARDS.get("music-tiny")),
    Variant("base", 3, 220, CARDS.get("music-base")),
)


class MusicGenerate:
    """The task; models load in `open`. A typed emotion is no feeling; a file is personal; who asks from a mood says so."""

    spec = TaskSpec(
        name="music.generate",
        version=1,
        summary="A piece of music in a mood, as MIDI, handed on bar by bar",
        request=MusicRequest,
        result=MadeMusic,
        variants=tuple(v for v in VARIANTS if v.card is not None or v.name == "rules"),
        unit="bar",
        personal_input=True,
        streams=True,
        helpers=(SELECTOR,) if SELECTOR is not None else (),
    )

    def units(self, request: Request) -> float:
        """Bars, as often as each is played; InvalidInput for a mood or a file that cannot be understood."""
        from moodmesh.tasks.music.generate.asked import Asked

        asked = Asked.of(request).request
        return float(asked.bars * asked.takes)

    def result_bytes(self, request: Request) -> int:
        """About 500 bytes a bar and what was given."""
        return 1500 + 500 * int(request.params.get("bars", 20)) + len(request.input)

    def benchmark_request(self) -> Request:
        """A calm phrase."""
        return Request({"emotion": "calm", "bars": 8})

    def open(self, variant: str, context: Context) -> Runner:
        """Load a variant; OSError when its model file is missing or damaged."""
        from moodmesh.tasks.music.generate.runner import open_runner

        return open_runner(self.spec.variant(variant), context)
