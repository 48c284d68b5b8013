"""`emotion.text` on its shipped weights: the contract, the order of items, bad input, and whether the moods make sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moodmesh.tasks import Cancelled, InvalidInput, ModelMissing, ModelStore, Request, Runner
from moodmesh.tasks.emotion.text import MAX_BYTES, MAX_ITEMS, EmotionText, probes
from moodmesh.tasks.emotion.text.schema import TextEmotion
from moodmesh.tasks.testing import CheckContext, check_task

VARIANTS = [variant.name for variant in EmotionText.spec.variants]
AXES = ("valence", "arousal", "dominance")
BAD = [
    Request({}),
    Request({}, b"  \n "),
    Request({"lines": True}),
    Request({"text": ""}),
    Request({}, b"\xff\xfe\x00a"),
    Request({}, b"text\x00with zero bytes"),
    Request({}, b"\x89PNG\r\n\x1a\n\x00\x00"),
    Request({}, b"word " * (MAX_BYTES // 5 + 1)),
    Request({"text": "both"}, b"given"),
    Request({"lines": True}, b"\n" * (MAX_ITEMS + 1)),
]


@pytest.fixture(scope="module", params=VARIANTS)
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    store = ModelStore(tmp_path_factory.mktemp("models"))
    return EmotionText().open(request.param, CheckContext(store))


def items(runner: Runner, context: CheckContext, text: str | bytes, **params: Any) -> list[dict[str, Any]]:
    content = text if isinstance(text, bytes) else text.encode()
    found: list[dict[str, Any]] = runner.run(Request(params, content), context).value["items"]
    return found


def moods(item: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(item[name] for axis in AXES for name in (axis, f"{axis}_sd"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_contract(variant: str, tmp_path: Path) -> None:
    check_task(EmotionText(), tmp_path, [variant], BAD)


@pytest.mark.parametrize(
    ("request_", "hint"),
    [
        (BAD[0], "at least one sentence"),
        (BAD[4], "UTF-8"),
        (BAD[5], "binary"),
        (BAD[7], "split the file"),
        (BAD[8], "leave one of them out"),
        (BAD[9], "30,001 pieces"),
    ],
)
def test_bad_input_says_what_to_do(runner: Runner, context: CheckContext, request_: Request, hint: str) -> None:
    with pytest.raises(InvalidInput, match=hint):
        runner.run(request_, context)


def test_the_largest_allowed_text_passes_the_gate() -> None:
    from moodmesh.tasks.emotion.text import text_of

    assert len(text_of(Request({}, b"a" * MAX_BYTES))) == MAX_BYTES
    with pytest.raises(InvalidInput, match="1,048,577 bytes"):
        text_of(Request({}, b"a" * (MAX_BYTES + 1)))


def test_one_item_a_line_with_nulls_for_blank_ones(runner: Runner, context: CheckContext) -> None:
    found = items(runner, context, "What a joy!\n\n   \nI am so afraid. Help me.\n", lines=True)
    assert [moods(item).count(None) for item in found] == [0, 6, 6, 0]
    assert (found[3]["start"], found[3]["end"]) == (17, 41)


def test_every_line_counts_even_if_all_are_blank(runner: Runner, context: CheckContext) -> None:
    assert len(items(runner, context, b"\n\n\n", lines=True)) == 3


def test_sentences_in_order_with_their_place(runner: Runner, context: CheckContext) -> None:
    text = "Ünïcode first. Then more!"
    found = items(runner, context, text)
    assert [text[item["start"] : item["end"]] for item in found] == ["Ünïcode first.", "Then more!"]


def test_a_byte_order_mark_is_no_text(runner: Runner, context: CheckContext) -> None:
    assert items(runner, context, "Hello.".encode("utf-8-sig")) == items(runner, context, "Hello.")


def test_parameter_text_equals_the_file(runner: Runner, context: CheckContext) -> None:
    spoken = runner.run(Request({"text": "A calm night."}), context)
    assert spoken == runner.run(Request({}, b"A calm night."), context)


def test_result_names_its_weights(runner: Runner, context: CheckContext) -> None:
    answer = TextEmotion.model_validate(runner.run(Request({"text": "Hello."}), context).value)
    card = EmotionText.spec.variant(answer.variant).card
    assert card is not None
    assert (answer.model, answer.sha256) == (card.name, card.sha256)


LINE = st.one_of(
    st.text(alphabet=st.characters(exclude_characters="\n\r\0", exclude_categories=("Cs",)), max_size=30),
    st.sampled_from(["", "I love it!", "not bad at all", "death, " * 150, "..", "👍", "\u200b"]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(LINE, min_size=1, max_size=6))
def test_a_line_reads_the_same_alone_and_among_others(runner: Runner, context: CheckContext, rows: list[str]) -> None:
    together = items(runner, context, "\n".join(rows) + "\n", lines=True)
    alone = [items(runner, context, row + "\n", lines=True)[0] for row in rows]
    assert [moods(item) for item in together] == [moods(item) for item in alone]
    for item in together:
        if item["valence"] is not None:
            assert all(-1 <= item[axis] <= 1 and 0 < item[f"{axis}_sd"] < 2 for axis in AXES)


def test_moods_make_sense(runner: Runner, context: CheckContext) -> None:
    joy, grief = items(runner, context, "This is the happiest day of my life!\nMy father was killed in the war.", lines=True)
    assert joy["valence"] > 0.05 > -0.05 > grief["valence"]
    assert joy["arousal"] > 0


def test_negation_turns_most_pairs(runner: Runner, context: CheckContext) -> None:
    found = items(runner, context, "\n".join(probes.TEXTS), lines=True)
    pleasant, unpleasant = probes.passed([item["valence"] for item in found])
    assert pleasant >= 0.9 * len(probes.PLEASANT)
    assert unpleasant >= 0.5 * len(probes.UNPLEASANT)


def test_a_very_long_line_counts_to_its_end(runner: Runner, context: CheckContext) -> None:
    filler = "the table stood near the window of the room " * 40
    glad, sad = items(runner, context, f"{filler} {'joy ' * 60}\n{filler} {'murder ' * 60}", lines=True)
    assert glad["valence"] > sad["valence"]


def test_progress_and_cancel(runner: Runner, context: CheckContext) -> None:
    text = "Nothing happened. " * 300
    items(runner, context, text)
    assert context.shares[-1] == 1.0
    assert 50 <= len(context.shares) <= 160
    assert context.checks == 300
    stopped = CheckContext(context.models, cancel_at=7)
    with pytest.raises(Cancelled):
        items(runner, stopped, text)
    assert stopped.checks == 7


def test_one_endless_sentence_can_be_cancelled(runner: Runner, context: CheckContext) -> None:
    [item] = items(runner, context, "joy " * 5_000)
    assert (item["start"], item["end"]) == (0, 19_999)
    assert context.checks == 10
    gap = items(runner, context, f"joy{' ' * 9_000}joy", lines=True)
    assert gap[0]["valence"] is not None


def test_a_missing_model_is_an_os_error_that_names_the_hash(tmp_path: Path) -> None:
    bare = CheckContext(ModelStore(tmp_path, packaged=False))
    for variant in VARIANTS:
        with pytest.raises(ModelMissing, match="sha256"):
            EmotionText().open(variant, bare)


def test_sizes_grow_with_the_text() -> None:
    task = EmotionText()
    short, long = Request({}, b"A line.\n" * 10), Request({}, b"A line.\n" * 1000)
    assert task.units(long) == 100 * task.units(short)
    assert task.result_bytes(long) > 10 * task.result_bytes(short)
    for bad in BAD:
        with pytest.raises(InvalidInput):
            task.units(bad)
