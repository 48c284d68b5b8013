"""Escalation of `emotion.text`: which sentences leave, how the answers are merged, and the curves that judge the router."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.tasks import Request
from moodmesh.tasks.emotion.text import EmotionText
from moodmesh.tasks.emotion.text.escalation import ESCALATION, ROUTER, chosen, load_router, merge, results, routers, uncertain
from moodmesh.tasks.emotion.text.escalation.curve import SHARES, Pair, area, measure, share_needed
from moodmesh.tasks.testing import ContractBroken, check_escalation, check_task

from . import research
from .test_check_task import Letters, good

MOOD = {f"{axis}{end}": 0.1 for axis in ("valence", "arousal", "dominance") for end in ("", "_sd")}
moods = st.floats(-1, 1)


def item(valence: float, arousal: float, length: int, start: int = 0) -> dict[str, Any]:
    return MOOD | {"start": start, "end": start + length, "valence": valence, "arousal": arousal, "variant": "tiny"}


answers = st.lists(st.builds(item, moods, moods, st.integers(1, 300)), max_size=40)
shares = st.floats(0.01, 1)


@given(answers, shares)
def test_at_most_the_share_leaves_the_surest_stay(items: list[dict[str, Any]], share: float) -> None:
    found = chosen({"items": items}, share)
    assert len(found) <= share * len(items) + 1e-9
    assert list(found) == sorted(set(found))
    scores = [ROUTER.score((i["valence"], i["arousal"], i["dominance"]), i["end"] - i["start"]) for i in items]
    assert all(scores[n] > ROUTER.threshold(share) for n in found)
    if found:
        stay = [score for n, score in enumerate(scores) if n not in found]
        assert all(score <= min(scores[n] for n in found) or score <= ROUTER.threshold(share) for score in stay)


def test_a_share_is_rounded_down_as_it_was_written() -> None:
    """Much is at stake: what is sent is text that leaves the device."""
    eager = replace(ROUTER, thresholds=(-9.0,) * 2)
    for share, items, most in ((0.1, 1, 0), (0.5, 3, 1), (0.29, 100, 29), (0.999, 10, 9), (1.0, 1, 1)):
        assert len(chosen({"items": [item(0.0, 0.0, 9)] * items}, share, eager)) == most, share


@given(answers)
def test_a_share_of_one_sends_everything(items: list[dict[str, Any]]) -> None:
    assert chosen({"items": items}, 1.0) == tuple(range(len(items)))


def test_nothing_to_send_is_none() -> None:
    blank = {"start": 0, "end": 0, **dict.fromkeys(MOOD)}
    assert uncertain(Request({"lines": True}, b"\n\n"), {"items": [blank, blank]}, 1.0) is None


@settings(max_examples=40)
@given(st.lists(st.text(alphabet="ab \n\r\t.!ü", max_size=12), min_size=1, max_size=6), st.booleans(), shares)
def test_the_rest_has_a_line_for_each_chosen_sentence_and_nothing_else(parts: list[str], lines: bool, share: float) -> None:
    from moodmesh.tasks.emotion.text import spans_of

    text = " ".join(parts) + "x"
    request = Request({"lines": lines}, text.encode())
    items = [item(0.0, 0.0, end - start, start) if end > start else {"start": start, "end": end, **dict.fromkeys(MOOD)}
             for start, end in spans_of(request, text)]  # fmt: skip
    rest = uncertain(request, {"items": items}, share)
    if rest is None:
        return
    sent = rest.request.input.decode().split("\n")
    assert sent == [text[items[n]["start"] : items[n]["end"]].replace("\n", " ") for n in rest.items]
    assert len(spans_of(rest.request, rest.request.input.decode())) == len(rest.items)


@given(answers.filter(bool), st.data())
def test_a_merged_answer_keeps_order_and_says_who_answered(items: list[dict[str, Any]], data: st.DataObject) -> None:
    sent = tuple(sorted(data.draw(st.sets(st.integers(0, len(items) - 1), min_size=1))))
    small = {"items": items, "variant": "tiny", "model": "m", "sha256": "s", "larger": None}
    theirs = [{"start": 7, "end": 9, **dict.fromkeys(MOOD, 0.5), "variant": "base"} for _ in sent]
    merged = merge(small, {"items": theirs, "variant": "base", "model": "M", "sha256": "S"}, sent)
    for n, (before, after) in enumerate(zip(items, merged["items"], strict=True)):
        assert (after["start"], after["end"]) == (before["start"], before["end"])
        assert after["variant"] == ("base" if n in sent else "tiny")
        assert after["valence"] == (0.5 if n in sent else before["valence"])
    assert (merged["variant"], merged["larger"]["variant"]) == ("tiny", "base")


def test_an_answer_to_other_sentences_is_not_merged() -> None:
    small = {"items": [item(0, 0, 5)] * 3}
    with pytest.raises(ValueError, match="1 answers to 2"):
        merge(small, {"items": [item(0, 0, 5)], "variant": "base", "model": "", "sha256": ""}, (0, 2))


def test_the_contract_holds_on_the_shipped_models(tmp_path: Path) -> None:
    check_escalation(EmotionText(), ESCALATION, tmp_path)


def test_the_shipped_router_reaches_more_the_more_it_may_send() -> None:
    reached = [ESCALATION.expected(share) for share in (0.0, 0.3, 0.6, 1.0)]
    assert reached == sorted(reached, key=lambda r: r or 0)
    assert reached[0] == ESCALATION.reached[0]
    assert reached[-1] == ESCALATION.reached[-1]


def pair(n: int = 400, seed: int = 1) -> tuple[Pair, np.ndarray[Any, Any]]:
    """A small model that is blind to half of the sentences, and which they are."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 3))
    blind = rng.random(n) < 0.5
    small = np.where(blind[:, None], rng.normal(size=(n, 3)), truth) + 0.1 * rng.normal(size=(n, 3))
    return Pair(small, truth + 0.1 * rng.normal(size=(n, 3)), truth, rng.integers(0, 30, n)), blind


