"""Model files: shipped first, then by hash; every first use is verified; a fetched file is kept whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from moodmesh.tasks import Card, ModelDamaged, ModelMissing, ModelStore, load_cards
from moodmesh.tasks.emotion.text import CARDS

CONTENT = b"weights"


@pytest.fixture
def card(tmp_path: Path) -> Card:
    sha = hashlib.sha256(CONTENT).hexdigest()
    return Card("small", "small.onnx", sha, 7, "CC0", ("made up",), "none", "none", folder=tmp_path / "package")


def ship(card: Card, content: bytes) -> None:
    assert card.folder is not None
    card.folder.mkdir()
    (card.folder / card.file).write_bytes(content)


def test_the_package_comes_first(card: Card, tmp_path: Path) -> None:
    ship(card, CONTENT)
    store = ModelStore(tmp_path / "data")
    store.add(card, CONTENT)
    assert store.path(card) == tmp_path / "package" / "small.onnx"


def test_absent_names_the_hash_and_the_command(card: Card, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=f"models pull small.*{card.sha256}") as caught:
        ModelStore(tmp_path / "data").path(card)
    assert caught.value.sha256 == card.sha256
    assert isinstance(caught.value, OSError)


def test_a_fetched_file_serves_where_nothing_is_shipped(card: Card, tmp_path: Path) -> None:
    ship(card, CONTENT)
    store = ModelStore(tmp_path / "data", packaged=False)
    assert store.find(card) is None
    fetched = tmp_path / "part"
    fetched.write_bytes(CONTENT)
    assert store.add(card, fetched) == tmp_path / "data" / card.sha256
    assert store.path(card).read_bytes() == CONTENT


def test_wrong_bytes_are_never_kept(card: Card, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "data")
    with pytest.raises(ModelDamaged, match="fetched file"):
        store.add(card, CONTENT + b"!")
    assert store.find(card) is None
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("where", ["package", "data"])
def test_a_damaged_file_is_refused_at_first_use(card: Card, tmp_path: Path, where: str) -> None:
    if where == "package":
        ship(card, b"broken")
    else:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / card.sha256).write_bytes(b"broken")
    with pytest.raises(ModelDamaged, match="small"):
        ModelStore(tmp_path / "data").path(card)


def test_a_damaged_file_counts_as_absent_and_another_serves_in_its_place(card: Card, tmp_path: Path) -> None:
    ship(card, b"broken")
    store = ModelStore(tmp_path / "data")
    assert store.find(card) is not None, "nobody has read it"
    with pytest.raises(ModelDamaged, match="moodmesh doctor"):
        store.path(card)
    assert store.find(card) is None
    assert not store.sure(card)
    there = store.add(card, CONTENT)
    assert store.path(card) == store.find(card) == there
    assert store.sure(card)


def test_a_file_that_is_mended_or_damaged_later_is_read_again(card: Card, tmp_path: Path) -> None:
    ship(card, b"broken!")
    assert card.folder is not None
    file, store = card.folder / card.file, ModelStore(tmp_path / "data")
    with pytest.raises(ModelDamaged):
        store.path(card)
    file.write_bytes(CONTENT)
    os.utime(file, ns=(1, 1))
    assert store.path(card) == store.find(card) == file
    file.write_bytes(CONTENT[::-1])
    os.utime(file, ns=(2, 2))
    assert not store.sure(card)
    with pytest.raises(ModelDamaged):
        store.path(card)


def test_the_shipped_cards_are_true(tmp_path: Path) -> None:
    for card in CARDS.values():
        file = ModelStore(tmp_path).path(card)
        assert file.stat().st_size == card.bytes
        assert card.licence
        assert card.data
        assert "--data" in card.training


def test_cards_come_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(
        '[a]\nfile = "a.onnx"\nsha256 = "00"\nbytes = 1\nlicence = "CC0"\ndata = ["x"]\nquality = "q"\ntraining = "t"\n'
    )
    assert load_cards(file)["a"].folder == tmp_path / "weights"
