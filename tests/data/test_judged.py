"""Tables that already carry judgements, in each shape that is known."""

import json

import pandas as pd
import pytest

from rm_studio import data, judged, tables
from rm_studio.config import ColumnMapping
from rm_studio.errors import DataError
from rm_studio.preferences import make_pairs
from rm_studio.tables.cells import finished


def table(**columns: object) -> pd.DataFrame:
    return finished(pd.DataFrame(columns, dtype=object))


def test_chosen_and_rejected() -> None:
    pairs, ledger = judged.pairs_of(table(prompt=["p", "q", "r"], chosen=["a", "b", "c"], rejected=["x", "y", "c"]))
    assert pairs[["chosen", "rejected"]].to_dict("records") == [
        {"chosen": "a", "rejected": "x"},
        {"chosen": "b", "rejected": "y"},
    ]
    assert ledger["dropped"][0]["reason"] == "identical answers"


@pytest.mark.parametrize("values", [[1, 2], ["1", "2"], [1.0, 2.0]])
def test_choose_best_as_a_number(values: list[object]) -> None:
    pairs, _ = judged.pairs_of(
        table(**{"prompt": ["p", "q"], "response-1": ["a", "b"], "response-2": ["x", "y"], "choose-best": values})
    )
    assert pairs["chosen"].tolist() == ["a", "y"]


def test_a_comparison_judged_several_times_is_voted_on_whichever_way_round_it_stood() -> None:
    rows = {"prompt": ["p"] * 3, "chosen": ["a", "b", "b"], "rejected": ["b", "a", "a"]}
    pairs, _ = judged.pairs_of(table(**rows))
    assert pairs[["chosen", "n_annotators"]].values.tolist() == [["b", 3]]
    assert pairs["p_chosen"][0] == pytest.approx(2 / 3)


def test_choose_best_as_argilla_1_exports_it_with_several_annotators() -> None:
    votes = [
        {"user_id": "u1", "value": 2, "status": "submitted"},
        {"user_id": "u2", "value": 2, "status": "submitted"},
        {"user_id": "u3", "value": None, "status": "discarded"},
    ]
    rows = {"instruction": ["p"], "response-1": ["a"], "response-2": ["x"], "choose-best": [votes]}
    found = judged.read(table(**rows))
    assert found.feedback["status"].tolist() == ["submitted", "submitted", "discarded"]
    assert judged.pairs_of(table(**rows)).frame["chosen"].tolist() == ["x"]


def test_choose_best_as_datasets_turns_a_list_of_structs() -> None:
    votes = {"user_id": ["u1", "u2"], "value": [1, 1], "status": ["submitted", "submitted"]}
    rows = {"instruction": ["p"], "response-1": ["a"], "response-2": ["x"], "choose-best": [json.dumps(votes)]}
    assert judged.pairs_of(table(**rows)).frame["n_annotators"].tolist() == [2]


def test_choose_best_as_argilla_2_exports_it() -> None:
    rows = {
        "instruction": ["p"],
        "response-1": ["a"],
        "response-2": ["x"],
        "choose-best.responses": [[2, 1]],
        "choose-best.responses.users": [["u1", "u2"]],
        "choose-best.responses.status": [["submitted", "draft"]],
    }
    assert judged.pairs_of(table(**rows)).frame["chosen"].tolist() == ["x"]


def test_other_columns_are_refused_with_both_lists() -> None:
    with pytest.raises(DataError, match=r"It has: text, label\."):
        judged.read(table(text=["x"], label=["y"]))


def test_the_right_columns_without_any_choice_are_refused() -> None:
    rows = {"prompt": ["p"], "response-1": ["a"], "response-2": ["x"], "choose-best": [None]}
    with pytest.raises(DataError, match="nobody’s choice"):
        judged.read(table(**rows))


def test_the_judged_pairs_of_a_strong_judge_load(shared_data: object) -> None:
    frame = tables.read_file(shared_data / "judged_pairs.parquet").frame  # type: ignore[operator]
    pairs, ledger = judged.pairs_of(frame)
    assert ledger["read"] == 7401
    assert len(pairs) > 7000


