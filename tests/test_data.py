"""Rows become comparisons; what does not is counted (FAULTS, data)."""

import pandas as pd
import pytest

from rm_studio import data, tables
from rm_studio.config import ColumnMapping
from rm_studio.errors import DataError

TWO = ColumnMapping(prompt="prompt", answers=("a", "b"))


def frame(*rows: tuple[object, object, object]) -> pd.DataFrame:
    return tables._finish(pd.DataFrame(rows, columns=["prompt", "a", "b"], dtype=object), [], "test").frame


def dropped(ledger: dict[str, list[dict[str, object]]]) -> dict[str, object]:
    return {str(item["reason"]): item["count"] for item in ledger["dropped"]}


def test_each_reason_is_counted_and_its_rows_are_named() -> None:
    rows = frame(
        ("p1", "x", "y"),
        (None, "x", "y"),
        ("p2", float("nan"), "y"),
        ("p3", "same", "same "),
        ("p1", "y", "x"),
        ("p4", 42, "y"),
        ("   ", "x", "y"),
    )
    comparisons, ledger = data.build_comparisons(rows, TWO, seed=1)
    assert comparisons["prompt"].tolist() == ["p1"]
    assert dropped(ledger) == {
        "empty prompt": 2,
        "empty answer": 1,
        "identical answers": 1,
        "the same comparison again": 1,
        "not text": 1,
    }
    assert ledger["read"] == 7 and ledger["kept"] == 1
    assert ledger["dropped"][0]["rows"][0]["row"] == 2


def test_four_answers_give_all_six_pairs() -> None:
    table = pd.DataFrame({"prompt": ["p"], **{name: [name] for name in "abcd"}})
    mapping = ColumnMapping(prompt="prompt", answers=("a", "b", "c", "d"))
    comparisons, _ = data.build_comparisons(table, mapping, seed=1)
    assert len(comparisons) == 6
    assert {tuple(sources) for sources in comparisons["sources"]} == {
        tuple(p) for p in ("ab", "ac", "ad", "bc", "bd", "cd")
    }


def test_an_id_depends_on_content_alone() -> None:
    assert data.content_id("p", ["a", "b"]) == data.content_id("p", ["b", "a"]) != data.content_id("p", ["a", "c"])


def test_columns_that_change_places_do_not_change_what_feedback_means() -> None:
    rows = frame(("p", "good", "bad"))
    one, other = (
        data.build_comparisons(rows, ColumnMapping(prompt="prompt", answers=answers), 1).frame
        for answers in (("a", "b"), ("b", "a"))
    )
    assert one.drop(columns="row").to_dict("records") == other.drop(columns="row").to_dict("records")


def test_the_order_shown_is_seeded_and_puts_neither_answer_first_always() -> None:
    rows = frame(*((f"p{i}", "x", "y") for i in range(200)))
    one, again, other = (data.build_comparisons(rows, TWO, seed).frame["order"].tolist() for seed in (1, 1, 2))
    assert one == again != other
    assert 60 < sum(order == [0, 1] for order in one) < 140


@pytest.mark.parametrize(
    ("columns", "prompt", "answers", "words"),
    [
        (["prompt"], "prompt", [], "1 column"),
        (["prompt", "a", "b"], None, ["a", "b"], "which column holds the prompt"),
        (["prompt", "a", "b"], "prompt", ["a"], "at least two"),
        (["prompt", "a", "b"], "a", ["a", "b"], "both the prompt and an answer"),
        (["prompt", "a", "b"], "prompt", ["a", "z"], "no column “z”"),
    ],
)
def test_a_mapping_that_lacks_something_says_what(
    columns: list[str], prompt: str | None, answers: list[str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        data.check_mapping(pd.DataFrame(columns=columns), prompt, answers)


def test_when_nothing_is_left_the_reasons_are_given() -> None:
    with pytest.raises(DataError, match="identical answers: 2"):
        data.build_comparisons(frame(("p", "x", "x"), ("q", "y", "y")), TWO, seed=1)


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "🙂 שלום", "nul\x00", "x\n" * 10_000, "=HYPERLINK(1)"]
)
def test_hostile_text_is_only_text(hostile: str) -> None:
    comparisons, _ = data.build_comparisons(frame((hostile, hostile + "1", hostile + "2")), TWO, seed=1)
    assert comparisons["prompt"][0] == hostile


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["instruction", "output_1", "output_2"], ("instruction", ("output_1", "output_2"))),
        (["id", "question", "answer a", "answer b", "category"], ("question", ("answer a", "answer b"))),
        (["Prompt", "chosen", "rejected", "score"], ("Prompt", ("chosen", "rejected"))),
        (["question", "polite answer", "rude answer"], ("question", ("polite answer", "rude answer"))),
        (["text", "label"], None),
    ],
)
def test_usual_column_names_are_guessed(columns: list[str], expected: tuple[str, tuple[str, ...]] | None) -> None:
    mapping = data.guess_mapping(pd.DataFrame({column: ["some words"] for column in columns}))
    assert (mapping and (mapping.prompt, mapping.answers)) == expected


def test_the_tutorial_s_columns_are_mapped_as_the_tutorial_does(shared_data: object) -> None:
    table = tables.read_file(shared_data / "falcon_comparisons.csv").frame  # type: ignore[operator]
    comparisons, ledger = data.build_comparisons(table, data.TUTORIAL.mapping, seed=42)
    assert ledger["read"] == 805
    assert len(comparisons) + sum(dropped(ledger).values()) == 805  # type: ignore[arg-type]
    assert set(comparisons["sources"][0]) == {"original_response", "response-1"}
