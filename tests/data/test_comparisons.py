"""Rows become comparisons; what does not is counted (FAULTS, data)."""

import re
from pathlib import Path

import pandas as pd
import pytest

from rm_studio import data, tables
from rm_studio.config import ColumnMapping, Selection
from rm_studio.errors import DataError
from rm_studio.ledger import Ledger, harmless
from rm_studio.tables.cells import finished

TWO = ColumnMapping(prompt="prompt", answers=("a", "b"))


def frame(*rows: tuple[object, object, object]) -> pd.DataFrame:
    return finished(pd.DataFrame(rows, columns=["prompt", "a", "b"], dtype=object))


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
    comparisons, ledger, _ = data.build_comparisons(rows, TWO, seed=1)
    assert comparisons["prompt"].tolist() == ["p1"]
    assert dropped(ledger) == {
        "empty prompt": 2,
        "empty answer": 1,
        "identical answers": 1,
        "the same comparison again": 1,
        "not text": 1,
    }
    assert ledger["read"] == 7 and ledger["kept"] == 1
    assert ledger["dropped"][0]["rows"][0]["row"] == "2"


def test_four_answers_give_all_six_pairs() -> None:
    table = pd.DataFrame({"prompt": ["p"], **{name: [name] for name in "abcd"}})
    mapping = ColumnMapping(prompt="prompt", answers=("a", "b", "c", "d"))
    comparisons, *_ = data.build_comparisons(table, mapping, seed=1)
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
        (["prompt", "a", "b"], "prompt", ["a"], "at least two"),
        (["prompt", "a", "b"], "a", ["a", "b"], "both the prompt and an answer"),
        (["prompt", "a", "b"], "prompt", ["a", "z"], "no column “z”"),
    ],
)
def test_a_mapping_that_lacks_something_says_what(
    columns: list[str], prompt: str | None, answers: list[str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        data.check(columns, ColumnMapping(prompt=prompt, answers=tuple(answers)))


def test_when_nothing_is_left_the_reasons_are_given() -> None:
    with pytest.raises(DataError, match="identical answers: 2"):
        data.build_comparisons(frame(("p", "x", "x"), ("q", "y", "y")), TWO, seed=1)


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "🙂 שלום", "nul\x00", "x\n" * 10_000, "=HYPERLINK(1)"]
)
def test_hostile_text_is_only_text(hostile: str) -> None:
    comparisons, *_ = data.build_comparisons(frame((hostile, hostile + "1", hostile + "2")), TWO, seed=1)
    assert comparisons["prompt"][0] == hostile


WIDE = pd.DataFrame({"prompt": ["p", "q"], **{name: [f"{name}1", f"{name}2"] for name in "abcd"}})
FOUR = ColumnMapping(prompt="prompt", answers=("a", "b", "c", "d"))


def selected(**selection: object) -> pd.DataFrame:
    return data.build_comparisons(WIDE, FOUR, seed=1, selection=Selection(**selection)).frame  # type: ignore[arg-type]


def test_of_several_answers_some_pairs_each_against_one_or_all_at_once() -> None:
    assert len(selected()) == 12
    assert selected(pairing="random", pairs_each=2)["prompt"].tolist() == ["p", "p", "q", "q"]
    against = selected(pairing="baseline", baseline="c")
    assert len(against) == 6 and all("c" in sources for sources in against["sources"])
    assert [len(found) for found in selected(pairing="together", together=3)["responses"]] == [3, 3]
    assert selected(pairing="random").equals(selected(pairing="random")), "seeded"
    with pytest.raises(DataError, match="no answer of “nobody”: 2"):
        selected(pairing="baseline", baseline="nobody")