def test_a_router_that_knows_beats_chance_and_one_that_errs_loses() -> None:
    both, blind = pair()
    noise = np.random.default_rng(5).random(len(blind))
    found = measure(both, {"knows": blind.astype(float), "errs": -blind.astype(float), "noise": noise}, draws=100)
    areas = {name: area(curve.mean(1), found.curves["random"].mean(1)) for name, curve in found.curves.items()}
    assert areas["knows"] > 0.05
    assert areas["errs"] < -0.05
    assert abs(areas["noise"]) < 0.02
    low, high = np.quantile(area(found.draws["knows"], found.draws["random"]), [0.025, 0.975])
    assert 0 < low < areas["knows"] < high
    assert share_needed(found.curves["knows"].mean(1), 0.95) == pytest.approx(0.5, abs=0.06)


def test_a_curve_is_the_correlation_of_the_mixture() -> None:
    both, _ = pair(60)
    score = np.arange(60, dtype=float)
    found = measure(both, {"last first": score}, draws=1).curves["last first"]
    for at, share in enumerate(SHARES):
        mixed = both.small.copy()
        sent = score >= 60 - round(share * 60)
        mixed[sent] = both.large[sent]
        expected = [np.corrcoef(mixed[:, n], both.truth[:, n])[0, 1] for n in range(3)]
        assert found[at] == pytest.approx(expected)
    ends = measure(both, {}, draws=1).curves["random"]
    assert ends[[0, -1]] == pytest.approx(found[[0, -1]])


