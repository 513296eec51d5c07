"""The workspace: nothing half-written, nothing outside, nothing lost."""

import json
from pathlib import Path

import pandas as pd
import pytest

from rm_studio.errors import WorkspaceError
from rm_studio.workspace import Workspace, atomic, read_frame, read_json, write_frame, write_json


def test_a_write_that_fails_leaves_the_old_content_and_no_leftovers(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_json(file, {"a": 1})
    with pytest.raises(RuntimeError), atomic(file) as out:
        out.write(b"half")
        raise RuntimeError
    assert read_json(file) == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_secrets_can_be_written_for_this_user_only(tmp_path: Path) -> None:
    write_json(tmp_path / "key.json", {}, mode=0o600)
    assert (tmp_path / "key.json").stat().st_mode & 0o777 == 0o600


def test_a_json_file_cut_short_reads_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    assert read_json(tmp_path / "a.json") is None


def test_a_damaged_table_is_named_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(WorkspaceError, match=r"pairs\.parquet") as caught:
        read_frame(tmp_path / "pairs.parquet")
    assert str(tmp_path) not in str(caught.value)


def test_tables_round_trip_with_lists(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["x"], "responses": [["a", "b"]]})
    write_frame(tmp_path / "t.parquet", frame)
    again = read_frame(tmp_path / "t.parquet")
    assert again is not None
    assert list(again["responses"][0]) == ["a", "b"]


def test_a_project_is_created_found_renamed_and_deleted(workspace: Workspace) -> None:
    project = workspace.create("Réponses: été!")
    assert project.slug == "reponses-ete"
    workspace.rename(project, "Another name")
    assert workspace.project(project.slug).info.name == "Another name"
    workspace.delete(project)
    assert workspace.projects() == []
    with pytest.raises(WorkspaceError, match="no longer there"):
        workspace.project(project.slug)


@pytest.mark.parametrize("name", ["", "   ", "x" * 81])
def test_a_project_needs_a_name_of_sensible_length(workspace: Workspace, name: str) -> None:
    with pytest.raises(WorkspaceError):
        workspace.create(name)


def test_two_projects_cannot_share_a_name_but_can_share_a_slug(workspace: Workspace) -> None:
    workspace.create("A b")
    with pytest.raises(WorkspaceError, match="already"):
        workspace.create("a B")
    assert workspace.create("a-b").slug == "a-b-2"


@pytest.mark.parametrize("slug", ["../../etc", "", ".", "a/b", "A"])
def test_a_slug_never_leads_out_of_the_workspace(workspace: Workspace, slug: str) -> None:
    with pytest.raises(WorkspaceError):
        workspace.project(slug)


def test_a_newer_project_file_is_reported_not_overwritten(workspace: Workspace) -> None:
    project = workspace.create("x")
    content = json.loads(project.file.read_text()) | {"from_the_future": 1}
    write_json(project.file, content)
    with pytest.raises(WorkspaceError, match="newer version"):
        project.update(seed=1)
    assert read_json(project.file) == content
    assert workspace.projects() == []
    assert workspace.create("y").slug == "y"  # the others go on


def test_a_project_may_change_the_case_of_its_own_name(workspace: Workspace) -> None:
    project = workspace.create("good")
    workspace.rename(project, "GOOD")
    assert project.info.name == "GOOD"
