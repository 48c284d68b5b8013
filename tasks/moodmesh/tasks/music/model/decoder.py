"""The decoder that all composers share: a causal Transformer that reads a short memory besides its tokens (systems S17).

Departures from S17, each for speed or for fewer errors at the same cost: rotary positions instead of sinusoidal ones, two
or three heads of queries to one of keys and values, norms without a bias before each part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moodmesh.tasks.music.notation.vocabulary import SIZE as VOCABULARY

HEAD = 64
"""Width of a head."""
ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class Size:
    """How large a decoder is; `width` is a multiple of HEAD, and the heads of queries a multiple of `kv_heads`."""

    layers: int
    width: int
    kv_heads: int

    @property
    def heads(self) -> int:
        """Heads of queries."""
        return self.width // HEAD


SIZES = {"tiny": Size(4, 256, 2), "base": Size(6, 384, 2), "full": Size(12, 512, 4)}


def rotation(length: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """cos and sin, each [length, HEAD / 2], of the angles of every place (Su et al. 2021)."""
    rate = ROTARY_BASE ** (-torch.arange(0, HEAD, 2, device=device) / HEAD)
    angle = torch.arange(length, device=device)[:, None] * rate
    return angle.cos(), angle.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Every head of x [batch, heads, length, HEAD] turned by its place; the halves of a head make the pairs."""
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(x.dtype)


class Attention(nn.Module):
    """Attention of `size.heads` queries over `kv_heads` keys and values; over tokens it is causal and rotary."""

    def __init__(self, size: Size, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads = size.heads, kv_heads
        self.q = nn.Linear(size.width, size.width, bias=False)
        self.k = nn.Linear(size.width, kv_heads * HEAD, bias=False)
        self.v = nn.Linear(size.width, kv_heads * HEAD, bias=False)
        self.out = nn.Linear(size.width, size.width, bias=False)

    def forward(
        self,
        x: Tensor,
        over: Tensor,
        turn: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """[batch, length, width] of x attending `over` [batch, other, width] where `mask` allows."""
        q, k, v = _split(self.q(x), self.heads), _split(self.k(over), self.kv_heads), _split(self.v(over), self.kv_heads)
        if turn is not None:
            q, k = rotated(q, *turn), rotated(k, *turn)
        if self.heads != self.kv_heads:
            k, v = (one.repeat_interleave(self.heads // self.kv_heads, 1) for one in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y


def _split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:2], heads, HEAD).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Four times as wide inside, with GELU."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))


class Layer(nn.Module):
    """Attention over the tokens so far, over the memory, and a feed-forward part, each added to what comes in."""

    def __init__(self, size: Size, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(size.width, bias=False) for _ in range(3))
        self.tokens = Attention(size, size.kv_heads)
        self.memory = Attention(size, size.heads)
        self.feed = FeedForward(size.width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """[batch, length, width] -> the same."""
        y = self.norms[0](x)
        x = x + self.drop(self.tokens(y, y, turn, causal=True))
        x = x + self.drop(self.memory(self.norms[1](x), memory, mask=mask))
        y = self.drop(self.feed(self.norms[2](x)))
        z: Tensor = x + y
        return z


class Decoder(nn.Module):
    """Logits of the next token, of the tokens so far and a memory."""

    def __init__(self, size: Size, dropout: float = 0.0) -> None:
        super().__init__()
        self.size = size
        self.embed = nn.Embedding(VOCABULARY, size.width)
        self.layers = nn.ModuleList(Layer(size, dropout) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width, bias=False)
        self.logits = nn.Linear(size.width, VOCABULARY, bias=False)
        self.drop = nn.Dropout(dropout)
        self.apply(_start)
        for name, weight in self.layers.named_parameters():
            if name.endswith(("out.weight", "feed.2.weight")):  # what is added to the stream, three times a layer
                nn.init.normal_(weight, std=0.02 / (3 * size.layers) ** 0.5)

    def forward(self, tokens: Tensor, memory: Tensor, where: Tensor | None = None) -> Tensor:
        """[batch, length, 923] logits of tokens [batch, length] and memory [batch, places, width].

        `where` [batch, length, places] is True for the places of the memory that a token may read; None for all.
        """
        turn = rotation(tokens.shape[1], tokens.device)
        mask = None if where is None else where[:, None]
        x = self.drop(self.embed(tokens))
        for layer in self.layers:
            x = layer(x, memory, turn, mask)
        y: Tensor = self.logits(self.norm(x))
        return y


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mean nats per token of tokens[:, 1:] under logits[:, :-1]; PAD does not count."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten(), ignore_index=0)
