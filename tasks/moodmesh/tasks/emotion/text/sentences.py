"""Cutting an English text into the pieces that are scored: sentences or lines, as spans of the text."""

from __future__ import annotations

import re
from itertools import pairwise

Span = tuple[int, int]

_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)")
_SHORT = re.compile(
    r"mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|e\.g|i\.e|a\.m|p\.m|no|vol|fig|inc|ltd|co|gen|col|lt|sgt|capt|rev|hon|dept|est"
    r"|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec",
    re.IGNORECASE,
)
_LAST_WORD = re.compile(r"[\w.]*$")


def sentences(text: str) -> list[Span]:
    """Spans of the sentences, in order, without surrounding white space; only white space lies between them."""
    spans: list[Span] = []
    start = 0
    for blank in [*_BLANK_LINE.finditer(text), None]:
        end = blank.start() if blank else len(text)
        spans += _paragraph(text, start, end)
        start = blank.end() if blank else end
    return spans


def _paragraph(text: str, start: int, end: int) -> list[Span]:
    cuts = [found.end() for found in _END.finditer(text, start, end) if _closes(text, start, found.start(), found.end())]
    edges = [start, *cuts, end]
    return [span for a, b in pairwise(edges) if (span := _trimmed(text, a, b))[0] < span[1]]


def _closes(text: str, start: int, mark: int, after: int) -> bool:
    """Whether the mark at `mark` ends a sentence: not after an abbreviation or initial, not before a small letter."""
    if text[mark] != ".":
        return True
    if text[after : after + 80].lstrip()[:1].islower():
        return False
    found = _LAST_WORD.search(text, max(start, mark - 12), mark)
    word = found.group() if found else ""
    return not _SHORT.fullmatch(word) and not (len(word) == 1 and word.isupper() and word != "I")


def _trimmed(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip()))


def lines(text: str) -> list[Span]:
    """Spans of the lines, in order; a blank line is an empty span, a final line break starts no further line."""
    spans: list[Span] = []
    start = 0
    for line in text.removesuffix("\n").split("\n"):
        inner = _trimmed(text, start, start + len(line))
        spans.append(inner if inner[0] < inner[1] else (start, start))
        start += len(line) + 1
    return spans
