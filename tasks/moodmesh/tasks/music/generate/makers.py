"""Who made which bars: as parts carry it from device to device, as results name it, as the file says it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.engine.playing import Bar
from moodmesh.tasks.music.generate import VARIANTS
from moodmesh.tasks.music.generate.schema import Composer
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.tokens import decode

Maker = str | None
"""The SHA-256 of the weights that made a bar, as 64 hex digits; None: the rules did."""
FREE = "CC0-1.0"
"""What the rules write is nobody's."""
UNKNOWN = "unknown"
_NO_WEIGHTS = bytes(32)


def packed(bar: Bar, maker: Maker) -> bytes:
    """A bar as a part: the 32 bytes of its maker, zeros for the rules, and its tokens, two bytes each, the low one first."""
    return (bytes.fromhex(maker) if maker else _NO_WEIGHTS) + np.array(bar, "<u2").tobytes()


def unpacked(part: bytes) -> tuple[Bar, Maker]:
    """What `packed` was given; InvalidInput for a part that is too short, cut inside a token, or not exactly one bar."""
    made_by, held = part[: len(_NO_WEIGHTS)], part[len(_NO_WEIGHTS) :]
    bar: Bar = [] if len(held) % 2 else np.frombuffer(held, "<u2").tolist()
    if len(bar) < 2 or bar[0] != v.BAR_LINE or min(bar[1:]) <= v.BAR_LINE:
        raise InvalidInput(f"a part of {len(part)} bytes is no bar of music.generate: hand the job in anew")
    decode(bar)
    return bar, None if made_by == _NO_WEIGHTS else made_by.hex()


def composers(makers: Sequence[Maker]) -> tuple[Composer, ...]:
    """Each run of bars of one maker, in order, as results name it; weights that no card here knows are named by their hash."""
    return tuple(_named(maker, len(list(run))) for maker, run in groupby(makers))


def _named(maker: Maker, bars: int) -> Composer:
    if maker is None:
        return Composer(variant="rules", licence=FREE, bars=bars)
    for variant in VARIANTS:
        if variant.card is not None and variant.card.sha256 == maker:
            card = variant.card
            return Composer(variant=variant.name, model=card.name, sha256=maker, licence=card.licence, bars=bars)
    return Composer(variant=UNKNOWN, sha256=maker, licence=UNKNOWN, bars=bars)


def said(found: Sequence[Composer], first: int) -> str:
    """The composers in words, each with its bars where there are several; `first` is the number of the first bar made."""
    if len(found) == 1:
        return _words(found[0])
    return "; ".join(f"{where} by {_words(one)}" for where, one in zip(_places(found, first), found, strict=True))


def _places(found: Sequence[Composer], first: int) -> Iterator[str]:
    for one in found:
        last = first + one.bars - 1
        yield f"bar {first}" if one.bars == 1 else f"bars {first} to {last}"
        first = last + 1


def _words(one: Composer) -> str:
    if one.sha256 is None:
        return f"the rules, without a model, {one.licence}"
    if one.model is None:
        return f"weights {one.sha256[:12]} that are not known here, licence {one.licence}"
    return f"{one.model} ({one.sha256[:12]}), weights under {one.licence}"
