"""`music.generate` of devices in trouble, in place of the installed one: out of memory, or with a damaged model file."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from moodmesh.tasks.models import Card
from moodmesh.tasks.music.generate import MusicGenerate
from moodmesh.tasks.task import Context, Output, Request, Runner, TaskSpec, Variant

WEIGHTS = b"the weights"
CARD = Card("music-tiny", "tiny.onnx", hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS), "CC0-1.0", ("none",), "none", "none")


class Starved:
    """A runner whose second bar does not fit."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def run(self, request: Request, context: Context) -> Output:
        self._runner.run(replace(request, params={**request.params, "bars": 1}), context)
        raise MemoryError("no room for the next bar")


def _with(better: Variant) -> TaskSpec:
    """The best variant is had by this device alone, so that it is chosen."""
    return replace(MusicGenerate.spec, variants=(*MusicGenerate.spec.variants[:1], better))


class OutOfMemory(MusicGenerate):
    spec = _with(Variant("tiny", 9, 140))

    def open(self, variant: str, context: Context) -> Runner:
        return Starved(super().open("rules", context))


class WithAModel(MusicGenerate):
    spec = _with(Variant("tiny", 9, 140, CARD))

    def open(self, variant: str, context: Context) -> Runner:
        context.model(CARD)
        return super().open("rules", context)
