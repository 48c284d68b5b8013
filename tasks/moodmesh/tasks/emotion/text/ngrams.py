"""The features of the tiny model: hashed word and in-word character n-grams, with the scope of a negation marked (S3).

Pure Python: the same text gives the same buckets on every device.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from zlib import crc32

BUCKETS = 1 << 18
WORD_GRAMS = (1, 2)
CHAR_GRAMS = (2, 3, 4, 5)
NEGATORS = frozenset(["not", "no", "never", "nobody", "nothing", "none", "nor", "neither", "without", "hardly", "cannot"])
_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_ENDS = frozenset('.,;:!?()"“”—')


def tokens(text: str) -> list[str]:
    """Lower-case words and single marks; words in the scope of a negator carry the prefix `not_`."""
    found: list[str] = []
    negated = False
    for token in _TOKEN.findall(text.lower().replace("’", "'")):
        if token in _ENDS:
            negated = False
        found.append(f"not_{token}" if negated and token.isalnum() else token)
        if token in NEGATORS or token.endswith("n't"):
            negated = True
    return found


def word_grams(words: list[str]) -> Iterator[str]:
    """Single tokens and neighbours."""
    for n in WORD_GRAMS:
        for at in range(len(words) - n + 1):
            yield "w" + " ".join(words[at : at + n])


def char_grams(words: list[str]) -> Iterator[str]:
    """Pieces of each token with its edges marked; the negation mark stays outside the pieces."""
    for word in words:
        mark, bare = ("n", word[4:]) if word.startswith("not_") else ("c", word)
        edged = f" {bare} "
        for n in CHAR_GRAMS:
            for at in range(len(edged) - n + 1):
                yield mark + edged[at : at + n]


def bucket(gram: str) -> int:
    """The row of the weight table for a gram."""
    return crc32(gram.encode()) % BUCKETS


def counts(text: str) -> dict[int, float]:
    """Sublinear counts, 1 + ln(n), per bucket; never empty for a text with a visible character."""
    words = tokens(text)
    grams = chain(word_grams(words), char_grams(words))
    return {row: 1 + math.log(n) for row, n in Counter(map(bucket, grams)).items()}
