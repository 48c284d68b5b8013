"""Which sentences tiny hands to base, and how both answers become one (systems S29).

The router predicts, from tiny's answer alone, how far base would disagree: a line on the mood, its distance from the mean and
the length. `moodmesh results emotion.text.escalation --retrain` makes its constants; why this one, docs/results says.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from moodmesh.tasks.task import Escalation, Request, Rest

AXES = ("valence", "arousal", "dominance")
SMALL, LARGE = "tiny", "base"
MOOD = (*AXES, *(f"{axis}_sd" for axis in AXES))
ROUTER_FILE = Path(__file__).with_name("router.toml")


@dataclass(frozen=True)
class Router:
    """`score` is `constant` + `signed`·z + `distance`·|z| + `length`·ln(1 + characters), z = (mood - `centre`) / `spread`.

    `thresholds` are scores passed by equal steps of the share, from 0 to 1, of the sentences it was made from; `reached` the
    quality `measure` when so much may be sent, by equal steps too.
    """

    centre: tuple[float, float, float]
    spread: tuple[float, float, float]
    constant: float
    signed: tuple[float, float, float]
    distance: tuple[float, float, float]
    length: float
    thresholds: tuple[float, ...]
    measure: str
    reached: tuple[float, ...]

    def score(self, mood: tuple[float, ...], characters: int) -> float:
        """How far base is expected to disagree with this mood of a sentence; unbounded, the larger the farther."""
        total = self.constant + self.length * math.log1p(characters)
        for n, value in enumerate(mood):
            z = (value - self.centre[n]) / self.spread[n]
            total += self.signed[n] * z + self.distance[n] * abs(z)
        return total

    def threshold(self, share: float) -> float:
        """The score that `share` of the sentences pass; all pass at 1."""
        if share >= 1:
            return -math.inf
        at = share * (len(self.thresholds) - 1)
        low = int(at)
        return self.thresholds[low] + (at - low) * (self.thresholds[low + 1] - self.thresholds[low])


def load_router(file: Path = ROUTER_FILE) -> Router:
    """Read the constants; TypeError names an unknown one."""
    values: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    frozen: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Router(**frozen)


ROUTER = load_router()


def chosen(answer: Mapping[str, Any], share: float, router: Router = ROUTER) -> tuple[int, ...]:
    """The items to send, ascending: those that pass the threshold, the highest first, at most the share, rounded down."""
    items = answer["items"]
    scored = {
        n: router.score(tuple(item[axis] for axis in AXES), item["end"] - item["start"])
        for n, item in enumerate(items)
        if item["valence"] is not None
    }
    passed = [n for n, score in scored.items() if score > router.threshold(share)]
    most = math.floor(Fraction(str(share)) * len(scored))  # as written: 0.29 of 100 is 29, in binary it is less
    return tuple(sorted(sorted(passed, key=lambda n: (-scored[n], n))[:most]))


def uncertain(request: Request, answer: Mapping[str, Any], share: float) -> Rest | None:
    """See `Escalation`: the chosen sentences, a line each, and nothing else of the text."""
    from moodmesh.tasks.emotion.text import text_of

    numbers = chosen(answer, share)
    if not numbers:
        return None
    text, items = text_of(request), answer["items"]
    pieces = [text[items[n]["start"] : items[n]["end"]].replace("\n", " ") for n in numbers]
    return Rest(Request({"lines": True}, "\n".join(pieces).encode(errors="replace"), request.seed), numbers, len(items))


def merge(small: Mapping[str, Any], large: Mapping[str, Any], items: tuple[int, ...]) -> dict[str, Any]:
    """See `Escalation`: base's moods in their places; ValueError when base did not answer each of the items."""
    if len(large["items"]) != len(items):
        raise ValueError(f"{len(large['items'])} answers to {len(items)} sentences")
    merged = list(small["items"])
    for n, answer in zip(items, large["items"], strict=True):
        merged[n] = merged[n] | {name: answer[name] for name in (*MOOD, "variant")}
    by = {"variant": large["variant"], "model": large["model"], "sha256": large["sha256"]}
    return {**small, "items": merged, "larger": by}


ESCALATION = Escalation(SMALL, LARGE, uncertain, merge, ROUTER.measure, ROUTER.reached)
