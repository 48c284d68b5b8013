"""What `moodmesh make music` says of a piece that several composers made."""

from __future__ import annotations

from typing import Any

import pytest

from moodmesh.nodes.cli.client import Client
from moodmesh.nodes.making.made import Made, title, told
from moodmesh.nodes.making.meant import word
from moodmesh.nodes.making.wish import GENERATE, Wish

RULES = {"variant": "rules", "model": None, "sha256": None, "licence": "CC0-1.0"}
TINY = {"variant": "tiny", "model": "music-tiny", "sha256": "66bc" * 16, "licence": "CC-BY-4.0"}
OTHER = {"variant": "unknown", "model": None, "sha256": "1234" * 16, "licence": "unknown"}


def made(composers: list[dict[str, Any]], before: int = 0) -> Made:
    given = {"bars": before, "notes": 9, "kept": 9, "shortened": 0, "metres": [], "beyond": 0} if before else None
    result = {
        "bars": before + sum(by["bars"] for by in composers), "seconds": 20.0, "key": "A minor", "notes": 99, "given": given,
        "composers": composers, "seed": 5, "takes": 1, "selector": None,
    }  # fmt: skip
    found = {"result": result, "provenance": {"seconds": 1.5}, "ran_on": "phone", "why": "the soonest"}
    return Made(Client(timeout=1), Wish(GENERATE, word("sad"), {"emotion": "sad"}, "sad"), {}, found)


@pytest.mark.parametrize(
    ("composers", "before", "said"),
    [
        ([RULES | {"bars": 8}], 0, "made by the rules (no model), seed 5, on phone in 1.5 s; licence CC0-1.0"),
        (
            [TINY | {"bars": 1}, RULES | {"bars": 7}], 0,
            "made by tiny (music-tiny 66bc66bc66bc) in bar 1, the rules (no model) in bars 2 to 8, seed 5, "
            "finished on phone in 1.5 s; licence CC-BY-4.0 in bar 1, CC0-1.0 in bars 2 to 8",
        ),
        (
            [OTHER | {"bars": 2}, TINY | {"bars": 2}], 4,
            "made by unknown (weights 123412341234) in bars 5 to 6, tiny (music-tiny 66bc66bc66bc) in bars 7 to 8, seed 5, "
            "finished on phone in 1.5 s; licence unknown in bars 5 to 6, CC-BY-4.0 in bars 7 to 8, "
            "what is before it stays under the licence of your file",
        ),
    ],
)  # fmt: skip
def test_each_composer_is_named_with_its_bars_and_licence(composers: list[dict[str, Any]], before: int, said: str) -> None:
    assert told(made(composers, before))[1] == f"# {said}"


def test_a_picture_names_each_composer_once() -> None:
    assert title(made([TINY | {"bars": 1}, RULES | {"bars": 2}, TINY | {"bars": 1}])) == "sad: A minor, tiny and rules"


def test_tempi_that_were_lost_are_said() -> None:
    one = made([RULES | {"bars": 2}], 4)
    assert not any("of your file" in line for line in told(one)[2:])
    one.found["result"]["given"]["beyond"] = 3
    assert any("3 bars are beyond 30 to 240 quarters a minute" in line for line in told(one))
