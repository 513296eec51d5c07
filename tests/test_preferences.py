"""Votes become pairs, honestly counted and split."""

import pandas as pd
import pytest

from rm_studio import preferences
from rm_studio.errors import DataError
from rm_studio.preferences import FEEDBACK_COLUMNS


def comparisons(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(n)],
            "prompt": [f"p{i}" for i in range(n)],
            "responses": [["x", "y"]] * n,
            "category": [None] * n,
            "row": [str(i) for i in range(n)],
        }
    )


def feedback(*votes: tuple[str, str, str, list[int]]) -> pd.DataFrame:
    rows = [
        [id_, who, status, ranks, None, ranks.index(1) + 1 if ranks else None, None]
        for id_, who, status, ranks in votes
    ]
    return pd.DataFrame(rows, columns=FEEDBACK_COLUMNS[:7])


def test_the_majority_wins_and_its_share_is_kept() -> None:
    votes = feedback(("0", "a", "submitted", [2, 1]), ("0", "b", "submitted", [2, 1]), ("0", "c", "submitted", [1, 2]))
    pairs, _ = preferences.make_pairs(comparisons(1), votes)
    assert pairs.loc[0, ["chosen", "rejected", "n_annotators"]].tolist() == ["y", "x", 3]
    assert pairs["p_chosen"][0] == pytest.approx(2 / 3)


def test_what_makes_no_pair_is_counted_by_reason() -> None:
    votes = feedback(
        ("0", "a", "submitted", [2, 1]),
        ("0", "b", "submitted", [1, 2]),
        ("1", "a", "discarded", []),
        ("2", "a", "draft", []),
    )
    pairs, ledger = preferences.make_pairs(comparisons(4), votes)
    assert pairs.empty
    assert {item["reason"]: item["count"] for item in ledger["dropped"]} == {
        "annotators split evenly": 1,
        "discarded": 1,
        "no answer yet": 2,
    }


def test_feedback_on_comparisons_that_are_gone_is_ignored() -> None:
    pairs, _ = preferences.make_pairs(comparisons(1), feedback(("other", "a", "submitted", [1, 2])))
    assert pairs.empty


def test_agreement_counts_couples_of_annotators() -> None:
    votes = feedback(
        ("0", "a", "submitted", [1, 2]),
        ("0", "b", "submitted", [1, 2]),
        ("0", "c", "submitted", [2, 1]),
        ("1", "a", "submitted", [1, 2]),
    )
    share = preferences.agreement(votes)
    assert (share.value, share.n) == (pytest.approx(1 / 3), 3)
    assert share.low < share.value < share.high


def test_position_bias_looks_at_the_place_that_won() -> None:
    share = preferences.position_bias(feedback(("0", "a", "submitted", [1, 2]), ("1", "a", "discarded", [])))
    assert (share.value, share.n) == (1.0, 1)


def test_wilson_agrees_with_a_published_example() -> None:
    # 81 of 263: 0.255 to 0.366 (Newcombe 1998, Statistics in Medicine 17:857, table I, method 3).
    share = preferences.wilson(81, 263)
    assert (share.low, share.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))


def test_no_prompt_is_on_both_sides_however_it_is_spelt() -> None:
    pairs = pd.DataFrame({"prompt": [p for i in range(50) for p in (f"Prompt {i}", f"prompt  {i} ")]})
    split = preferences.split_by_prompt(pairs, 0.2, seed=3)

    def keys(frame: pd.DataFrame) -> set[str]:
        return {" ".join(prompt.casefold().split()) for prompt in frame["prompt"]}

    assert not keys(split.train) & keys(split.test)
    assert len(split.train) + len(split.test) == 100
    assert 10 <= len(split.test) <= 30


def test_the_split_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    pairs = pd.DataFrame({"prompt": [f"p{i}" for i in range(100)]})
    one, again, other = (preferences.split_by_prompt(pairs, 0.2, seed).test["prompt"].tolist() for seed in (1, 1, 2))
    assert one == again != other


def test_one_prompt_cannot_be_split() -> None:
    with pytest.raises(DataError, match="share one prompt"):
        preferences.split_by_prompt(pd.DataFrame({"prompt": ["p", "P "]}), 0.5, seed=1)


def several(*votes: dict[str, object]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One comparison of three answers, and these votes on it."""
    comparisons = pd.DataFrame(
        [{"id": "c", "prompt": "p", "responses": ["a", "b", "c"], "category": None, "row": "1", "order": [0, 1, 2]}]
    )
    given = [{"id": "c", "annotator": str(n), "status": "submitted", **vote} for n, vote in enumerate(votes)]
    return comparisons, pd.DataFrame(given, columns=FEEDBACK_COLUMNS)


def made(*votes: dict[str, object]) -> list[tuple[object, ...]]:
    pairs = preferences.make_pairs(*several(*votes)).frame
    return [tuple(row) for row in pairs[["chosen", "rejected", "p_chosen"]].values.tolist()]


def test_a_ranking_of_several_answers_makes_a_pair_of_each_two() -> None:
    assert made({"ranks": [2, 1, 3]}) == [("b", "a", 1.0), ("a", "c", 1.0), ("b", "c", 1.0)]


def test_a_tie_is_a_pair_that_is_half_sure_and_counts_half_a_vote() -> None:
    assert made({"ranks": [1, 1, 2]})[0] == ("a", "b", 0.5)
    assert made({"ranks": [1, 1, 2]}, {"ranks": [2, 1, 3]})[0] == ("b", "a", 0.75)


def test_the_best_of_several_says_nothing_about_the_others() -> None:
    assert made({"ranks": [None, 1, None]}) == [("b", "a", 1.0), ("b", "c", 1.0)]


def test_strength_is_averaged_from_the_chosen_answer_s_side() -> None:
    votes = [([1, 2, 3], 3.0), ([1, 2, 3], 2.0), ([2, 1, 3], 1.0)]
    comparisons, feedback = several(*({"ranks": ranks, "strength": strength} for ranks, strength in votes))
    pairs = preferences.make_pairs(comparisons, feedback).frame.set_index(["chosen", "rejected"])
    assert pairs.loc[("a", "b"), "strength"] == pytest.approx(4 / 3)
    rated = [{"ranks": [1, 2, 2], "ratings": [5.0, 2.0, None]}]
    pairs = preferences.make_pairs(*several(*rated)).frame.set_index(["chosen", "rejected"])
    assert pairs.loc[("a", "b"), "strength"] == 3.0


def test_how_sure_a_program_was_counts_as_a_share_of_its_vote() -> None:
    assert made({"ranks": [2, 1, 3], "certainty": 0.8})[0] == ("b", "a", pytest.approx(0.8))


def test_agreement_over_several_answers_counts_each_two_that_both_compared() -> None:
    _, feedback = several({"ranks": [1, 2, 3]}, {"ranks": [1, 3, 2]}, {"ranks": [1, None, None]})
    found = preferences.agreement(feedback)
    assert (found.n, found.value) == (7, pytest.approx(6 / 7))
