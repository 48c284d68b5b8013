"""How likely a composer calls music that it never saw: nats a token on fixed windows, and what int8 loses (systems S30)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from moodmesh.tasks.music.engine.steps import Steps
from moodmesh.tasks.music.model.conditioned import ByAttributes, Unconditional
from moodmesh.tasks.music.model.decoder import token_loss
from moodmesh.tasks.music.model.examples import Window
from moodmesh.tasks.music.model.gmvae import GMVAE, NARROW, WIDE
from moodmesh.tasks.music.model.gmvae import Windows as ForGMVAE
from moodmesh.tasks.music.notation.vocabulary import PAD

INT8_MAY_LOSE = 0.02
"""Nats a token (systems S30)."""
DRAWS = 8
"""Latents by which p(x | y) is estimated."""
Nats = Callable[[Window], float]
"""Nats a token of a window, its first token and PAD aside."""


def predicted(window: Window) -> int:
    """Tokens of a window that are predicted."""
    return int((window.tokens[1:] != PAD).sum())


def per_token(windows: Sequence[Window], nats: Nats) -> float:
    """The mean over the tokens of all windows."""
    counts = [predicted(window) for window in windows]
    return float(np.average([nats(window) for window in windows], weights=counts))


def by_torch(model: ByAttributes | Unconditional) -> Nats:
    """Of a model in evaluation mode, told the true attributes if it is told any."""

    def nats(window: Window) -> float:
        tokens = torch.from_numpy(window.tokens)[None]
        with torch.inference_mode():
            if isinstance(model, Unconditional):
                return float(model(tokens))
            return float(model(tokens, torch.from_numpy(window.spans)[None], torch.from_numpy(window.told)[None]))

    return nats


def by_steps(steps: Steps) -> Nats:
    """Of the graphs that ship, token by token as a composer plays; told the true attributes."""

    def nats(window: Window) -> float:
        total, span, steps.past = 0.0, -1, 0
        for at in range(predicted(window)):
            if window.spans[at] != span:
                span = int(window.spans[at])
                steps.remember(window.told[span].tolist())
            logits = steps.feed([int(window.tokens[at])]).astype(np.float64)
            total += float(np.logaddexp.reduce(logits) - logits[window.tokens[at + 1]])
        return total / predicted(window)

    return nats


def bound(model: GMVAE) -> Nats:
    """-ELBO of a GMVAE with one draw from q(z | x), no matter how its training weighs the KL."""

    def nats(window: Window) -> float:
        with torch.inference_mode():
            torch.manual_seed(0)
            terms = model.terms(given(window))
        return float(terms["nll"] + terms["kl"]) / predicted(window)

    return nats


def by_mood(model: GMVAE) -> Nats:
    """-log p(x | y) by DRAWS latents of the components of y, on average too high: y is the label of a window, or what q(y | x)
    calls likeliest of this very window."""

    def nats(window: Window) -> float:
        held, random = given(window), torch.Generator().manual_seed(0)
        with torch.inference_mode():
            guessed = model.posterior(model.encode(held.tokens)[0]).argmax(-1)[0]
            y = torch.where(held.mood[0] >= 0, held.mood[0], guessed)
            mean, log_var = (_of(part, y) for part in (model.means, model.log_vars.clamp(NARROW, WIDE)))
            z = mean + (log_var / 2).exp() * torch.randn((DRAWS, *mean.shape), generator=random)
            memory = model.memory(z)
            each = [
                token_loss(model.decoder(held.tokens, memory[at : at + 1]), held.tokens) * predicted(window)
                for at in range(DRAWS)
            ]
        return float(math.log(DRAWS) - torch.logsumexp(-torch.stack(each), 0)) / predicted(window)

    return nats


def _of(parts: Tensor, y: Tensor) -> Tensor:
    """[2, latent] of the components y [2] of parts [2, 2, latent]."""
    return parts[torch.arange(2), y]


def given(window: Window) -> ForGMVAE:
    """A window as a batch of one."""
    mood = [-1, -1] if window.mood is None else [(window.mood[1] + 1) // 2, (window.mood[0] + 1) // 2]
    minor = torch.tensor([int(window.minor)])
    polyphony = torch.from_numpy(window.polyphony)[None]
    return ForGMVAE(torch.from_numpy(window.tokens)[None], polyphony, minor, torch.tensor([mood]))