def test_a_fitted_router_is_the_one_that_runs(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    mood, large = rng.normal(0, 0.1, (200, 3)), rng.normal(0, 0.2, (200, 3))
    rows = routers.Rows(mood, np.ones((200, 3)), rng.integers(5, 200, 200).astype(float), large, large, [""] * 200)
    router = routers.fit(rows, routers.disagreement(rows, np.ones(3)))
    routers.save(router, tmp_path / "router.toml")
    again = load_router(tmp_path / "router.toml")
    there = [again.score(tuple(mood[n]), int(rows.characters[n])) for n in range(200)]
    assert there == pytest.approx(routers.scores(router, rows).tolist(), abs=1e-3)


def test_the_command_cannot_run_without_data_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert results.main(["--data", str(tmp_path)]) == 1
    assert "cannot run: no research data" in capsys.readouterr().err
    research.area(tmp_path / "data")
    research.recipes(tmp_path / "recipes")
    folders = ["--data", str(tmp_path / "data"), "--configs", str(tmp_path / "recipes"), "--out", str(tmp_path)]
    assert results.main([*folders, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert "--retrain" in found["error"]["message"]


def test_a_wrong_escalation_is_named(tmp_path: Path) -> None:
    from moodmesh.tasks import Escalation, Rest, Variant

    def twice(*_: object) -> Rest:
        return Rest(Request({"word": "calm"}), (0, 0), 2)

    def never(*_: object) -> None:
        return None

    task = Letters(good)
    both = (Variant("only", 1, 50), Variant("more", 2, 50))
    for way, complaint in (
        (Escalation("only", "best", twice, lambda s, _l, _i: dict(s)), "task's own"),
        (Escalation("more", "only", twice, lambda s, _l, _i: dict(s)), "better one"),
        (Escalation("only", "more", twice, lambda s, _l, _i: dict(s)), "named once"),
        (Escalation("only", "more", never, lambda s, _l, _i: dict(s)), "share of one half"),
    ):
        task.spec = replace(task.spec, variants=both, escalation=way)
        with pytest.raises(ContractBroken, match=complaint):
            check_task(task, tmp_path)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Made-up data, and cached predictions of a blurred small and a sharp large model; the arguments of the command."""
    from moodmesh.tasks.emotion.text import data
    from moodmesh.tasks.emotion.text.bench import open_bench
    from moodmesh.tasks.emotion.text.predictions import Predicted

    research.area(tmp_path / "data")
    research.recipes(tmp_path / "recipes")
    bench, rng = open_bench(tmp_path / "data", tmp_path / "recipes", tmp_path), np.random.default_rng(3)
    for split in data.document_folds(bench.rows):
        truth = np.array([row.vad for row in split.held])
        for system, recipe, noise in (("tiny", bench.tiny.sha256, 0.3), ("base-s0", bench.base.sha256, 0.05)):
            mean = truth + noise * rng.normal(size=truth.shape)
            bench.cache.save(system, recipe, split, Predicted(mean, np.full_like(mean, noise)))
    monkeypatch.setattr(results, "ROUTER_FILE", tmp_path / "router.toml")
    monkeypatch.setattr(results, "load_router", lambda: load_router(tmp_path / "router.toml"))
    monkeypatch.setattr(results, "DRAWS", 40)
    return ["--data", str(tmp_path / "data"), "--configs", str(tmp_path / "recipes"), "--out", str(tmp_path)]


def test_the_command_makes_router_table_and_picture_and_checks_them(
    cached: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert results.main([*cached, "--retrain", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]
    table = json.loads((tmp_path / "emotion.text.escalation.json").read_text())
    assert table["summary"] == told
    assert {row["part"] for row in table["rows"]} == {"dev", "cv"}
    rows = {row["router"]: row for row in table["rows"] if row["part"] == "cv"}
    assert rows["oracle: gain"]["area_over_random"] > rows["predicted disagreement"]["area_over_random"]
    assert all(low <= high for row in rows.values() for low, high in row["ci95"])
    assert [row["sent"] for row in table["policy"]] == sorted(row["sent"] for row in table["policy"])
    assert table["policy"][-1]["sent"] == 1
    assert load_router(tmp_path / "router.toml").reached == tuple(row["mean_r"] for row in table["policy"])
    page = (tmp_path / "emotion.text.escalation.md").read_text()
    assert "**predicted disagreement** (ships)" in page
    assert (tmp_path / "emotion.text.escalation.svg").read_text().count("<path") > 10

    assert results.main([*cached, "--check", "--quick"]) == 0
    table["rows"][1]["area_ci95"] = [0.9, 0.95]
    (tmp_path / "emotion.text.escalation.json").write_text(json.dumps(table))
    assert results.main([*cached, "--check", "--quick"]) == 1
    assert "outside its stored interval 0.9 to 0.95" in capsys.readouterr().err
