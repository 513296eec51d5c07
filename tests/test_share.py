"""A project's data pushed to a Hub, and gone on from by somebody else."""

from pathlib import Path

import pandas as pd
import pytest
from fake_hub import WRITER, hub_dataset, serving, use_hub

from rm_studio import flow, plan, share
from rm_studio.config import Question
from rm_studio.errors import DataError, HubError
from rm_studio.workspace import Project, Workspace, read_frame, write_frame


@pytest.fixture
def project(workspace: Workspace) -> Project:
    made = flow.sample_project(workspace)
    made.update(question=Question(title="Which one?", guidelines="# Read\nBe fair."))
    plan.know_answer(made, flow.require_comparisons(made)["id"][0], 1)
    return made


def test_what_is_shared_is_a_project_again_with_the_same_pairs(
    workspace: Workspace, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving({}, pushed=tmp_path / "pushed") as served:
        use_hub(monkeypatch, served.url)
        page = share.push(project, "team/preferences", WRITER)
        assert page.endswith("/datasets/team/preferences")
        other = workspace.create("Other")
        said = share.start_from(other, "team/preferences")
    assert "504 comparisons" in said
    pd.testing.assert_frame_equal(flow.require_pairs(other), flow.require_pairs(project))
    assert other.info.question == project.info.question and plan.known_answers(other) == plan.known_answers(project)
    assert other.info.source is not None and other.info.source.revision and other.info.argilla is None
    with pytest.raises(DataError, match="comparisons already"):
        share.start_from(other, "team/preferences")
    pushed = [file for file in (tmp_path / "pushed").rglob("*") if file.is_file()]
    assert {file.name for file in pushed} == {
        "README.md", "rm_studio.json", "comparisons.parquet", "feedback.parquet", "pairs.parquet"
    }  # fmt: skip
    assert not any(WRITER.encode() in file.read_bytes() for file in [*pushed, *workspace.root.rglob("*.json")])


def test_annotators_become_numbers_unless_asked_otherwise(project: Project, tmp_path: Path) -> None:
    feedback = read_frame(project.feedback)
    assert feedback is not None
    one, *others = sorted(set(feedback["annotator"]))
    write_frame(project.feedback, feedback.replace({"annotator": {one: "Maria"}}))
    share.write(project, tmp_path / "a", "team/preferences")
    share.write(project, tmp_path / "b", "team/preferences", names=True)
    hidden, named = (read_frame(tmp_path / folder / "data" / "feedback.parquet") for folder in "ab")
    assert hidden is not None and named is not None
    assert set(hidden["annotator"]) == {"annotator 1", *others}, "a program's answers are never taken for a person's"
    assert set(named["annotator"]) == {"Maria", *others}
    card = (tmp_path / "a" / "README.md").read_text()
    assert "Maria" not in card and "answers by 1 people" in card and "judgements that are simulated" in card


def test_the_card_says_what_was_asked_and_how_far_people_agreed(project: Project, tmp_path: Path) -> None:
    share.write(project, tmp_path, "team/preferences")
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nconfigs:\n- config_name: pairs\n  data_files: data/pairs.parquet\n  default: true\n")
    assert "“Which one?”" in card and "> Be fair." in card and "agreed in" in card
    assert 'load_dataset("team/preferences")' in card


def test_who_may_not_write_is_told_and_what_is_no_project_is_refused(
    workspace: Workspace, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    other = workspace.create("Other")
    repositories = {"datasets/team/answers": hub_dataset(tmp_path / "repo")}
    with serving(repositories, pushed=tmp_path / "pushed") as served:
        use_hub(monkeypatch, served.url)
        with pytest.raises(HubError, match="does not let you write"):
            share.push(project, "team/preferences", "hf_wrong")
        with pytest.raises(DataError, match="was not shared by RM Studio"):
            share.start_from(other, "team/answers")
        with pytest.raises(HubError, match="There is no dataset"):
            share.start_from(other, "team/nothing")
    with pytest.raises(DataError, match="nothing to share"):
        share.push(other, "team/preferences", WRITER)
    with pytest.raises(HubError, match="owner/name"):
        share.push(project, "../x", WRITER)
