"""The three kinds of room: how each encodes a mood, what a release costs, how far off its mean may be (room-mood §2, §7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from moodmesh.privacy.raw import EmotionVector

from .chance import discrete_gauss
from .gaussian import SCALE, SENSITIVITY, sigma_for
from .privunit import draw, randomiser

Kind = Literal["circle", "on-demand", "ambient"]
Encoded = tuple[int, ...]
LEAST = {"circle": 3, "on-demand": 5, "ambient": 30}
"""How many people a room of each kind has at least."""
PER_HOUR = 6


class Price(NamedTuple):
    """What one release costs: `pure` epsilon, and the squares of mu in the room and alone; all 0 for an exact one."""

    pure: float = 0.0
    room: float = 0.0
    alone: float = 0.0


class Mechanism(Protocol):
    """Encodes the mood of one member for one release."""

    @property
    def kind(self) -> Kind:
        """The kind of room it serves."""

    def encode(self, mood: EmotionVector) -> Encoded:
        """The integers that are shared: valence and arousal, randomised unless the kind is exact."""

    def price(self, honest: int) -> Price:
        """The cost of sending to a room in which so many contributors are taken to be honest, the sender included."""

    def bound(self, contributors: int) -> float:
        """A sum with an axis beyond this was not made by this mechanism."""

    def rms(self, contributors: int) -> float:
        """Root mean square error of the mean per axis, in mood units; an upper bound where it depends on the moods."""


def clip(x: float, y: float) -> tuple[float, float]:
    """The point, drawn to the unit disc if outside; ValueError for what is not a number."""
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError("valence and arousal are numbers")
    size = max(1.0, math.hypot(x, y))  # the same work inside: how long it takes does not tell where the mood lies
    return x / size, y / size


def quantise(x: float, y: float) -> tuple[int, int]:
    """A point of the disc in integer units, rounded half to even."""
    return round(SCALE * x), round(SCALE * y)


@dataclass(frozen=True)
class Circle:
    """The exact mean of people who all know each other: not differentially private."""

    kind: Kind = "circle"

    def encode(self, mood: EmotionVector) -> Encoded:
        """Clipped and rounded."""
        return quantise(*clip(mood.valence, mood.arousal))

    def price(self, honest: int) -> Price:
        """No epsilon describes it."""
        return Price()

    def bound(self, contributors: int) -> float:
        """Everybody at the edge."""
        return contributors * (SCALE + 1)

    def rms(self, contributors: int) -> float:
        """Of the rounding alone."""
        return 1 / (SCALE * math.sqrt(12 * contributors))


@dataclass(frozen=True)
class OnDemand:
    """Mode L: each report is private by itself, pure `eps` of 1, 2 or 4."""

    eps: int
    kind: Kind = "on-demand"

    def __post_init__(self) -> None:
        randomiser(self.eps)

    def encode(self, mood: EmotionVector) -> Encoded:
        """One of 4096 directions."""
        return draw(clip(mood.valence, mood.arousal), self.eps)

    def price(self, honest: int) -> Price:
        """The same whoever is honest."""
        return Price(pure=float(self.eps))

    def bound(self, contributors: int) -> float:
        """Every report in one direction."""
        return contributors * (SCALE * randomiser(self.eps).stretch + 1)

    def rms(self, contributors: int) -> float:
        """With all moods at the centre, where it is largest."""
        return randomiser(self.eps).stretch / math.sqrt(2 * contributors)


@dataclass(frozen=True)
class Ambient:
    """Mode G: each member adds discrete Gaussian noise of standard deviation `sigma`, in integer units, to each axis."""

    sigma: int
    kind: Kind = "ambient"

    @classmethod
    def within(cls, n: int, eps_room: float = 4.0, eps_alone: float = 16.0) -> Ambient:
        """For `n` members and the budgets of an hour."""
        return cls(sigma_for(n, PER_HOUR, eps_room, eps_alone))

    def encode(self, mood: EmotionVector) -> Encoded:
        """Clipped, rounded, and noised."""
        x, y = quantise(*clip(mood.valence, mood.arousal))
        return x + discrete_gauss(self.sigma), y + discrete_gauss(self.sigma)

    def price(self, honest: int) -> Price:
        """The noise of the honest hides one of them."""
        alone = (SENSITIVITY / self.sigma) ** 2
        return Price(room=alone / max(1, honest), alone=alone)

    def bound(self, contributors: int) -> float:
        """Everybody at the edge, and eight standard deviations."""
        return contributors * (SCALE + 1) + 8 * self.sigma * math.sqrt(contributors)

    def rms(self, contributors: int) -> float:
        """Of the noise."""
        return self.sigma / (SCALE * math.sqrt(contributors))
