"""The base model of `emotion.text`: a six-layer BERT encoder with mean pooling and three heads (systems S3).

Shapes: b sentences, t tokens, h width. The layout of the weights is that of BERT (Devlin et al. 2019), so that
all-MiniLM-L6-v2 (Wang et al. 2020, Apache-2.0) loads as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder; the defaults are those of all-MiniLM-L6-v2."""

    vocabulary: int = 30522
    positions: int = 512
    width: int = 384
    layers: int = 6
    heads: int = 12
    inner: int = 1536
    dropout: float = 0.1
    labels: int = 28
    sentiments: int = 4


class Embeddings(nn.Module):
    """Token + position + segment 0, normalised: [b, t] -> [b, t, h]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocabulary, config.width)
        self.position_embeddings = nn.Embedding(config.positions, config.width)
        self.token_type_embeddings = nn.Embedding(2, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed token numbers."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        segment = self.token_type_embeddings.weight[0]
        summed = self.word_embeddings(tokens) + self.position_embeddings(places) + segment
        return self.dropout(self.LayerNorm(summed))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """One post-norm Transformer block: [b, t, h] -> [b, t, h]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.rate = config.dropout
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.mixed = nn.Linear(config.width, config.width)
        self.attended = nn.LayerNorm(config.width, eps=1e-12)
        self.widen = nn.Linear(config.width, config.inner)
        self.narrow = nn.Linear(config.inner, config.width)
        self.out = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """`bias` [b, 1, 1, t] is 0 on tokens and very negative on padding; None where nothing is padded."""
        split = (*x.shape[:2], self.heads, x.shape[2] // self.heads)
        q, k, v = (part(x).view(split).transpose(1, 2) for part in (self.query, self.key, self.value))
        rate = self.rate if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=rate)
        x = self.attended(x + self.dropout(self.mixed(seen.transpose(1, 2).reshape(x.shape))))
        return self.out(x + self.dropout(self.narrow(F.gelu(self.widen(x)))))  # type: ignore[no-any-return]


class TextModel(nn.Module):
    """Encoder, mean pooling and heads for V A D (z scores), the 28 GoEmotions labels and sentiment."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        self.vad = nn.Linear(config.width, 3)
        self.labels = nn.Linear(config.width, config.labels)
        self.sentiment = nn.Linear(config.width, config.sentiments)

    def pooled(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean over the tokens that a 0/1 mask keeps (all without one): [b, t] -> [b, h]."""
        bias = None if mask is None else (1 - mask[:, None, None, :].float()) * -1e4
        x: Tensor = self.embeddings(tokens)
        for layer in self.layers:
            x = layer(x, bias)
        if mask is None:
            return x.mean(1)
        real = mask[..., None].float()
        return (x * real).sum(1) / real.sum(1)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """VAD z scores [b, 3], label logits [b, 28], sentiment logits [b, 4]."""
        features = self.dropout(self.pooled(tokens, mask))
        return self.vad(features), self.labels(features), self.sentiment(features)


_RENAMED = (
    ("attention.self.", ""),
    ("attention.output.dense", "mixed"),
    ("attention.output.LayerNorm", "attended"),
    ("intermediate.dense", "widen"),
    ("output.dense", "narrow"),
    ("output.LayerNorm", "out"),
    ("encoder.layer.", "layers."),
)


def load_bert(model: TextModel, file: Path) -> None:
    """Fill the encoder from a BERT safetensors file; the heads keep their initial values."""
    ours: dict[str, Tensor] = {}
    for name, value in load_file(file).items():
        for theirs, mine in _RENAMED:
            name = name.replace(theirs, mine)
        ours[name] = value
    known = {name: value for name, value in ours.items() if name in model.state_dict()}
    missing, _ = model.load_state_dict(known, strict=False)
    if any(not name.startswith(("vad", "labels", "sentiment")) for name in missing):
        raise ValueError(f"{file} is not a BERT encoder of this size: it lacks {missing[0]}")