def test_doubt_and_strength_of_a_table_go_into_its_pairs() -> None:
    rows = [("p1", "a", "b", 0.8, 2.0), ("p2", "c", "d", 0.5, None), ("p3", "e", "f", None, 1.0)]
    frame = pd.DataFrame(rows, columns=["prompt", "chosen", "rejected", "p_chosen", "strength"])
    pairs = judged.pairs_of(finished(frame)).frame.set_index("prompt")
    assert pairs.loc["p1", ["p_chosen", "strength"]].tolist() == [0.8, 2.0]
    assert pairs.loc["p2", "p_chosen"] == 0.5 and pairs.loc["p3", "p_chosen"] == 1.0
    with pytest.raises(DataError, match=r"from 0\.5"):
        judged.pairs_of(finished(frame.assign(p_chosen=0.2)))


@pytest.mark.parametrize(
    ("columns", "choices", "expected"),
    [
        (("original_response", "response-1"), ["1", "2"], ["one", "two"]),
        (("answer_claude_2", "answer_gpt_4"), ["1", "2"], ["one", "two"]),
        (("response_0", "response_1"), ["0", "1"], ["one", "two"]),
        (("response-1", "response-2"), ["1", "2"], ["one", "two"]),
        (("answer_a", "answer_b"), ["a", "b"], ["one", "two"]),
    ],
)
def test_a_choice_means_a_place_unless_all_columns_are_numbered_alike(
    columns: tuple[str, str], choices: list[str], expected: list[str]
) -> None:
    rows = {"prompt": ["p", "q"], columns[0]: ["one", "one"], columns[1]: ["two", "two"], "choice": choices}
    mapping = ColumnMapping(prompt="prompt", answers=columns, verdict="choice", verdict_in=("choice",))
    made = data.build_comparisons(finished(pd.DataFrame(rows)), mapping, 42)
    pairs = make_pairs(made.frame, made.feedback).frame
    assert pairs["chosen"].tolist() == expected


def test_a_choice_of_0_that_may_mean_the_first_or_a_tie_is_asked_about() -> None:
    rows = {"prompt": ["p", "q"], "one": ["a", "a"], "two": ["b", "b"], "choice": ["0", "1"]}
    mapping = ColumnMapping(prompt="prompt", answers=("one", "two"), verdict="choice", verdict_in=("choice",))
    with pytest.raises(DataError, match="could mean the first answer or a tie"):
        data.build_comparisons(finished(pd.DataFrame(rows)), mapping, 42)


def test_what_was_not_rated_is_neither_better_nor_worse() -> None:
    rows = {"prompt": ["p"] * 3, "answer": ["good", "unknown", "bad"], "rating": ["5", "", "1"]}
    mapping = ColumnMapping(
        shape="rows", prompt="prompt", answers=("answer",), verdict="rating", verdict_in=("rating",)
    )
    made = data.build_comparisons(finished(pd.DataFrame(rows)), mapping, 42)
    found = make_pairs(made.frame, made.feedback)
    assert found.frame[["chosen", "rejected"]].to_numpy().tolist() == [["good", "bad"]]
    assert found.ledger["dropped"][0]["reason"] == "fewer than two of its answers are rated"


@pytest.mark.parametrize("chance", ["73", "-1", "12 %"])
def test_a_probability_that_is_none_is_left_out_and_counted(chance: str) -> None:
    rows = {"prompt": ["p", "q"], "one": ["a", "a"], "two": ["b", "b"], "chance": [chance, "0.3"]}
    mapping = ColumnMapping(prompt="prompt", answers=("one", "two"), verdict="probability", verdict_in=("chance",))
    made = data.build_comparisons(finished(pd.DataFrame(rows)), mapping, 42)
    assert made.ledger["dropped"][0]["reason"] == "the probability is not from 0 to 1"
    assert make_pairs(made.frame, made.feedback).frame["p_chosen"].tolist() == [0.7]
