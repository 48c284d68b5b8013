"""The training and evaluation sets of `emotion.text`: EmoBank, GoEmotions, poem sentiment (systems S3, evaluation §3).

Rows are read from the research data area; splits are decided here, before any training, and named by a hash.
"""

from __future__ import annotations

import csv
import hashlib
import lzma
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from moodmesh.tasks import research
from moodmesh.tasks.research import DataMissing

FOLDS = 5
AXES = ("V", "A", "D")
POSITIVE = {"admiration", "amusement", "approval", "caring", "desire", "excitement"} | {
    "gratitude",
    "joy",
    "love",
    "optimism",
    "pride",
    "relief",
}
NEGATIVE = {"anger", "annoyance", "disappointment", "disapproval", "disgust", "embarrassment"} | {
    "fear",
    "grief",
    "nervousness",
    "remorse",
    "sadness",
}
NEUTRAL_SENTIMENT, POSITIVE_SENTIMENT, NEGATIVE_SENTIMENT, MIXED_SENTIMENT = range(4)


@dataclass(frozen=True)
class Rated:
    """One EmoBank sentence; `vad` on the scale of S1, -1 to 1."""

    id: str
    part: str
    document: str
    text: str
    vad: tuple[float, float, float]


@dataclass(frozen=True)
class Labelled:
    """One sentence with GoEmotions label numbers (None: the set has none) and a sentiment class."""

    text: str
    labels: tuple[int, ...] | None
    sentiment: int


@dataclass(frozen=True)
class Split:
    """Which rows train and which are held out; the same text never stands on both sides."""

    name: str
    train: tuple[Rated, ...]
    held: tuple[Rated, ...]

    @property
    def sha256(self) -> str:
        """Names the split: a hash over its row ids and sides."""
        lines = [f"{row.id}\ttrain" for row in self.train] + [f"{row.id}\theld" for row in self.held]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def data_dir(given: str | None = None) -> Path:
    """The research data area: `given`, else MOODMESH_DATA; DataMissing when there is neither."""
    return research.data_dir(
        given,
        "affect/emobank",
        "affect/emobank/emobank_train_dev.csv.xz (github.com/JULIELab/EmoBank) and affect/goemotions/{train,dev}.csv.xz",
    )


def emobank_file(root: Path) -> Path:
    """The open part of EmoBank: official train and dev."""
    return root / "affect" / "emobank" / "emobank_train_dev.csv.xz"


def emobank(root: Path) -> list[Rated]:
    """All open EmoBank rows in file order, ratings 1..5 mapped to -1..1 (S1)."""
    return [Rated(row["id"], row["split"], row["document"], row["text"], _scaled(row)) for row in _table(emobank_file(root))]


def _scaled(row: dict[str, str]) -> tuple[float, float, float]:
    v, a, d = ((float(row[axis]) - 3) / 2 for axis in AXES)
    return v, a, d


def training_files(root: Path) -> list[Path]:
    """Every file that decides a model, in a fixed order."""
    goemotions = root / "affect" / "goemotions"
    poems = root / "affect" / "poem_sentiment" / "train.csv.xz"
    return [emobank_file(root), goemotions / "train.csv.xz", goemotions / "labels.txt", poems]


def goemotions(root: Path, part: str) -> list[Labelled]:
    """Reddit comments of `part` (train or dev) with their labels and the sentiment group of Demszky et al. 2020."""
    names = (root / "affect" / "goemotions" / "labels.txt").read_text().split()
    return [
        _comment(row["text"], tuple(int(n) for n in row["labels"].split(",")), names)
        for row in _table(root / "affect" / "goemotions" / f"{part}.csv.xz")
    ]


def _comment(text: str, labels: tuple[int, ...], names: Sequence[str]) -> Labelled:
    felt = {names[n] for n in labels}
    match bool(felt & POSITIVE), bool(felt & NEGATIVE):
        case True, True:
            group = MIXED_SENTIMENT
        case True, False:
            group = POSITIVE_SENTIMENT
        case False, True:
            group = NEGATIVE_SENTIMENT
        case _:
            group = NEUTRAL_SENTIMENT
    return Labelled(text, labels, group)


def poem_sentiment(root: Path) -> list[Labelled]:
    """Verse lines (train) with a sentiment class and no labels."""
    classes = {"0": NEUTRAL_SENTIMENT, "1": POSITIVE_SENTIMENT, "-1": NEGATIVE_SENTIMENT, "2": MIXED_SENTIMENT}
    rows = _table(root / "affect" / "poem_sentiment" / "train.csv.xz")
    return [Labelled(row["text"], None, classes[row["label"]]) for row in rows]


def dev_split(rows: Sequence[Rated]) -> Split:
    """The official train and dev parts, less the training texts that also occur in dev."""
    held = [row for row in rows if row.part == "dev"]
    return Split("dev", _without((row for row in rows if row.part == "train"), held), tuple(held))


def document_folds(rows: Sequence[Rated], folds: int = FOLDS) -> list[Split]:
    """Cross-validation by document: largest document first into the emptiest fold."""
    sizes = Counter(row.document for row in rows)
    filled = [0] * folds
    fold_of: dict[str, int] = {}
    for document, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        emptiest = filled.index(min(filled))
        fold_of[document] = emptiest
        filled[emptiest] += size
    sides: dict[int, list[Rated]] = defaultdict(list)
    for row in rows:
        sides[fold_of[row.document]].append(row)
    return [
        Split(f"fold{n}", _without((row for row in rows if fold_of[row.document] != n), sides[n]), tuple(sides[n]))
        for n in range(folds)
    ]


def _without(train: Iterable[Rated], held: Sequence[Rated]) -> tuple[Rated, ...]:
    seen = {_plain(row.text) for row in held}
    return tuple(row for row in train if _plain(row.text) not in seen)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def calibration_rows(split: Split, share: float) -> tuple[list[Rated], list[Rated]]:
    """Training rows cut in two by a hash of their id: (to fit on, to calibrate the sd on)."""
    fit: list[Rated] = []
    calibrate: list[Rated] = []
    for row in split.train:
        (calibrate if _hash_share(row.id) < share else fit).append(row)
    return fit, calibrate


def _hash_share(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32


def _table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        raise DataMissing(f"{path.name} is missing in {path.parent}: `moodmesh results --help` says where the sets come from")
    with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
