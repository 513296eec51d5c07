"""How long annotating takes, and who reads with care."""

import pandas as pd
import pytest

from rm_studio import plan
from rm_studio.config import Question
from rm_studio.preferences import FEEDBACK_COLUMNS
from rm_studio.workspace import Workspace


def comparisons(n: int) -> pd.DataFrame:
    text = "word " * 100
    return pd.DataFrame(
        {"id": [str(i) for i in range(n)], "prompt": text, "responses": [[text, text]] * n, "order": [[0, 1]] * n}
    )


def feedback(*votes: tuple[str, str, list[float], str | None]) -> pd.DataFrame:
    rows = [
        {"id": name, "annotator": who, "status": "submitted", "ranks": ranks, "submitted_at": at}
        for name, who, ranks, at in votes
    ]
    return pd.DataFrame(rows, columns=FEEDBACK_COLUMNS)


def test_hours_follow_from_the_words_and_the_number_of_questions() -> None:
    found = plan.plan(comparisons(600), Question(annotators=2))
    assert found.seconds == pytest.approx(300 / 238 * 60 + 6)
    assert found.in_words.startswith("600 comparisons × 2 people ≈ 14 h each (about 82 s a comparison")
    rated = plan.plan(comparisons(600), Question(kind="rating", criteria=("a", "b")))
    assert rated.seconds == pytest.approx(300 / 238 * 60 + 24)


def test_the_measured_pace_takes_over_once_enough_is_known() -> None:
    def given(n: int) -> pd.DataFrame:
        return feedback(*((str(i), "ann", [1.0, 2.0], f"2026-01-01T10:{i:02d}:00.5") for i in range(n)))

    assert not plan.plan(comparisons(60), Question(), given(10)).is_measured
    found = plan.plan(comparisons(60), Question(), given(40))
    assert found.is_measured and found.seconds == 60 and "≈ 60 min each" in found.in_words


def test_known_answers_are_spread_evenly() -> None:
    mixed = plan.interleaved(comparisons(20), {"0": 0, "1": 1})["id"].tolist()
    assert sorted(mixed, key=int) == [str(i) for i in range(20)]
    assert [mixed.index("0"), mixed.index("1")] == [5, 15]
    assert plan.interleaved(comparisons(3), {})["id"].tolist() == ["0", "1", "2"]


def test_each_person_s_known_answers_are_counted() -> None:
    votes = feedback(
        ("0", "ann", [1.0, 2.0], None), ("1", "ann", [1.0, 2.0], None), ("0", "bob", [1.0, 1.0], None),
        ("5", "bob", [1.0, 2.0], None),
    )  # fmt: skip
    assert plan.attention(votes, {"0": 0, "1": 1}) == {"ann": (1, 2), "bob": (0, 1)}


def test_known_answers_are_kept_with_the_project(workspace: Workspace) -> None:
    project = workspace.create("Known")
    plan.know_answer(project, "a", 1)
    plan.know_answer(project, "b", 0)
    assert plan.known_answers(project) == {"a": 1, "b": 0}
    plan.forget_answers(project)
    assert plan.known_answers(project) == {}
