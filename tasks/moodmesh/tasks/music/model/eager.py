"""The step of a composer in plain PyTorch: what the engine on onnxruntime is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moodmesh.tasks.music.model.conditioned import ByAttributes
from moodmesh.tasks.music.model.decoder import HEAD, Attention, Layer, rotated, rotation


class EagerSteps:
    """As `engine.steps.Steps`: caches of keys and values that grow in place, `past` tokens of at most `room`."""

    def __init__(self, model: ByAttributes, room: int = 1024) -> None:
        self._model, self.room, self.past = model.eval(), room, 0
        size = model.decoder.size
        self._layers = [layer for layer in model.decoder.layers if isinstance(layer, Layer)]
        self._caches = [torch.zeros(2, 1, size.kv_heads, room, HEAD) for _ in self._layers]
        self._turn = rotation(room)
        self._memory = list[tuple[Tensor, Tensor]]()

    @torch.inference_mode()
    def remember(self, told: Sequence[float]) -> None:
        """From now on the memory says what a description says."""
        memory = self._model.memory(torch.tensor([[list(told)]], dtype=torch.float32))
        self._memory = [(_heads(layer.memory.k(memory)), _heads(layer.memory.v(memory))) for layer in self._layers]

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """[923] logits of what follows."""
        if not 0 < len(tokens) <= self.room - self.past:
            raise ValueError(f"{len(tokens)} tokens after {self.past}: a composer holds 1 to {self.room}")
        decoder = self._model.decoder
        x = decoder.embed(torch.tensor([list(tokens)]))
        begin, self.past = self.past, self.past + len(tokens)
        for layer, cache, memory in zip(self._layers, self._caches, self._memory, strict=True):
            x = x + self._over_tokens(layer.tokens, layer.norms[0](x), cache, begin)
            q = _heads(layer.memory.q(layer.norms[1](x)))
            x = x + layer.memory.out(F.scaled_dot_product_attention(q, *memory).transpose(1, 2).flatten(2))
            x = x + layer.feed(layer.norms[2](x))
        logits: NDArray[np.float32] = decoder.logits(decoder.norm(x[:, -1]))[0].numpy()
        return logits

    def _over_tokens(self, part: Attention, x: Tensor, cache: Tensor, begin: int) -> Tensor:
        cos, sin = (one[begin : self.past] for one in self._turn)
        q = rotated(_heads(part.q(x)), cos, sin)
        cache[0, :, :, begin : self.past] = rotated(_heads(part.k(x)), cos, sin)
        cache[1, :, :, begin : self.past] = _heads(part.v(x))
        places = torch.arange(self.past)
        mask = places <= torch.arange(begin, self.past)[:, None]
        k, v = cache[:, :, :, : self.past]
        mixed = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
        y: Tensor = part.out(mixed.transpose(1, 2).flatten(2))
        return y


def _heads(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:2], -1, HEAD).transpose(1, 2)
