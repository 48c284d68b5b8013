"""Runs a judge: figures of a score through an ONNX model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from moodmesh.tasks.music.judge import rich, statistics
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.parts import key_of, parts, read
from moodmesh.tasks.music.judge.schema import MusicVerdict, Quadrants, Window
from moodmesh.tasks.music.judge.verdict import Verdict, judged
from moodmesh.tasks.music.notation.features import normalised
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.task import Context, Output, Request, Variant


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


class JudgeRunner:
    """Judges the parts of a MIDI file in order."""

    def __init__(self, variant: Variant, judge: Judge) -> None:
        self._variant = variant
        self._judge = judge

    def run(self, request: Request, context: Context) -> Output:
        """The verdict of the whole and of each part; InvalidInput when the file cannot be judged."""
        context.check()
        played = read(request.input)
        found = []
        whole = float(played.seconds(played.end).max())
        for start, length, score in parts(played):
            context.check()
            found.append(Window(start_s=round(start, 3), length_s=round(length, 3), **self._chances(score)))
            context.progress(min(start / whole, 1.0))
        context.progress(1.0)
        return Output(self._answer(found, str(key_of(played))).model_dump())

    def _chances(self, score: Score) -> dict[str, float]:
        if not score.notes:
            return {}
        arousal, valence = self._judge.chances(score).tolist()
        return {"arousal_high": round(arousal, 4), "valence_high": round(valence, 4)}

    def _answer(self, found: list[Window], key: str) -> MusicVerdict:
        heard = [
            (window.length_s, window.arousal_high, window.valence_high) for window in found if window.arousal_high is not None
        ]
        lengths, arousal, valence = np.array(heard, np.float64).T
        verdict = Verdict(*(round(float(np.average(axis, weights=lengths)), 4) for axis in (arousal, valence)))
        q1, q2, q3, q4 = (round(chance, 4) for chance in verdict.quadrants)
        card = self._variant.card
        assert card is not None
        return MusicVerdict(
            arousal_high=verdict.arousal,
            valence_high=verdict.valence,
            quadrants=Quadrants(q1=q1, q2=q2, q3=q3, q4=q4),
            key=key,
            windows=found,
            variant=self._variant.name,
            model=card.name,
            sha256=card.sha256,
        )


def open_runner(variant: Variant, context: Context) -> JudgeRunner:
    """Load the model of a variant."""
    assert variant.card is not None
    return JudgeRunner(variant, Judge(context.model(variant.card), variant.name))
