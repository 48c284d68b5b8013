"""A Markov model of tokens with interpolated back-off (Witten and Bell 1991), baseline of language models (evaluation §5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.judge.heard import Floats, Ints
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.grammar import START, allowed, follow
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.tokens import decode
from moodmesh.tasks.music.notation.vocabulary import Kind

_BASE = 1024
"""A context is one number, a digit of this base for each of its tokens."""
_NONE = v.SIZE
"""Stands before the first token of a sequence."""


class _Counts:
    """What followed each context of one length: sorted arrays of contexts, tokens and counts."""

    def __init__(self, contexts: Ints, tokens: Ints) -> None:
        pairs, self._seen = np.unique(contexts * _BASE + tokens, return_counts=True)
        self._pairs = pairs
        self._contexts, first, self._kinds = np.unique(pairs // _BASE, return_index=True, return_counts=True)
        self._total = np.add.reduceat(self._seen, first)

    def mixed(self, contexts: Ints, tokens: Ints, lower: Floats) -> Floats:
        """P(token | context) from that of the shorter context: (count + kinds * lower) / (total + kinds)."""
        total, kinds = _found(self._contexts, contexts, (self._total, self._kinds))
        (seen,) = _found(self._pairs, contexts * _BASE + tokens, (self._seen,))
        return np.asarray((seen + np.maximum(kinds, total == 0) * lower) / np.maximum(total + kinds, 1))

    def spread(self, context: int, lower: Floats) -> Floats:
        """[923] the same for every token."""
        place = np.searchsorted(self._contexts, context)
        if place == len(self._contexts) or self._contexts[place] != context:
            return lower
        first, end = np.searchsorted(self._pairs, [context * _BASE, (context + 1) * _BASE])
        made = self._kinds[place] * lower
        made[self._pairs[first:end] % _BASE] += self._seen[first:end]
        return np.asarray(made / (self._total[place] + self._kinds[place]))


def _found(keys: Ints, asked: Ints, values: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """The value of each asked key; 0 where it is not among the sorted keys."""
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    there = keys[place] == asked
    return [np.where(there, value[place], 0) for value in values]


class Markov:
    """Counts of contexts of 0 to `order` tokens."""

    def __init__(self, sequences: Iterable[Sequence[int]], order: int = 3) -> None:
        if not 0 <= order <= 4:
            raise ValueError(f"order {order} is outside 0..4")
        self._order = order
        rows = [_contexts(sequence, order) for sequence in sequences]
        contexts, tokens = (np.concatenate(column, axis=-1) for column in zip(*rows, strict=True))
        self._counts = [_Counts(row, tokens) for row in contexts]

    def nll(self, tokens: Sequence[int]) -> float:
        """Nats per token of a sequence of at least one."""
        contexts, asked = _contexts(tokens, self._order)
        chance = np.full(len(asked), 1 / v.SIZE)
        for counts, row in zip(self._counts, contexts, strict=True):
            chance = counts.mixed(row, asked, chance)
        return float(-np.log(chance).mean())

    def next(self, before: Sequence[int]) -> Floats:
        """[923] the chance of each token after those."""
        padded = [_NONE] * self._order + list(before)
        chance = np.full(v.SIZE, 1 / v.SIZE)
        for length, counts in enumerate(self._counts):
            context = 0
            for token in padded[len(padded) - length :]:
                context = context * _BASE + token
            chance = counts.spread(context, chance)
        return chance

    def sample(self, bars: int, seed: int) -> Score:
        """A piece of so many bars, under the grammar."""
        rng = np.random.default_rng(seed)
        state, tokens = START, list[int]()
        begun = 0
        while True:
            chance = self.next(tokens[-self._order :]) * allowed(state)
            chance[v.EOS] = 0
            token = int(rng.choice(v.SIZE, p=chance / chance.sum()))
            begun += v.meaning(token)[0] == Kind.BAR
            if begun > bars:
                return decode([*tokens, v.EOS])
            tokens.append(token)
            state = follow(state, token)


def _contexts(sequence: Sequence[int], order: int) -> tuple[Ints, Ints]:
    """[order + 1, n] the context of each length before each token, and the tokens."""
    padded = np.concatenate([np.full(order, _NONE, np.int64), np.asarray(sequence, np.int64)])
    count = len(sequence)
    rows = [np.zeros(count, np.int64)]
    for length in range(1, order + 1):
        rows.append(rows[-1] + padded[order - length : order - length + count] * _BASE ** (length - 1))
    return np.array(rows), padded[order:]
