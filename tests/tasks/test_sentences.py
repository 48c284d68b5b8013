"""Cutting a text: nothing but white space is lost, order is kept, abbreviations do not cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.tasks.emotion.text.sentences import lines, sentences


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("I saw Dr. Smith. He smiled.", ["I saw Dr. Smith.", "He smiled."]),
        ("J. R. came at 5 p.m. to dine.", ["J. R. came at 5 p.m. to dine."]),
        ("So did I. Then we left.", ["So did I.", "Then we left."]),
        ("It cost 3.50 in all. Cheap.", ["It cost 3.50 in all.", "Cheap."]),
        ('"Stop!" he cried. "No."', ['"Stop!"', "he cried.", '"No."']),
        ("Well... maybe. Fine.", ["Well... maybe.", "Fine."]),
        ("A title\n\nThe text begins", ["A title", "The text begins"]),
        ("one line\nof a wrapped sentence. Next.", ["one line\nof a wrapped sentence.", "Next."]),
        ("  padded.  ", ["padded."]),
        ("", []),
    ],
)
def test_sentences(text: str, pieces: list[str]) -> None:
    assert cut(text) == pieces


@given(st.text(alphabet=st.sampled_from("aB.!? \n\t'\"1…é\r\u3000"), max_size=60))
def test_sentences_keep_every_visible_character_in_order(text: str) -> None:
    spans = sentences(text)
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert "".join("".join(text[start:end] for start, end in spans).split()) == "".join(text.split())


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=8), min_size=1))
def test_one_span_a_line(rows: list[str]) -> None:
    text = "\n".join(rows) + "\n"
    assert [text[start:end] for start, end in lines(text)] == [row.strip() for row in rows]


def test_a_last_line_needs_no_line_break() -> None:
    assert lines("a\nb") == lines("a\nb\n") == [(0, 1), (2, 3)]
    assert lines("a\r\n\r\nb") == [(0, 1), (3, 3), (5, 6)]
