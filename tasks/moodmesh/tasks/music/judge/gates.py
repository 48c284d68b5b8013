"""The two gates, on disjoint music: of the evaluation (roles judge and held), and of what selects candidates (train, dev)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.corpus.cache import passages
from moodmesh.tasks.music.corpus.prepare import Passage
from moodmesh.tasks.music.corpus.split import Role
from moodmesh.tasks.music.judge import gate
from moodmesh.tasks.music.judge.controls import Medians, Mood, medians, overall
from moodmesh.tasks.music.judge.gate import Gate, Nll
from moodmesh.tasks.music.judge.markov import Markov
from moodmesh.tasks.music.judge.negatives import excerpts, kinds
from moodmesh.tasks.music.notation.score import Score

SETS = ("pop909", "emopia", "jsb", "giantmidi")
FREE = ("pop909", "jsb", "giantmidi")
"""Sets under a free licence: what a selector that ships may learn from."""
FALSE = 60
"""Made-up pieces of each kind that a gate learns from."""
FOLDS = 5
Excerpt = tuple[str, str, Score]
"""(set, group, bars of a real piece)."""
Pieces = dict[str, list[Passage]]
"""The prepared passages of some roles, by set."""


def pieces(root: Path, cache: Path, configs: Path, roles: Sequence[Role], sets: Sequence[str] = SETS) -> Pieces:
    """What has one of the roles."""
    roled = split.load(configs)
    return {name: [one for one in passages(root, name, cache) if roled[name][one.group] in roles] for name in sets}


def cut(given: Pieces, bars: int, most: int = 8) -> list[Excerpt]:
    """Excerpts of so many bars, at most `most` of a group."""
    return [(name, group, score) for name, found in given.items() for group, score in excerpts(found, bars, most)]


def folds(real: Sequence[Excerpt], seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """[n] the fold of each excerpt; no group is cut."""
    names = np.unique([group for _, group, _ in real])
    np.random.default_rng(seed).shuffle(names)
    place = {name: number % FOLDS for number, name in enumerate(names.tolist())}
    return np.array([place[group] for _, group, _ in real])


def rounds(real: Sequence[Excerpt]) -> Iterator[tuple[list[Excerpt], list[Excerpt], list[Excerpt]]]:
    """(held out, to learn from, for the bands): each excerpt is held out once, no group is in two of the three."""
    fold = folds(real)
    for number in range(FOLDS):
        away = (fold - number) % FOLDS
        parts = (away == 0, (away == 1) | (away == 2), away > 2)
        held, learn, band = ([real[row] for row in np.flatnonzero(rows).tolist()] for rows in parts)
        yield held, learn, band


def unseen(given: Pieces, bars: int, markov: Markov, nll: Nll | None = None) -> Iterator[tuple[Gate, list[Excerpt]]]:
    """Gates like that of `evaluation`, each with real excerpts of which it saw no group: together all that there are."""
    like = usual(given)
    for held, learn, band in rounds(cut(given, bars)):
        yield _fit([one[2] for one in learn], [one[2] for one in band], like, markov, nll), held


def usual(given: Pieces) -> dict[Mood, Medians]:
    """Medians of each quadrant where there are moods, of everything otherwise."""
    found = [one for members in given.values() for one in members if one.score.notes]
    moody = [one for one in found if one.mood]
    return medians(moody) if moody else overall(found)


def made_up(learn: Sequence[Score], like: dict[Mood, Medians], markov: Markov, each: int = FALSE) -> dict[str, list[Score]]:
    """So many pieces of each kind that is no music, as long as the pieces to learn from."""
    found = kinds(learn, like, markov, learn[0].bars)
    return {name: [kind(seed) for seed in range(each)] for name, kind in found.items()}


def evaluation(given: Pieces, bars: int, markov: Markov, nll: Nll | None = None, without: str = "") -> Gate:
    """From pieces of the roles judge and held: three folds of groups to learn from, two for the bands.

    `markov` makes pieces to learn from, and is the reference model unless `nll` is given; neither may have seen the pieces.
    A kind of made-up pieces may be left out (`without`), so that it is as new to the gate as any other system.
    """
    real = cut(given, bars)
    fold = folds(real)
    learn, band = ([one[2] for one, number in zip(real, fold, strict=True) if (number < 3) == kept] for kept in (True, False))
    return _fit(learn, band, usual(given), markov, nll, without)


def selector(train: Pieces, dev: Pieces, bars: int, markov: Markov, nll: Nll | None = None) -> Gate:
    """From pieces of the role train to learn from and of dev for the bands: it shares no piece with `evaluation`."""
    learn = [score for _, _, score in cut(train, bars, 1)]
    return _fit(learn, [score for _, _, score in cut(dev, bars)], usual(train), markov, nll)


def _fit(
    learn: Sequence[Score],
    band: Sequence[Score],
    like: dict[Mood, Medians],
    markov: Markov,
    nll: Nll | None,
    without: str = "",
) -> Gate:
    false = made_up(learn, like, markov)
    return gate.fit(learn, band, [one for kind, found in false.items() if kind != without for one in found], nll or markov.nll)
