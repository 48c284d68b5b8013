"""Composers told what to show: by attributes that can be computed of any music (systems S19), or nothing at all.

The second is the bar that a conditioned composer is compared with, the reference by which music is called likely, and where the
others begin.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moodmesh.tasks.music.model.decoder import Decoder, Size, token_loss
from moodmesh.tasks.music.rules.attributes import DESCRIBED

TOKENS = 2
"""Places in the memory for one description."""


class Unconditional(nn.Module):
    """A decoder whose memory never changes."""

    def __init__(self, size: Size, dropout: float = 0.0) -> None:
        super().__init__()
        self.decoder = Decoder(size, dropout)
        self.nothing = nn.Parameter(0.02 * torch.randn(1, TOKENS, size.width))

    def memory(self, batch: int) -> Tensor:
        """[batch, TOKENS, width]."""
        return self.nothing.expand(batch, -1, -1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mean nats per token of [batch, length]."""
        return token_loss(self.decoder(tokens, self.memory(len(tokens))), tokens)


class ByAttributes(nn.Module):
    """A decoder whose memory says, for each span of bars, what is to be heard in them (`examples.described`)."""

    def __init__(self, size: Size, dropout: float = 0.0) -> None:
        super().__init__()
        self.decoder = Decoder(size, dropout)
        self.tell = nn.Sequential(
            nn.Linear(DESCRIBED, size.width), nn.GELU(approximate="tanh"), nn.Linear(size.width, TOKENS * size.width)
        )

    def memory(self, told: Tensor) -> Tensor:
        """[batch, spans * TOKENS, width] of [batch, spans, DESCRIBED]."""
        y: Tensor = self.tell(told).unflatten(-1, (TOKENS, -1)).flatten(1, 2)
        return y

    def forward(self, tokens: Tensor, spans: Tensor, told: Tensor) -> Tensor:
        """Mean nats per token of [batch, length]; `spans` says which description holds from each token on."""
        place = torch.arange(told.shape[1], device=told.device).repeat_interleave(TOKENS)
        return token_loss(self.decoder(tokens, self.memory(told), spans[..., None] == place), tokens)
