"""`emotion.text`: valence, arousal and dominance of each sentence of an English text, with their sd (systems S3)."""

from __future__ import annotations

from pathlib import Path

from moodmesh.tasks.emotion.text.escalation import ESCALATION
from moodmesh.tasks.emotion.text.schema import TextEmotion, TextRequest
from moodmesh.tasks.emotion.text.sentences import Span, lines, sentences
from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.models import load_cards
from moodmesh.tasks.task import Context, Request, Runner, TaskSpec, Variant

MAX_BYTES = 1 << 20
MAX_ITEMS = 30_000  # an item takes 0.9 kB of a worker: this many keep it within its declared memory
CARDS = load_cards(Path(__file__).with_name("models.toml"))
# Measured peaks of a worker at MAX_ITEMS: 105 MB (70 loaded) and 148 MB (113 loaded).
VARIANTS = (
    Variant("tiny", 1, 115, CARDS.get("emotion-text-tiny")),
    Variant("base", 2, 160, CARDS.get("emotion-text-base")),
)
_ITEM_BYTES = 210  # one item as JSON
_DAY = (
    "The morning was grey and nobody spoke at breakfast. Later the sun came out and we walked down to the river! "
    "I was afraid of the exam, but it went better than I had hoped. She said she would call and never did. "
    "Nothing much happened after that. What a wonderful evening with old friends, laughing until it hurt. "
)


class EmotionText:
    """The task; models load in `open`."""

    spec = TaskSpec(
        name="emotion.text",
        version=2,
        summary="Valence, arousal and dominance of each sentence of an English text",
        request=TextRequest,
        result=TextEmotion,
        variants=tuple(v for v in VARIANTS if v.card is not None),
        unit="character",
        personal=True,
        escalation=ESCALATION,
    )

    def units(self, request: Request) -> float:
        """Characters of the text: seconds grow with them, sentence overhead included, within one kind of text."""
        text = text_of(request)
        spans_of(request, text)
        return float(len(text))

    def result_bytes(self, request: Request) -> int:
        """About 210 bytes an item; a sentence is taken to have 70 characters."""
        content = (request.params.get("text") or "").encode() or request.input
        items = content.count(b"\n") + 1 if request.params.get("lines") else len(content) // 70 + 1
        return 200 + _ITEM_BYTES * items

    def benchmark_request(self) -> Request:
        """A made-up diary of 120 sentences."""
        return Request({"text": _DAY * 20})

    def open(self, variant: str, context: Context) -> Runner:
        """Load a variant; OSError when its model file is missing or damaged."""
        from moodmesh.tasks.emotion.text.runner import open_runner

        return open_runner(self.spec.variant(variant), context)


def text_of(request: Request) -> str:
    """The text of a request; InvalidInput when there is none, it is too long, or it is no UTF-8 text."""
    given: str | None = request.params.get("text")
    if given is not None and request.input:
        raise InvalidInput("both a text and an input file were given: leave one of them out")
    content = given.encode(errors="replace") if given is not None else request.input
    if len(content) > MAX_BYTES:
        raise InvalidInput(
            f"the text has {len(content):,} bytes, more than {MAX_BYTES:,} (1 MiB): split the file and submit the parts"
        )
    try:
        text = given if given is not None else content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the input is not UTF-8 text (byte {error.start}): save it as UTF-8 and try again") from None
    if "\0" in text:
        raise InvalidInput("the input is a binary file, not a text: give a plain text file in UTF-8")
    if not content or (not text.strip() and not request.params.get("lines")):
        raise InvalidInput("the text is empty: give a file with at least one sentence, or the parameter text")
    return text


def spans_of(request: Request, text: str) -> list[Span]:
    """The pieces that get one item each: lines if asked for, else sentences; InvalidInput when there are too many."""
    spans = lines(text) if request.params.get("lines") else sentences(text)
    if len(spans) > MAX_ITEMS:
        raise InvalidInput(f"the text has {len(spans):,} pieces, more than {MAX_ITEMS:,}: split the file and submit the parts")
    return spans
