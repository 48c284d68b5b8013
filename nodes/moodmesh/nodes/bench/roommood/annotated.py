"""Ambient rooms of people who annotated what they felt: how far off what is shown is (CEAP-360VR, Xue et al., 2021).

The annotations last a minute; ten seconds of them stand for an epoch here, so that a room has the six releases of an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from moodmesh.nodes.bench.roommood.draws import Floats, noise_of_rooms, quantised
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.rooms.model import Reading
from moodmesh.nodes.rooms.mood import filtered, shown
from moodmesh.privacy.release.budget import EPOCH_S
from moodmesh.privacy.release.gaussian import SCALE
from moodmesh.privacy.release.mechanism import PER_HOUR, Ambient

FILE, KEY = "train.npz", "va10hz"
SIZES = (30, 50, 100, 300, 1000)
HERTZ, STEP_S = 10, 10


def moods(data: Path) -> Floats:
    """Valence and arousal of (person, video, epoch) in [-1, 1], from 1 .. 9; `UsageError`."""
    try:
        with np.load(data / FILE, allow_pickle=False) as kept:
            raw = kept[KEY].astype(np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(f"--data {data}: no annotations of CEAP-360VR ({FILE} with {KEY}) there: {error}") from None
    found: Floats = (raw[:, :, HERTZ * STEP_S // 2 :: HERTZ * STEP_S] - 5) / 4
    return found


def rows(data: Path, rooms: int, chance: np.random.Generator) -> Iterator[dict[str, Any]]:
    """By size, over many rooms: error per axis of one release, of what is shown, of the filtered mood, at the last epoch."""
    annotated = moods(data)
    people, videos = annotated.shape[:2]
    pool = annotated.reshape(people * videos, -1, 2)
    away = float((np.hypot(pool[..., 0], pool[..., 1]) > 1).mean())
    for n in SIZES:
        chosen = chance.integers(len(pool), size=(rooms, n))
        yield {
            "what": "ambient room, annotated", "n": n, "rooms": rooms,
            "of": f"{people} people x {videos} videos, with replacement", **_errors(pool, chosen, chance),
            "outside_disc": round(away, 3),
        }  # fmt: skip


def _errors(pool: Floats, chosen: Any, chance: np.random.Generator) -> dict[str, Any]:
    rooms, n = chosen.shape
    how = Ambient.within(n)
    felt = np.array([pool[row].mean(axis=0) for row in chosen])[:, -PER_HOUR:]
    sums = np.array([quantised(pool[row]).sum(axis=0) for row in chosen])[:, -PER_HOUR:]
    clipped = sums / (SCALE * n)
    noise = noise_of_rooms(how.sigma, n, rooms * PER_HOUR, chance).reshape(sums.shape)
    told = (sums + noise) / (SCALE * n)
    told = told / np.maximum(1.0, np.hypot(told[..., 0], told[..., 1]))[..., None]
    seen, smooth, releases = [], [], 0
    for room in told:
        readings = [Reading(k, v, a, n, n, 1, how.rms(n), 0.0, 0.0) for k, (v, a) in enumerate(room.tolist())]
        mean, mood = shown("ambient", readings), filtered(readings, PER_HOUR * EPOCH_S)
        assert mean is not None
        assert mood is not None
        seen.append((mean.valence, mean.arousal))
        smooth.append((mood.valence, mood.arousal))
        releases = mean.releases
    truth = felt[:, -1]
    return {
        "noise": round(how.rms(n), 4), "clip": _rms(clipped[:, -1] - truth), "release": _rms(told[:, -1] - truth),
        "shown": _rms(np.array(seen) - truth), "shown_of": releases, "filtered": _rms(np.array(smooth) - truth),
    }  # fmt: skip


def _rms(errors: Floats) -> float:
    return round(float(np.sqrt(np.mean(errors**2))), 4)