def test_prompts_with_fewer_answers_than_are_shown_at_once_are_counted() -> None:
    rows = pd.DataFrame({"prompt": ["p", "q"], "a": ["1", "1"], "b": ["2", "2"], "c": ["3", "2"]})
    mapping = ColumnMapping(prompt="prompt", answers=("a", "b", "c"))
    together = Selection(pairing="together", together=3)
    made = data.build_comparisons(rows, mapping, seed=1, selection=together)
    assert len(made.frame) == 1 and dropped(made.ledger) == {"fewer than 3 different answers": 1}


def test_a_sample_takes_from_each_category_its_share_and_is_drawn_again_the_same() -> None:
    rows = pd.DataFrame(
        {
            "prompt": [f"p{i}" for i in range(100)],
            "a": "x",
            "b": "y",
            "c": ["rare" if i < 20 else "usual" for i in range(100)],
        }
    )
    mapping = TWO.model_copy(update={"category": "c"})
    one, again = (data.build_comparisons(rows, mapping, 3, Selection(limit=10)) for _ in range(2))
    assert one.frame["category"].value_counts().to_dict() == {"usual": 8, "rare": 2}
    assert one.frame.equals(again.frame)
    assert dropped(one.ledger) == {"not among the 10 drawn": 90}
    other = data.build_comparisons(rows, mapping, 4, Selection(limit=10))
    assert set(other.frame["prompt"]) != set(one.frame["prompt"])


def test_choices_that_leave_rows_out_are_counted_and_can_be_taken_back() -> None:
    rows = frame(("p", "x", "y"), ("p", "v", "w"), ("q", "long " * 100, "z"), ("r", 42, "y"))
    strict = Selection(one_a_prompt=True, longest=50)
    made = data.build_comparisons(rows, TWO, 1, strict)
    assert dropped(made.ledger) == {
        "a prompt that was there before": 1,
        "longer than 50 tokens": 1,
        "not text": 1,
    }
    assert len(data.build_comparisons(rows, TWO, 1, Selection(others_as_text=True)).frame) == 4


def test_a_prompt_with_thousands_of_answers_is_left_out_and_counted() -> None:
    rows = frame(*(("the same", f"answer {i}", None) for i in range(500)))
    mapping = ColumnMapping(shape="rows", prompt="prompt", answers=("a",))
    with pytest.raises(DataError, match="more than 64 answers to one prompt: 1"):
        data.build_comparisons(rows, mapping, seed=1)


def test_all_that_is_left_out_stands_in_a_file_that_no_spreadsheet_runs(tmp_path: Path) -> None:
    rows = frame(*((f"=HYPERLINK({i})", "x", "x") for i in range(300)), ("p", "a", "b"))
    with Ledger("comparisons", tmp_path / "left_out.csv") as ledger:
        data.build(lambda: data.items([rows], TWO), Selection(), 1, ledger)
    listed = pd.read_csv(tmp_path / "left_out.csv")
    assert len(listed) == 300 and listed["Why"].unique().tolist() == ["identical answers"]
    assert listed["Prompt"].str.startswith("'=HYPERLINK").all()
    assert len(ledger.as_dict()["dropped"][0]["rows"]) == 200


def test_the_tutorial_s_columns_are_mapped_as_the_tutorial_does(shared_data: object) -> None:
    table = tables.read_file(shared_data / "falcon_comparisons.csv").frame  # type: ignore[operator]
    comparisons, ledger, _ = data.build_comparisons(table, data.TUTORIAL.mapping, seed=42)
    assert ledger["read"] == 805
    assert len(comparisons) + sum(dropped(ledger).values()) == 805  # type: ignore[arg-type]
    assert set(comparisons["sources"][0]) == {"original_response", "response-1"}


@pytest.mark.parametrize("cell", ["=1+1", "@x", "+1", "-1", "hello;=1+1", "a; @SUM(1)"])
def test_no_cell_is_left_that_a_spreadsheet_would_run(cell: str) -> None:
    assert not re.search(r"(^|;\s*)[=+@-]", harmless(cell))
    assert harmless("plain; text - a+b = c") == "plain; text - a+b = c"
