"""The Gaussian-mixture VAE of music and mood (systems S17, S18), in the terms of its specification.

    p(x, z, y) = p(x | z_poly, z_mode) p(z_poly | y_poly) p(z_mode | y_mode) p(y_poly) p(y_mode),   p(y) = 1/2

x is a window of tokens; z_poly says how active it is (arousal), z_mode how glad (valence); y is low or high of each. Encoder
and decoder are Transformers; the decoder's memory is [z_poly; z_mode]. Besides the words of the objective:

- the polyphony and the mode of a window are read from their own latent, and unlearnt from the other by gradient reversal;
- components are kept apart where plain mixtures drift together (Semg-GMVAE 2024; PLOS ONE 19(12) e0311541): labelled windows
  are told apart by p(y | z) (mutual information), the means stay `apart` standard deviations from each
  other, and the KL counts only beyond `free` nats a dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moodmesh.tasks.music.model.decoder import Attention, Decoder, FeedForward, Size, rotation, token_loss
from moodmesh.tasks.music.notation.features import POLYPHONY_BOUNDS
from moodmesh.tasks.music.notation.vocabulary import PAD
from moodmesh.tasks.music.notation.vocabulary import SIZE as VOCABULARY

AXES = ("poly", "mode")
"""The latents, in order: what they stand for is arousal and valence."""
LOW, HIGH = range(2)
CLASSES = len(POLYPHONY_BOUNDS) + 1
NARROW, WIDE = -4.0, 1.0
"""Bounds of the log variances."""


@dataclass(frozen=True)
class Weights:
    """The weights of the terms; each is in nats a window, as the likelihood is. `beta` is the KL's at its highest."""

    latent: int = 64
    beta: float = 0.2
    free: float = 0.05
    feature: float = 40.0
    adversary: float = 10.0
    label: float = 40.0
    apart: float = 4.0
    separation: float = 10.0


@dataclass(frozen=True)
class Windows:
    """A batch. `tokens` [batch, length]; `polyphony` [batch, CLASSES] shares of its bars; `minor` [batch] 0 or 1;
    `mood` [batch, 2] class of arousal and valence, -1 for no label."""

    tokens: Tensor
    polyphony: Tensor
    minor: Tensor
    mood: Tensor


class Encoder(nn.Module):
    """Two layers of attention both ways over a window, and their mean: one for both latents."""

    def __init__(self, size: Size, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, size.width)
        self.layers = nn.ModuleList(EncoderLayer(size) for _ in range(layers))
        self.norm = nn.LayerNorm(size.width, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, width] of tokens [batch, length]."""
        there = tokens != PAD
        x, turn = self.embed(tokens), rotation(tokens.shape[1], tokens.device)
        for layer in self.layers:
            x = layer(x, turn, there[:, None, None])
        y: Tensor = (self.norm(x) * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        return y


class EncoderLayer(nn.Module):
    """Attention over all of the window, and a feed-forward part."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(size.width, bias=False) for _ in range(2))
        self.tokens = Attention(size, size.kv_heads)
        self.feed = FeedForward(size.width)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """[batch, length, width] -> the same."""
        y = self.norms[0](x)
        x = x + self.tokens(y, y, turn, mask)
        z: Tensor = x + self.feed(self.norms[1](x))
        return z


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient points the other way (Ganin and Lempitsky 2015)."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return -gradient


def _reversed(x: Tensor) -> Tensor:
    y: Tensor = _Reversed.apply(x)  # type: ignore[no-untyped-call]
    return y


