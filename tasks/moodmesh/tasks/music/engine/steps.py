"""The step of a composer on onnxruntime: tokens in, logits out, the caches grown in place (systems S30)."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Memory = dict[str, "ort.OrtValue"]
"""Keys and values of one description in every layer, some 16 kB."""
MOST_TOLD = 32
"""Memories that are kept: of the phrases that a window is of, so that reading it again computes none twice."""


def pack(file: Path, step: bytes, tell: bytes) -> None:
    """Write the two graphs of a composer as one file, the same bytes for the same graphs."""
    with zipfile.ZipFile(file, "w") as made:
        for name, content in (("step.onnx", step), ("tell.onnx", tell)):
            made.writestr(zipfile.ZipInfo(name), content)


class Stepping(Protocol):
    """A composer with one piece in its caches: `past` tokens of at most `room`; the seam that a player plays on."""

    room: int
    past: int

    def remember(self, told: Sequence[float]) -> None:
        """From now on the memory says what a description says."""

    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """[923] logits of what follows."""


class Steps:
    """A loaded composer with one piece in its caches: `past` tokens of at most `room`.

    Setting `past` back forgets what came later. A memory must be in place (`remember`) before the first `feed`.
    """

    def __init__(self, step: bytes, tell: bytes, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._step = ort.InferenceSession(step, options, providers=["CPUExecutionProvider"])
        self._tell = ort.InferenceSession(tell, options, providers=["CPUExecutionProvider"])
        self._told: dict[bytes, Memory] = {}
        self._bound = self._step.io_binding()
        self.past = 0
        shapes = {one.name: one.shape for one in self._step.get_inputs()}
        caches = [name for name in shapes if f"{name}_grown" in {one.name for one in self._step.get_outputs()}]
        self.room: int = shapes[caches[0]][2]
        for name in caches:
            cache = ort.OrtValue.ortvalue_from_numpy(np.zeros(shapes[name], np.float32))
            self._bound.bind_ortvalue_input(name, cache)
            self._bound.bind_ortvalue_output(f"{name}_grown", cache)
        self._token, self._last, self._places = np.zeros((1, 1), np.int64), np.zeros(1, np.int32), np.zeros(1, np.int32)
        self._one, self._several = _value(self._token), True  # what is bound is the memory of these arrays
        self._bound.bind_ortvalue_input("last_place", _value(self._last))
        self._bound.bind_ortvalue_input("places", _value(self._places))
        logits = ort.OrtValue.ortvalue_from_shape_and_type(self._step.get_outputs()[0].shape, np.float32)
        self._bound.bind_ortvalue_output("logits", logits)
        self._logits: NDArray[np.float32] = logits.numpy()[0]

    @classmethod
    def load(cls, file: Path, threads: int = 1) -> Steps:
        """From a file that `pack` wrote."""
        with zipfile.ZipFile(file) as held:
            return cls(held.read("step.onnx"), held.read("tell.onnx"), threads)

    def remember(self, told: Sequence[float]) -> None:
        """From now on the memory says what a description says (`examples.described`)."""
        row = np.array([told], np.float32)
        memory = self._told.pop(row.tobytes(), None) or self._computed(row)
        self._told[row.tobytes()] = memory  # the one that was not wanted for longest is first
        if len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]
        for name, value in memory.items():
            self._bound.bind_ortvalue_input(name, value)

    def _computed(self, row: NDArray[np.float32]) -> Memory:
        names = [one.name for one in self._tell.get_outputs()]
        values = self._tell.run(names, {"told": row})
        return {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in zip(names, values, strict=True)}

    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """[923] logits of what follows `tokens`; the array is written over by the next call. At most `room` tokens in all."""
        count = len(tokens)
        if not 0 < count <= self.room - self.past:
            raise ValueError(f"{count} tokens after {self.past}: a composer holds 1 to {self.room}")
        if count > 1 or self._several:
            self._bound.bind_ortvalue_input("tokens", _value(np.array([tokens], np.int64)) if count > 1 else self._one)
        self._several = count > 1
        self._token[0, 0] = tokens[0]
        self._last[0], self._places[0] = self.past + count - 1, self.past + count
        self._step.run_with_iobinding(self._bound)
        self.past += count
        return self._logits

    def alone(self) -> tuple[ort.InferenceSession, ort.IOBinding]:
        """The session, and all that is bound to it: for a measurement of it without what is around it."""
        return self._step, self._bound


def _value(held: NDArray[Any]) -> ort.OrtValue:
    """Of the same memory: what is written to the array later is read from there."""
    return ort.OrtValue.ortvalue_from_numpy(held)
