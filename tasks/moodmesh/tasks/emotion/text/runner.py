"""Runs `emotion.text`: the pieces of a text one by one through an ONNX model.

One piece a run, on purpose: dynamic int8 scales activations by tensor, so in a batch a sentence's mood would depend on its
neighbours. For models this small the batch would save little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from moodmesh.tasks.emotion.text import ngrams, spans_of, text_of
from moodmesh.tasks.emotion.text.schema import Item, TextEmotion
from moodmesh.tasks.task import Context, Output, Request, Variant

Floats = NDArray[np.float32]
WINDOW = 96  # tokens the encoder was trained on
SLICE = 2000  # characters scored between two checks for cancellation
REPORTS = 100  # progress reports a job, at most


class Scorer(Protocol):
    """A loaded model."""

    def score(self, text: str) -> tuple[Floats, Floats]:
        """V, A, D in -1 to 1, and their sd, of one piece of text with at least one character in it."""


def session(file: Path) -> ort.InferenceSession:
    """An onnxruntime session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


class Tiny:
    """Hashed n-grams, a table of weights, a sum."""

    def __init__(self, file: Path) -> None:
        self._session = session(file)

    def score(self, text: str) -> tuple[Floats, Floats]:
        """See `Scorer`."""
        found = ngrams.counts(text)
        rows, counts = list(found), np.fromiter(found.values(), np.float32, len(found))
        mean, sd = self._session.run(None, {"rows": np.array(rows, np.int64), "counts": counts})
        return mean, sd


class Base:
    """The encoder; texts longer than its window are read window by window and averaged by tokens."""

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer

        self._session = session(file)
        self._tokenizer = Tokenizer.from_str(self._session.get_modelmeta().custom_metadata_map["tokenizer"])
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def score(self, text: str) -> tuple[Floats, Floats]:
        """See `Scorer`."""
        first, *inner, last = self._tokenizer.encode(text).ids
        windows = [[first, *part, last] for part in _windows(inner)]
        scored = [self._session.run(None, {"tokens": np.array([tokens], np.int64)}) for tokens in windows]
        weights = np.array([len(tokens) for tokens in windows], np.float32)
        mean, sd = (np.average([pair[n][0] for pair in scored], axis=0, weights=weights) for n in (0, 1))
        return mean, sd


def _windows(tokens: Sequence[int]) -> list[Sequence[int]]:
    """Equal parts that fit the window; one empty part of no tokens."""
    parts = max(1, math.ceil(len(tokens) / (WINDOW - 2)))
    size = math.ceil(len(tokens) / parts)
    return [tokens[at * size : (at + 1) * size] for at in range(parts)]


SCORERS: dict[str, type[Tiny] | type[Base]] = {"tiny": Tiny, "base": Base}


class TextRunner:
    """Scores the pieces of a text in order."""

    def __init__(self, variant: Variant, scorer: Scorer) -> None:
        self._variant = variant
        self._scorer = scorer

    def run(self, request: Request, context: Context) -> Output:
        """One item a piece; InvalidInput when the request has no usable text."""
        text = text_of(request)
        spans = spans_of(request, text)
        items: list[dict[str, Any]] = []
        every = max(1, len(spans) // REPORTS)
        for number, (start, end) in enumerate(spans):
            items.append(self._item(text[start:end], start, context))
            if number % every == 0:
                context.progress(number / len(spans))
        context.progress(1.0)
        card = self._variant.card
        assert card is not None
        answer = TextEmotion.model_construct(items=[], variant=self._variant.name, model=card.name, sha256=card.sha256)
        return Output(answer.model_dump() | {"items": items})

    def _item(self, piece: str, start: int, context: Context) -> dict[str, Any]:
        if not piece:
            return Item(start=start, end=start).model_dump()
        mean, sd = self._score(piece, context)
        names = ("valence", "arousal", "dominance")
        moods = {name: round(float(value), 4) for name, value in zip(names, mean, strict=True)}
        sds = {f"{name}_sd": round(float(value), 4) for name, value in zip(names, sd, strict=True)}
        return {"start": start, "end": start + len(piece)} | moods | sds | {"variant": self._variant.name}

    def _score(self, piece: str, context: Context) -> tuple[Floats, Floats]:
        """A piece longer than a slice is the mean of its slices, by characters."""
        slices = [piece[at : at + SLICE] for at in range(0, len(piece), SLICE)]
        pairs, weights = [], []
        for part in slices:
            context.check()
            if not part.isspace():
                pairs.append(self._scorer.score(part))
                weights.append(len(part))
        mean, sd = (np.average([pair[n] for pair in pairs], axis=0, weights=weights) for n in (0, 1))
        return mean, sd


def open_runner(variant: Variant, context: Context) -> TextRunner:
    """Load the model of a variant."""
    assert variant.card is not None
    return TextRunner(variant, SCORERS[variant.name](context.model(variant.card)))