class GMVAE(nn.Module):
    """Encoder, mixture and decoder; the [2, 2, latent] means and log variances of the components are learnt with the rest.

    In training the decoder sees PAD in place of a share `token_drop` of the tokens, so that it asks the latents (systems S17).
    """

    def __init__(self, size: Size, weights: Weights, dropout: float = 0.0, token_drop: float = 0.0) -> None:
        super().__init__()
        self.weights, self.token_drop = weights, token_drop
        self.encoder, self.decoder = Encoder(size), Decoder(size, dropout)
        self.mean = nn.ModuleList(nn.Linear(size.width, weights.latent) for _ in AXES)
        self.log_var = nn.ModuleList(nn.Linear(size.width, weights.latent) for _ in AXES)
        step = weights.apart / 2 / math.sqrt(weights.latent)
        self.means = nn.Parameter(torch.tensor([-step, step])[None, :, None].repeat(2, 1, weights.latent))
        self.log_vars = nn.Parameter(torch.zeros(2, 2, weights.latent))
        self.features = nn.ModuleList([nn.Linear(weights.latent, CLASSES), nn.Linear(weights.latent, 2)])
        self.adversaries = nn.ModuleList([nn.Linear(weights.latent, CLASSES), nn.Linear(weights.latent, 2)])
        self.to_memory = nn.ModuleList(nn.Linear(weights.latent, size.width) for _ in AXES)

    def encode(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | x), each [batch, 2, latent]."""
        h = self.encoder(tokens)
        log_var = torch.stack([head(h) for head in self.log_var], 1).float()
        return torch.stack([head(h) for head in self.mean], 1).float(), log_var.clamp(NARROW, WIDE)

    def memory(self, z: Tensor) -> Tensor:
        """[batch, 2, width] of z [batch, 2, latent]."""
        return torch.stack([to(z[:, axis]) for axis, to in enumerate(self.to_memory)], 1)

    def posterior(self, z: Tensor) -> Tensor:
        """log p(y | z), [batch, 2, 2], by Bayes' rule from the components alone."""
        log_var = self._log_vars()
        density = -0.5 * ((z[:, :, None] - self.means) ** 2 / log_var.exp() + log_var).sum(-1)
        return density.log_softmax(-1)

    def _log_vars(self) -> Tensor:
        return self.log_vars.clamp(NARROW, WIDE)

    def divergence(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """KL of q(z | x) from every component, [batch, 2, 2, latent]."""
        to = self._log_vars()
        apart = (log_var.exp()[:, :, None] + (mean[:, :, None] - self.means) ** 2) / to.exp()
        return 0.5 * (to - log_var[:, :, None] + apart - 1)

    def distance(self) -> Tensor:
        """[2] how many standard deviations the two components of each latent are apart."""
        spread = self._log_vars().exp().mean(1)
        return ((self.means[:, HIGH] - self.means[:, LOW]) ** 2 / spread).sum(-1).sqrt()

    def terms(self, given: Windows) -> dict[str, Tensor]:
        """The terms of the objective, each a mean over the batch, in nats a window; `nll` with z from q(z | x)."""
        mean, log_var = self.encode(given.tokens)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        seen = given.tokens
        if self.training and self.token_drop:
            seen = seen.masked_fill(torch.rand(seen.shape, device=seen.device) < self.token_drop, PAD)
        logits = self.decoder(seen, self.memory(z))
        count = (given.tokens[:, 1:] != PAD).sum() / len(given.tokens)
        log_y = self.posterior(z)
        known = given.mood >= 0
        chosen = F.one_hot(given.mood.clamp(min=0), 2).float()
        share = torch.where(known[..., None], chosen, log_y.exp())
        kl = (share[..., None] * self.divergence(mean, log_var)).sum(2)  # [batch, 2, latent]
        uniform = (log_y.exp() * (log_y + math.log(2))).sum(-1) * ~known
        return {
            "nll": token_loss(logits, given.tokens) * count,
            "kl": kl.sum((1, 2)).mean() + uniform.sum(1).mean(),
            "kl_free": kl.mean(0).clamp(min=self.weights.free).sum() + uniform.sum(1).mean(),
            "feature": _told(self.features, z[:, 0], z[:, 1], given),
            "adversary": _told(self.adversaries, _reversed(z[:, 1]), _reversed(z[:, 0]), given),
            "label": -((log_y * chosen).sum(-1) * known).sum() / len(z),
            "separation": F.relu(self.weights.apart - self.distance()).sum(),
        }

    def forward(self, given: Windows, warm: Tensor) -> Tensor:
        """The objective, a token; `warm` is the share of beta that the KL counts with."""
        return self.objective(self.terms(given), given, warm)

    def objective(self, terms: dict[str, Tensor], given: Windows, warm: Tensor | float) -> Tensor:
        """What `forward` returns, of the terms of a batch."""
        w, count = self.weights, (given.tokens[:, 1:] != PAD).sum() / len(given.tokens)
        total = terms["nll"] + warm * w.beta * terms["kl_free"] + w.feature * terms["feature"] + w.label * terms["label"]
        total = total + w.adversary * terms["adversary"] + w.separation * terms["separation"]
        return total / count


def _told(heads: nn.ModuleList, polyphony_of: Tensor, mode_of: Tensor, given: Windows) -> Tensor:
    """Cross-entropy of the polyphony and of the mode that the heads read, each from a latent [batch, latent]."""
    poly, mode = heads[0](polyphony_of).float(), heads[1](mode_of).float()
    return F.cross_entropy(poly, given.polyphony) + F.cross_entropy(mode, given.minor)


@torch.no_grad()
def alarms(model: GMVAE, batches: Sequence[Windows]) -> dict[str, float]:
    """What shows a collapse: KL a dimension, active units of 2 x latent (Burda et al. 2016), distance of the components,
    entropy of q(y) (0 to ln 2 = .69) and its mean over windows, accuracy of q(y | x) where moods are known."""
    means, posteriors, kls, right = [], [], [], []
    for given in batches:
        mean, log_var = model.encode(given.tokens)
        log_y = model.posterior(mean)
        kls.append((log_y.exp()[..., None] * model.divergence(mean, log_var)).sum(2).mean(0))
        known = given.mood >= 0
        right.append((log_y.argmax(-1) == given.mood)[known].float())
        means.append(mean)
        posteriors.append(log_y.exp())
    y = torch.cat(posteriors)
    found = {
        "kl_dim": float(torch.stack(kls).mean()),
        "active": float((torch.cat(means).var(0) > 0.01).sum()),
        "entropy": float(torch.special.entr(y).sum(-1).mean()),
        "entropy_of_mean": float(torch.special.entr(y.mean(0)).sum(-1).mean()),
        "accuracy": float(torch.cat(right).mean()) if any(len(one) for one in right) else math.nan,
    }
    return {**found, **{f"distance_{axis}": float(apart) for axis, apart in zip(AXES, model.distance(), strict=True)}}
