"""Minimal pairs that differ by a negation: valence must move the right way. Written for this project."""

from __future__ import annotations

from collections.abc import Sequence

PLEASANT = (
    ("I am happy today.", "I am not happy today."),
    ("This is a good idea.", "This is not a good idea."),
    ("I love this town.", "I do not love this town."),
    ("We had a wonderful evening.", "We never had a wonderful evening."),
    ("The soup tastes great.", "The soup does not taste great."),
    ("She trusts her brother.", "She doesn't trust her brother."),
    ("He was kind to us.", "He was not kind to us."),
    ("They enjoyed the concert.", "They did not enjoy the concert."),
    ("It is safe here.", "It isn't safe here."),
    ("I feel welcome in this house.", "I don't feel welcome in this house."),
    ("There is hope.", "There is no hope."),
    ("My friends helped me.", "My friends didn't help me."),
    ("The result is a success.", "The result is not a success."),
    ("You can be proud of that.", "You cannot be proud of that."),
    ("The children were laughing.", "None of the children were laughing."),
    ("The room is comfortable.", "The room isn't comfortable."),
)
UNPLEASANT = (
    ("I am sad today.", "I am not sad today."),
    ("It was a terrible mistake.", "It was not a terrible mistake."),
    ("I hate this song.", "I don't hate this song."),
    ("She was afraid of the dark.", "She was not afraid of the dark."),
    ("The wound hurts.", "The wound does not hurt."),
    ("He is angry with you.", "He isn't angry with you."),
    ("The journey was dangerous.", "The journey was never dangerous."),
    ("They lost the game.", "They did not lose the game."),
    ("I regret that day.", "I do not regret that day."),
    ("The news is bad.", "The news is not bad."),
    ("He lied to me.", "He never lied to me."),
    ("We are in trouble.", "We are not in trouble."),
    ("The film was boring.", "The film wasn't boring."),
    ("She felt lonely there.", "She did not feel lonely there."),
    ("There is a problem with the engine.", "There is no problem with the engine."),
    ("I was ashamed of my work.", "I was not ashamed of my work."),
)
TEXTS = tuple(text for pair in PLEASANT + UNPLEASANT for text in pair)


def passed(valences: Sequence[float]) -> tuple[int, int]:
    """Pairs judged right among the pleasant and the unpleasant ones, from the valences of `TEXTS` in order."""
    moved = [negated - plain for plain, negated in zip(valences[::2], valences[1::2], strict=True)]
    cut = len(PLEASANT)
    return sum(gap < 0 for gap in moved[:cut]), sum(gap > 0 for gap in moved[cut:])
