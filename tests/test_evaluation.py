"""The report says what was measured, and no more than that."""

import numpy as np
import pandas as pd
import pytest

from rm_studio import evaluation


def result(
    better: list[float], worse: list[float], columns: dict[str, list[object]] | None = None
) -> dict[str, object]:
    n = len(better)
    base = {"prompt": [str(i) for i in range(n)], "chosen": ["longer"] * n, "rejected": ["short"] * n}
    pairs = pd.DataFrame({**base, **(columns or {})})
    return evaluation.report(pairs, np.array(better, dtype=np.float32), np.array(worse, dtype=np.float32))


def test_probability_is_the_logistic_of_the_margin() -> None:
    assert evaluation.probability(0.0) == 0.5
    assert evaluation.probability(np.log(3)) == pytest.approx(0.75)


def test_accuracy_is_the_share_of_positive_margins_and_ties_count_half() -> None:
    accuracy = result([1, 1, 0, 5], [0, 2, 0, 1])["accuracy"]
    assert accuracy["value"] == pytest.approx(2.5 / 4)  # type: ignore[index]


def test_the_loss_is_the_mean_negative_log_likelihood() -> None:
    assert result([0.0], [0.0])["loss"] == pytest.approx(np.log(2))


def test_the_longer_answer_is_measured_on_the_same_pairs() -> None:
    assert result([0, 0], [1, 1])["longer_wins"]["value"] == 1.0  # type: ignore[index]


def test_groups_are_reported_by_category() -> None:
    groups = result([1, 0], [0, 1], {"category": ["a", None]})["groups"]
    assert groups["a"]["value"] == 1.0 and groups["none"]["value"] == 0.0  # type: ignore[index]


def test_the_reading_is_careful_with_few_pairs_and_with_length() -> None:
    assert "Too few pairs to tell" in evaluation.reading(result([1.0] * 5, [0.0] * 5))
    assert "not yet clear" in evaluation.reading(result([1.0] * 100, [0.0] * 100))
    lengths = {"chosen": ["x"] * 100, "rejected": ["x", "xy"] * 50}
    assert "more than length" in evaluation.reading(result([1.0] * 100, [0.0] * 100, lengths))


def test_a_step_that_was_picked_by_these_pairs_is_said_to_flatter() -> None:
    honest = result([1.0] * 100, [0.0] * 100)
    assert "flattered" not in evaluation.reading(honest)
    assert "flattered" in evaluation.reading({**honest, "picked_as_best": True})
