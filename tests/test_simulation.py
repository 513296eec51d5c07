"""The simulated annotators: reproducible, different from each other, and always called simulated."""

import pandas as pd
import pytest

from rm_studio import assets, preferences, simulation


@pytest.fixture(scope="module")
def comparisons() -> pd.DataFrame:
    return simulation.sample_comparisons()


def test_the_shipped_feedback_is_what_the_script_makes(comparisons: pd.DataFrame) -> None:
    made, shipped = (
        frame[simulation.SHIPPED].astype(object).where(frame[simulation.SHIPPED].notna(), None)
        for frame in (simulation.simulate(comparisons), simulation.sample_feedback())
    )
    pd.testing.assert_frame_equal(made, shipped, check_dtype=False)


def test_each_annotator_is_called_simulated() -> None:
    assert all("simulated" in name for name in simulation.HABITS)
    assert set(simulation.sample_feedback()["annotator"]) == set(simulation.HABITS)


def test_their_habits_differ_as_described(comparisons: pd.DataFrame) -> None:
    feedback = simulation.sample_feedback()
    quality = {row["id"]: simulation._better(row) for row in comparisons.to_dict("records")}
    lengths = {row["id"]: [len(text) for text in row["responses"]] for row in comparisons.to_dict("records")}
    right, longer = {}, {}
    for name, votes in feedback[feedback["status"] == "submitted"].groupby("annotator"):
        winners = [(id_, ranks.index(1)) for id_, ranks in zip(votes["id"], votes["ranks"], strict=True)]
        right[name] = sum(quality[id_] == winner for id_, winner in winners) / len(winners)
        longer[name] = sum(lengths[id_][winner] == max(lengths[id_]) for id_, winner in winners) / len(winners)
    careful, likes_long, hurried = simulation.HABITS
    assert right[careful] > 0.9 > right[likes_long] > right[hurried] - 0.1
    assert longer[likes_long] > longer[careful] + 0.1
    discarded = feedback[feedback["status"] == "discarded"]["annotator"].value_counts()
    assert discarded[hurried] > 3 * discarded[careful]


def test_length_does_not_give_the_ranking_away(comparisons: pd.DataFrame) -> None:
    pairs, _ = preferences.make_pairs(comparisons, simulation.sample_feedback())
    longer = (pairs["chosen"].str.len() > pairs["rejected"].str.len()).mean()
    assert 0.4 < longer < 0.65


def test_the_guidelines_ship_too() -> None:
    text = assets.path("guidelines/general.md").read_text(encoding="utf-8")
    assert all(word in text.lower() for word in ("harmless", "truthful", "helpful", "discard"))
