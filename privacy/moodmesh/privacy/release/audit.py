"""Whether one more exact sum would, with those opened before, let an insider solve for one person (room-mood §2.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fractions import Fraction


def solvable(sets: Iterable[Collection[str]]) -> tuple[str, str] | None:
    """(insider, victim) when the sums over these sets of people give `victim` away to `insider`, who knows their own mood."""
    sets = [frozenset(s) for s in sets]
    people = sorted(frozenset().union(*sets)) if sets else []
    for insider in people:
        others = [person for person in people if person != insider]
        rows = [[Fraction(person in s) for person in others] for s in dict.fromkeys(sets)]
        for row in _reduced(rows):
            marked = [j for j, value in enumerate(row) if value]
            if len(marked) == 1:
                return insider, others[marked[0]]
    return None


def _reduced(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """The reduced row echelon form: a unit vector of the row space is one of its rows."""
    done = 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((i for i in range(done, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[done], rows[pivot] = rows[pivot], rows[done]
        first = rows[done][column]
        rows[done] = [value / first for value in rows[done]]
        for i, row in enumerate(rows):
            if i != done and (factor := row[column]):
                rows[i] = [a - factor * b for a, b in zip(row, rows[done], strict=True)]
        done += 1
    return rows[:done]
