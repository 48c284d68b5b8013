"""Texts to token batches: tokenised once, cut to length, bucketed by length, in an order that the seed fixes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

BUCKET = 50  # batches sorted by length together; more saves padding, fewer mixes better


def tokenise(file: Path, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token numbers of each text, with both end marks, at most `max_tokens`."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Tokens [b, t] filled up with 0, and the mask of the real ones."""
    longest = max(len(row) for row in rows)
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return tokens, mask


def epoch(lengths: Sequence[int], batch: int, seed: int) -> Iterator[list[int]]:
    """Row numbers of every batch of one epoch, similar lengths together, batches in random order."""
    rng = random.Random(seed)  # noqa: S311
    order = list(range(len(lengths)))
    rng.shuffle(order)
    size = batch * BUCKET
    batches = []
    for start in range(0, len(order), size):
        bucket = sorted(order[start : start + size], key=lengths.__getitem__)
        batches += [bucket[at : at + batch] for at in range(0, len(bucket), batch)]
    rng.shuffle(batches)
    yield from (rows for rows in batches if len(rows) > 1)
