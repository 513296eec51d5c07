"""Every kind of question through a real Argilla and back, with shuffled answers: what was meant is what is pulled."""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

from rm_studio import annotation, data, flow, preferences, questions
from rm_studio.annotation import Connection
from rm_studio.config import ColumnMapping, Question, Selection
from rm_studio.errors import AnnotationError, StudioError
from rm_studio.jobs import Job
from rm_studio.settings import parse_settings
from rm_studio.workspace import Project, Workspace, read_frame, write_frame

NUMBERS = iter(range(1000))
QUALITY = {"best": 3, "good": 2, "fair": 2, "bad": 1}  # what the annotator means: good and fair are a tie


@pytest.fixture
def connection(argilla: Workspace) -> Iterator[Connection]:
    with annotation.connect(argilla) as found:
        yield found


def project_of(argilla: Workspace, question: Question, n: int) -> Project:
    """Twelve comparisons of ``n`` answers; each answer's first word says how good it is."""
    project = argilla.create(f"Kind {question.kind} {next(NUMBERS)}")
    names = list(QUALITY)[:n] if n > 2 else ["best", "bad"]
    frame = pd.DataFrame(
        {
            "prompt": [f"Question {i}?" for i in range(12)],
            **{name: [f"{name} answer {i}" for i in range(12)] for name in names},
        }
    )
    mapping = ColumnMapping(prompt="prompt", answers=tuple(names))
    selection = Selection(pairing="together", together=n) if n > 2 else Selection()
    made = data.build_comparisons(frame, mapping, project.info.seed, selection)
    write_frame(project.comparisons, made.frame)
    project.update(question=question)
    return project


def quality(record: dict[str, Any], place: int) -> int:
    """How good the answer at a place on the page is."""
    return QUALITY[record["fields"][f"response-{place}"].split()[0]]


