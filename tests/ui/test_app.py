"""The app as a server: quick to start, closed to strangers."""

import sys
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil
import pytest

from rm_studio import processes
from rm_studio.training import runs
from rm_studio.training.config import TrainConfig
from rm_studio.ui.session import Session, tokens
from rm_studio.ui.widgets import duration, escape
from rm_studio.workspace import Workspace, write_json


def test_the_page_is_there_within_seconds(studio: Any) -> None:
    # 3 s is the aim on an idle machine; a suite that runs beside it gets some slack.
    assert studio.started_in_s < 8


@pytest.mark.parametrize(
    "path", ["project.json", "../argilla/credentials.json", "/etc/passwd", "credentials.json", "../../etc/passwd"]
)
def test_files_of_the_workspace_and_the_machine_are_not_served(studio: Any, path: str) -> None:
    for target in (path, str(studio.workspace.argilla_folder / "credentials.json")):
        for route in ("/gradio_api/file=", "/file="):
            assert httpx.get(f"{studio.url}{route}{target}").status_code in (403, 404, 405)


def test_no_endpoint_is_offered_to_programs(studio: Any) -> None:
    info = httpx.get(f"{studio.url}/gradio_api/info").json()
    assert info["named_endpoints"] == {}


def test_a_token_changes_with_what_it_stands_for_and_with_nothing_else(
    workspace: Workspace, pairs: pd.DataFrame
) -> None:
    project = workspace.create("Tokens")
    before = tokens(workspace, project)
    assert tokens(workspace, project) == before
    runs.prepare(project.runs / "20260101-000000-000", TrainConfig(), pairs)
    after = tokens(workspace, project)
    assert after.runs != before.runs
    assert after._replace(runs=before.runs) == before


def test_a_page_sees_that_a_worker_was_killed(workspace: Workspace, pairs: pd.DataFrame, tmp_path: Path) -> None:
    project = workspace.create("Killed")
    run = runs.prepare(project.runs / "20260101-000000-000", TrainConfig(), pairs)
    process_id = processes.spawn([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    write_json(run.status_file, runs.Status(state="training", **process_id._asdict()).model_dump())
    before = tokens(workspace, project)
    assert tokens(workspace, project) == before
    process = psutil.Process(process_id.pid)
    process.kill()
    psutil.wait_procs([process], timeout=10)
    assert tokens(workspace, project).runs != before.runs


def test_sessions_are_compared_by_content() -> None:
    assert Session(project="a") == Session(project="a") != Session(project="b")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (3700, "1 h 01 min"), (None, "–")]
)
def test_durations_are_said_in_words(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_text_is_escaped() -> None:
    assert escape("<b>\x00") == "&lt;b&gt;�"


def test_hidden_progress_costs_the_page_nothing(studio: Any) -> None:
    """With targets, Gradio's page looks each of them up in its whole tree at every poll: most of a processor core."""
    events = httpx.get(f"{studio.url}/config").json()["dependencies"]
    hidden = [event["show_progress_on"] for event in events if event["show_progress"] == "hidden"]
    assert len(hidden) > 50 and all(targets == [] for targets in hidden)
