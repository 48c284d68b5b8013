"""A made-up research data area, small and learnable: documents of sentences whose words carry the mood."""

from __future__ import annotations

import csv
import lzma
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = {"joy": 0.8, "love": 0.6, "sun": 0.3, "table": 0.0, "street": 0.0, "rain": -0.2, "loss": -0.6, "murder": -0.9}
LABELS = ("admiration", "anger", "joy", "sadness", "neutral")


def area(root: Path) -> Path:
    """Write EmoBank, GoEmotions and verse files under `root`."""
    rng = random.Random(5)
    rated = [_rated(rng, n) for n in range(260)]
    rated.append(["twin", "train", "d1", 3, 3, 3, str(rated[0][-1]).upper()])
    _write(root / "affect/emobank/emobank_train_dev.csv.xz", ["id", "split", "document", "V", "A", "D", "text"], rated)
    comments = [[n, rng.choice(["2", "3", "1,3", "4", "0"]), _words(rng)] for n in range(120)]
    _write(root / "affect/goemotions/train.csv.xz", ["id", "labels", "text"], comments)
    (root / "affect/goemotions/labels.txt").write_text("\n".join(LABELS))
    _write(
        root / "affect/poem_sentiment/train.csv.xz", ["id", "text", "label"], [[n, _words(rng), n % 4 - 1] for n in range(12)]
    )
    return root


def _rated(rng: random.Random, n: int) -> list[object]:
    text = _words(rng)
    mood = sum(WORDS[word] for word in text.split()) / len(text.split())
    noise = [rng.gauss(0, 0.05) for _ in range(3)]
    v, a, d = (3 + 2 * (scale * mood + off) for scale, off in zip((1, -0.5, 0.3), noise, strict=True))
    return [f"s{n}", "dev" if n % 4 == 0 else "train", f"d{n % 13}", v, a, d, text]


def _words(rng: random.Random) -> str:
    return " ".join(rng.choices(list(WORDS), k=rng.randint(2, 9)))


def _write(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(file, "wt", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([header, *rows])


def tokenizer(file: Path) -> Path:
    """A word-level tokeniser with the end marks of BERT."""
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    made.save(str(file))
    return file


TINY_RECIPE = 'name = "emotion-text-tiny"\nalpha = [1.0, 3.0, 3.0]\n'
BASE_RECIPE = """
name = "emotion-text-base"
dev_seeds = [0, 1]
folds = 5
calibrate = 0.2
[encoder]
vocabulary = 12
width = 16
layers = 2
heads = 2
inner = 32
labels = 5
[stage1]
epochs = 9
batch = 8
rate = 3e-3
head_rate = 1e-2
steps = 50
[stage2]
epochs = 9
batch = 8
rate = 3e-3
head_rate = 1e-2
steps = 50
"""


def recipes(folder: Path) -> Path:
    """A folder with both recipes, cut down to the smoke version of 50 steps."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "emotion-text-tiny.toml").write_text(TINY_RECIPE)
    (folder / "emotion-text-base.toml").write_text(BASE_RECIPE)
    return folder