def answer_all(
    connection: Connection, project: Project, meant: Callable[[dict[str, Any]], dict[str, Any]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Publish, answer every record as the page would, pull, make pairs; returns feedback and pairs."""
    reference = annotation.publish(connection, project, flow.require_comparisons(project))
    listed = connection.http.get(f"/api/v1/datasets/{reference.id}/records", params={"limit": 100}).json()["items"]
    first_places = set()
    for record in listed:
        first_places.add(record["fields"]["response-1"].split()[0])
        values = {name: {"value": value} for name, value in meant(record).items()}
        body = {"status": "submitted", "values": values}
        connection.http.post(f"/api/v1/records/{record['id']}/responses", json=body).raise_for_status()
    assert len(first_places) > 1, "the answers were shuffled"
    comparisons = flow.require_comparisons(project)
    feedback = annotation.pull(connection, reference, comparisons, project.info.question)
    assert len(feedback) == 12
    return feedback, preferences.make_pairs(comparisons, feedback).frame


def words(pairs: pd.DataFrame) -> set[tuple[str, str, float]]:
    """Each kind of pair that there is: first words, and how sure."""
    return {(row["chosen"].split()[0], row["rejected"].split()[0], row["p_chosen"]) for row in pairs.to_dict("records")}


def best_place(record: dict[str, Any], n: int) -> int:
    return max(range(1, n + 1), key=lambda place: quality(record, place))


def test_the_better_of_two(argilla: Workspace, connection: Connection) -> None:
    project = project_of(argilla, Question(), 2)
    feedback, pairs = answer_all(connection, project, lambda record: {"choose-best": best_place(record, 2)})
    assert words(pairs) == {("best", "bad", 1.0)} and set(feedback["position_chosen"]) == {1, 2}


def test_the_better_of_two_or_a_tie(argilla: Workspace, connection: Connection) -> None:
    project = project_of(argilla, Question(ties=True), 2)

    def meant(record: dict[str, Any]) -> dict[str, Any]:
        is_even = int(record["fields"]["instruction"].split()[1].rstrip("?")) % 2 == 0
        return {"choose-best": "tie" if is_even else str(best_place(record, 2))}

    feedback, pairs = answer_all(connection, project, meant)
    sure = pairs[pairs["p_chosen"] == 1.0]
    assert len(sure) == 6 and sure["chosen"].str.startswith("best").all()
    assert (pairs["p_chosen"] == 0.5).sum() == 6 and feedback["position_chosen"].isna().sum() == 6


def test_the_best_of_several(argilla: Workspace, connection: Connection) -> None:
    project = project_of(argilla, Question(kind="best_of_many"), 4)
    _, pairs = answer_all(connection, project, lambda record: {"choose-best": str(best_place(record, 4))})
    assert words(pairs) == {("best", other, 1.0) for other in ("good", "fair", "bad")} and len(pairs) == 36


def test_a_ranking_with_ties(argilla: Workspace, connection: Connection) -> None:
    project = project_of(argilla, Question(kind="ranking"), 4)

    def meant(record: dict[str, Any]) -> dict[str, Any]:
        ranks = [{"value": f"response-{place}", "rank": 4 - quality(record, place)} for place in range(1, 5)]
        return {"choose-best": ranks}

    _, pairs = answer_all(connection, project, meant)
    sure = {(one, other) for one, other, share in words(pairs) if share == 1.0}
    assert sure == {("best", "good"), ("best", "fair"), ("best", "bad"), ("good", "bad"), ("fair", "bad")}
    assert {frozenset(pair[:2]) for pair in words(pairs) if pair[2] == 0.5} == {frozenset(("good", "fair"))}


@pytest.mark.parametrize("much", [1, 2, 3])
def test_how_much_better_becomes_the_margin(argilla: Workspace, connection: Connection, much: int) -> None:
    project = project_of(argilla, Question(kind="strength"), 2)
    meant = f"-{much}"
    _, pairs = answer_all(connection, project, lambda record: {"choose-best": f"{best_place(record, 2)}{meant}"})
    assert words(pairs) == {("best", "bad", 1.0)} and set(pairs["strength"]) == {float(much)}


def test_ratings_on_two_criteria_become_ranks_by_their_mean(argilla: Workspace, connection: Connection) -> None:
    question = Question(
        kind="rating", criteria=("Helpful", "Safe & sound"), points=7, reasons=("Wrong facts", "太长"), comment=True
    )
    project = project_of(argilla, question, 3)

    def meant(record: dict[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for place in (1, 2, 3):
            given |= {f"helpful-{place}": 2 * quality(record, place), f"safe-sound-{place}": 7}
        options = questions.asked(question, 3)[-2].options
        return given | {"reasons": [list(options)[1]], "comment": "see above"}

    feedback, pairs = answer_all(connection, project, meant)
    assert {(one, other) for one, other, share in words(pairs) if share == 1.0} == {("best", "good"), ("best", "fair")}
    assert set(pairs.loc[pairs["p_chosen"] == 1.0, "strength"]) == {1.0}
    assert feedback["reasons"].tolist() == [["太长"]] * 12 and set(feedback["comment"]) == {"see above"}
    assert sorted(feedback["ratings"][0]) == [5.5, 5.5, 6.5]


def test_a_question_about_two_is_refused_for_three(argilla: Workspace, connection: Connection) -> None:
    project = project_of(argilla, Question(), 3)
    with pytest.raises(AnnotationError, match="asks about two answers, but each comparison has 3"):
        annotation.publish(connection, project, flow.require_comparisons(project))
    assert project.info.argilla is None


def test_a_new_version_is_a_dataset_beside_the_old_one(argilla: Workspace, connection: Connection) -> None:
    project = project_of(argilla, Question(title="Old"), 2)
    answer_all(connection, project, lambda record: {"choose-best": 1 if quality(record, 1) > quality(record, 2) else 2})
    first = project.info.argilla
    assert "12 answers pulled" in flow.new_version(argilla, project, Job(project.folder / "new.json", "New version"))
    feedback = read_frame(project.feedback)
    assert feedback is not None and len(feedback) == 12, "what nobody had pulled yet is here"
    assert project.info.argilla is None and project.info.earlier == (first,)
    project.update(question=Question(kind="strength"))
    second = annotation.publish(connection, project, flow.require_comparisons(project), name=flow.dataset_name(project))
    assert second.name == f"{project.slug}-v2" and second.id != first.id
    assert first and annotation.progress(connection, first).total == annotation.progress(connection, second).total == 12


def test_answers_to_comparisons_that_are_not_chosen_now_are_kept(argilla: Workspace, connection: Connection) -> None:
    project = project_of(argilla, Question(), 2)
    comparisons = flow.require_comparisons(project)
    answer_all(connection, project, lambda record: {"choose-best": 1 if quality(record, 1) > quality(record, 2) else 2})
    write_frame(project.comparisons, comparisons.head(3))
    said = flow.pull(argilla, project, Job(project.folder / "pull.json", "Pulling"))
    assert "there are 3 preference pairs" in said and "9 answers are about comparisons" in said
    write_frame(project.comparisons, comparisons)
    assert flow.make_pairs(project) == 12
    assert all(text.startswith("best") for text in flow.require_pairs(project)["chosen"])


@pytest.mark.parametrize(
    ("question", "values"),
    [
        (Question(), {}),
        (Question(), {"choose-best": {"value": 3}}),
        (Question(kind="ranking"), {"choose-best": {"value": [{"value": "response-1", "rank": 1}]}}),
        (Question(kind="rating"), {"helpful-1": {"value": 4}}),
        (Question(kind="strength"), {"other": {"value": "1-3"}}),
    ],
)
def test_an_answer_to_another_question_means_nothing(question: Question, values: dict[str, Any]) -> None:
    assert questions.given(question, values, [0, 1]) is None


def test_names_made_of_other_alphabets_never_collide() -> None:
    rated = Question(kind="rating", criteria=("Качество (AI)", "Польза (AI)"), reasons=("C error", "C++ error"))
    names = [control.name for control in questions.asked(rated, 2)]
    assert len(set(names)) == len(names) == 5
    assert list(questions.asked(rated, 2)[-1].options.values()) == ["C error", "C++ error"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"reasons": ("one",)}, "at least two, or none"),
    ({"criteria": ()}, "“Criteria” must not be empty"),
]


@pytest.mark.parametrize(("given", "words"), REFUSED)
def test_what_argilla_would_refuse_is_said_before(given: dict[str, Any], words: str) -> None:
    with pytest.raises(StudioError, match=words):
        parse_settings(Question, given)
