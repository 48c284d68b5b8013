"""The raw mood of a person. It lives in one process, of one device: nothing here can be written, sent, copied out or shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn


class RawMoodStays(TypeError):
    """Something tried to turn a raw mood into bytes, text or plain data; release a `SharedMood` instead."""


class EmotionVector:
    """Valence, arousal and (if known) dominance in [-1, 1] with their standard deviations, at a wall time (systems S1).

    Not a dataclass on purpose: `asdict`, `vars`, pickle, copy, iteration and JSON all refuse it, and its repr shows nothing.
    """

    __slots__ = ("__arousal", "__arousal_sd", "__at", "__dominance", "__valence", "__valence_sd")

    def __init__(
        self,
        valence: float,
        arousal: float,
        dominance: float | None = None,
        *,
        valence_sd: float,
        arousal_sd: float,
        at: float,
    ) -> None:
        inside = all(-1 <= x <= 1 for x in (valence, arousal, 0.0 if dominance is None else dominance))
        if not inside or not (0 <= valence_sd < float("inf")) or not (0 <= arousal_sd < float("inf")):
            raise ValueError("valence, arousal and dominance lie in [-1, 1], standard deviations at or above 0")
        for name, value in (
            ("valence", valence), ("arousal", arousal), ("dominance", dominance),
            ("valence_sd", valence_sd), ("arousal_sd", arousal_sd), ("at", at),
        ):  # fmt: skip
            object.__setattr__(self, f"_EmotionVector__{name}", value)

    @property
    def valence(self) -> float:
        """Unpleasant (-1) to pleasant (1)."""
        return self.__valence  # type: ignore[attr-defined, no-any-return]

    @property
    def arousal(self) -> float:
        """Calm (-1) to excited (1)."""
        return self.__arousal  # type: ignore[attr-defined, no-any-return]

    @property
    def dominance(self) -> float | None:
        """Overwhelmed (-1) to in control (1); None when unknown."""
        return self.__dominance  # type: ignore[attr-defined, no-any-return]

    @property
    def valence_sd(self) -> float:
        """Standard deviation of the valence."""
        return self.__valence_sd  # type: ignore[attr-defined, no-any-return]

    @property
    def arousal_sd(self) -> float:
        """Standard deviation of the arousal."""
        return self.__arousal_sd  # type: ignore[attr-defined, no-any-return]

    @property
    def at(self) -> float:
        """When it was felt, seconds since 1970."""
        return self.__at  # type: ignore[attr-defined, no-any-return]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("an EmotionVector does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("an EmotionVector does not change")

    def __repr__(self) -> str:
        return "EmotionVector(private)"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise RawMoodStays("a raw mood cannot be pickled or copied")

    def __iter__(self) -> Iterator[float]:
        raise RawMoodStays("a raw mood cannot be listed")
