"""A pack for listeners: 16 pieces in an order that hides what was asked for, the key apart, a sheet to fill in (evaluation §5).

python -m moodmesh.tasks.music.results.listening --out DIR [--variant rules]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np

from moodmesh.tasks.models import ModelStore
from moodmesh.tasks.music.engine.steps import Steps
from moodmesh.tasks.music.generate import MusicGenerate
from moodmesh.tasks.music.generate.composers import Rules, Trained
from moodmesh.tasks.music.notation.midi import write
from moodmesh.tasks.music.notation.reading import MACHINE
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.results.systems import MOODS, Make, written
from moodmesh.tasks.music.rules.moods import QUADRANTS, Mood
from moodmesh.tasks.music.sound.files import save
from moodmesh.tasks.music.sound.mastering import mastered
from moodmesh.tasks.music.sound.picture import draw
from moodmesh.tasks.music.sound.render import rendered

SEEDS = (20, 11, 7, 29)
"""Chosen before any composer was trained, and never for how they sound."""
BARS = 16
PEOPLE = 20
SHEET = "answers.csv"
ASKED = ("listener", "piece", "valence -2..2", "arousal -2..2", "is it music? 1..5", "did you like it? 1..5", "heard before?")
"""What a listener writes of a piece."""
_GUIDE = """Listening test
==============

{people} people, each alone, with headphones, in the order of piece-01 to piece-16 or in one drawn anew for each person.
Nobody who listens sees the folder `key` or a picture before the sheet is filled in.

Of each piece, in {sheet}:
- valence: -2 unpleasant or sad, 0 neither, 2 pleasant or glad
- arousal: -2 calm or tired, 0 neither, 2 excited or tense
- is it music? 1 random notes, 5 could be by a composer
- did you like it? 1 not at all, 5 very much
- heard before? yes, if a tune is known from elsewhere

How it is counted: the sign of the mean of a piece over listeners against what was asked for, with bootstrap intervals over
listeners and over seeds; agreement among listeners (Krippendorff's alpha) beside it. Zeros count as wrong.
The sheet is empty until people fill it in. Do not fill it in by machine, and publish no figure before that.
"""


def pack(make: Make, out: Path, made_by: str) -> None:
    """Write the pack: OGG by number in `out`, the sheet and its guide, and in `key` what was asked, MIDI and piano rolls."""
    key, asked, said = out / "key", order(), f"Made {MACHINE}, {made_by}."
    key.mkdir(parents=True, exist_ok=True)
    answers = {}
    for number, (seed, quadrant) in enumerate(asked, 1):
        name, mood = f"piece-{number:02d}", MOODS[quadrant]
        print(f"{name} of {len(asked)} ...", file=sys.stderr, flush=True)
        score = make(mood, BARS, seed)
        save(out / f"{name}.ogg", mastered(rendered([score])), said)
        _keep(key / name, score, mood, f"{QUADRANTS[quadrant]}, seed {seed}", said)
        answers[name] = {"asked": QUADRANTS[quadrant], "seed": seed}
    (key / "key.json").write_text(json.dumps({"made by": made_by, "pieces": answers}, indent=1) + "\n", encoding="utf-8")
    (out / "README.txt").write_text(_GUIDE.format(people=PEOPLE, sheet=SHEET), encoding="utf-8")
    with (out / SHEET).open("w", encoding="utf-8", newline="") as file:
        sheet = csv.writer(file)
        sheet.writerow(ASKED)
        sheet.writerows([person, name, *[""] * 5] for person in range(1, PEOPLE + 1) for name in answers)


def order() -> list[tuple[int, int]]:
    """(seed, quadrant) of the pieces in the order they are heard in: always the same, in no pattern."""
    pairs = [(seed, quadrant) for seed in SEEDS for quadrant in range(len(MOODS))]
    return [pairs[at] for at in np.random.default_rng(SEEDS).permutation(len(pairs)).tolist()]


def _keep(stem: Path, score: Score, mood: Mood, title: str, said: str) -> None:
    stem.with_suffix(".mid").write_bytes(write(score, said))
    draw(score, [mood], stem.with_suffix(".png"), title)


def main() -> None:
    """Write the pack of one variant of `music.generate`."""
    variants = {one.name: one for one in MusicGenerate.spec.variants}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variant", choices=list(variants), default=list(variants)[-1], help="(default: %(default)s)")
    args = parser.parse_args()
    if (args.out / SHEET).exists():
        parser.error(f"{args.out / SHEET} is there already, perhaps with answers: name another folder, or move it away")
    card = variants[args.variant].card
    composer = Trained(Steps.load(ModelStore(args.out).path(card))) if card else Rules()
    pack(written(composer), args.out, f"{card.name}, sha256 {card.sha256}" if card else "rules, without a model")


if __name__ == "__main__":
    main()
