"""Runs a judge: figures of a score through an ONNX model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from moodmesh.tasks.music.judge import rich, statistics
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.verdict import Verdict, judged
from moodmesh.tasks.music.notation.features import normalised
from moodmesh.tasks.music.notation.score import Score


def _tiny(score: Score) -> Floats:
    return statistics.note_statistics(normalised(score)[0])


FIGURES: dict[str, Callable[[Score], Floats]] = {"tiny": _tiny, "base": rich.features}
"""What each variant hears of a score, whatever its key."""


class Judge:
    """A loaded judge."""

    def __init__(self, file: Path, variant: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        self._session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._figures = FIGURES[variant]

    def chances(self, score: Score) -> Floats:
        """[2] P(arousal high), P(valence high) of a piece at once; InvalidInput for no pitched notes."""
        figures = self._figures(score).astype(np.float32)
        high: Floats = self._session.run(None, {"x": figures[None]})[0][0]
        return high

    def judged(self, score: Score) -> Verdict:
        """Of a piece of any length, window by window; InvalidInput for no pitched notes."""
        return judged(score, self.chances)[0]
