"""The steps between the tabs: what is saved, what is replaced, what stays."""

from pathlib import Path

import pandas as pd
import pytest

from rm_studio import flow, simulation
from rm_studio.config import ColumnMapping, DataSource
from rm_studio.errors import DataError
from rm_studio.training import runs
from rm_studio.workspace import Workspace, read_frame, read_json, write_frame


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "answers.csv"
    path.write_text("prompt,response-1,response-2\np,a,b\nq,c,d\nr,e,e\n")
    return path


def test_a_file_is_loaded_mapped_and_remembered(workspace: Workspace, csv: Path) -> None:
    project = workspace.create("x")
    flow.load_table(project, DataSource(kind="file", name="answers.csv"), csv)
    mapping = project.info.mapping
    assert mapping is not None and mapping.answers == ("response-1", "response-2")
    flow.save_comparisons(project, mapping)
    assert len(flow.require_comparisons(project)) == 2
    assert read_json(project.ledger)["comparisons"]["dropped"][0]["reason"] == "identical answers"


def test_saving_other_comparisons_keeps_the_feedback_and_makes_the_pairs_again(workspace: Workspace) -> None:
    project = flow.sample_project(workspace)
    before = len(flow.require_pairs(project))
    flow.save_comparisons(project, ColumnMapping(prompt="prompt", answers=("helpful", "poor"), category="category"))
    assert len(flow.require_pairs(project)) < before
    flow.save_comparisons(project, simulation.MAPPING)
    assert len(flow.require_pairs(project)) == before


def test_the_sample_project_is_made_once_and_ready_to_train(workspace: Workspace) -> None:
    project = flow.sample_project(workspace)
    assert flow.sample_project(workspace).slug == project.slug
    assert len(flow.require_pairs(project)) > 400
    assert len(workspace.projects()) == 1


def test_real_answers_take_the_place_of_simulated_ones(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    project = flow.sample_project(workspace)
    feedback = read_frame(project.feedback)
    assert feedback is not None
    real = feedback.head(3).assign(annotator="owner")
    kept = flow.merged(feedback, real)
    assert set(kept["annotator"]) == {"owner"}
    given = feedback.head(3).assign(annotator="the file")
    assert set(flow.merged(given, real)["annotator"]) == {"the file", "owner"}


def test_existing_feedback_fills_the_project_up_to_training(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "judged.jsonl"
    pd.DataFrame({"prompt": ["p", "q"], "chosen": ["a", "b"], "rejected": ["x", "y"]}).to_json(
        path, orient="records", lines=True
    )
    project = workspace.create("x")
    assert flow.use_feedback(project, DataSource(kind="feedback", name="judged.jsonl"), path) == 2
    assert flow.require_pairs(project)["chosen"].tolist() == ["a", "b"]
    assert len(flow.require_comparisons(project)) == 2


def test_data_with_judgements_is_ready_to_train_and_can_be_judged_again(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "judged.csv"
    path.write_text("prompt,response_a,response_b,winner\np,one,two,model_b\nq,one,two,tie\n")
    project = workspace.create("x")
    flow.load_table(project, DataSource(kind="file", name="judged.csv"), path)
    mapping = project.info.mapping
    assert mapping is not None and mapping.is_judged
    said = flow.save_comparisons(project, mapping)
    assert "2 preference pairs" in said
    pairs = flow.require_pairs(project).set_index("prompt")
    assert pairs.loc["p", "chosen"] == "two" and pairs.loc["q", "p_chosen"] == 0.5
    again = mapping.model_copy(update={"verdict": "none", "verdict_in": ()})
    assert "preference pairs" not in flow.save_comparisons(project, again)
    assert not project.pairs.exists(), "what the table said no longer counts"


def test_what_people_said_of_an_earlier_version_stays_but_for_what_they_say_again() -> None:
    rows = [{"id": name, "annotator": who, "status": "submitted"} for name in "abc" for who in ("ann", "bob")]
    pulled = pd.DataFrame([{"id": "a", "annotator": "ann", "status": "draft"}])
    whole = flow.merged(pd.DataFrame(rows), pulled)
    assert sorted(zip(whole["id"], whole["annotator"], strict=True)) == [
        ("a", "ann"),
        *((name, "bob") for name in "abc"),
    ]
    part = flow.merged(pd.DataFrame(rows), pulled, by_comparison=True)
    assert len(part) == 6 and not (part["status"] == "draft").any(), "a draft takes no answer's place"
    again = flow.merged(pd.DataFrame(rows), pulled.assign(status="submitted", ranks=[[2, 1]]), by_comparison=True)
    assert len(again) == 6 and again["ranks"].notna().sum() == 1


def test_a_file_without_judgements_changes_nothing(workspace: Workspace, csv: Path) -> None:
    project = flow.sample_project(workspace)
    before = project.comparisons.read_bytes()
    with pytest.raises(DataError, match="no judgements"):
        flow.use_feedback(project, DataSource(kind="feedback", name="answers.csv"), csv)
    assert project.comparisons.read_bytes() == before


def test_what_is_missing_is_said_with_the_tab_that_makes_it(workspace: Workspace) -> None:
    project = workspace.create("x")
    with pytest.raises(DataError, match="Data tab"):
        flow.require_comparisons(project)
    with pytest.raises(DataError, match="Annotate tab"):
        flow.require_pairs(project)
    write_frame(project.pairs, pd.DataFrame({"prompt": []}))
    with pytest.raises(DataError, match="Annotate tab"):
        flow.require_pairs(project)


def test_the_demo_starts_one_first_run_and_no_second(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rm_studio.models.builtin_available", lambda: True)
    project = flow.demo(workspace)
    try:
        assert len(runs.list_runs(project.runs)) == 1
        flow.demo(workspace)
        assert len(runs.list_runs(project.runs)) == 1
    finally:
        for run in runs.list_runs(project.runs):
            run.end()
