"""The Train tab in a real browser: check, start, pause, reload, go on, stop, the doctor, comparing runs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page, Route, expect

from rm_studio import flow
from rm_studio.config import DataSource
from rm_studio.training import queue
from rm_studio.training.config import TrainConfig
from rm_studio.training.runs import Run, RunInfo, list_runs
from rm_studio.workspace import Project

LONG_MS = 120_000
expect.set_options(timeout=20_000)


@pytest.fixture
def project(studio: Any, pairs: pd.DataFrame, tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    """A project with forty pairs; the newest one, so that a fresh page opens it."""
    made: Project = studio.workspace.create(request.node.name[:70])
    file = tmp_path / "judged.csv"
    pairs[["prompt", "chosen", "rejected"]].to_csv(file, index=False)
    flow.use_feedback(made, DataSource(kind="file", name="judged.csv"), file)
    return made


@pytest.fixture
def train_tab(window: Page, studio: Any, project: Project) -> Callable[[], Page]:
    """Open the page and go to the Train tab."""

    def open_tab() -> Page:
        window.goto(studio.url)
        expect(window.get_by_label("Project", exact=True)).to_have_value(project.info.name)
        window.get_by_role("tab", name="4 Train").click()
        return window

    return open_tab


def submit(studio: Any, project: Project, base: Path, **settings: Any) -> Run:
    config = TrainConfig(base_model=str(base), **settings)
    return queue.submit(studio.workspace, project.runs, config, flow.require_pairs(project))


def test_what_is_changed_while_settings_are_looked_up_stays(train_tab: Any, tiny_bert: Path) -> None:
    page = train_tab()
    page.get_by_role("button", name="Advanced: every setting").click()
    expect(page.get_by_label("Balanced")).to_be_checked()
    held: list[Route] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    page.get_by_label("Best", exact=True).check()
    while not any('"Best"' in (route.request.post_data or "") for route in held):
        page.wait_for_timeout(50)
    page.get_by_label("Epochs").fill("7")
    page.unroute("**/queue/join*")  # lets them go, too
    expect(page.get_by_label("Stop early after")).to_have_value("4")
    expect(page.get_by_label("Epochs")).to_have_value("7")
    expect(page.get_by_label("Own settings")).to_be_checked()


def test_check_start_pause_reload_go_on_and_stop(train_tab: Any, project: Project, tiny_bert: Path) -> None:
    page = train_tab()
    expect(page.get_by_text("No run yet")).to_be_visible()
    expect(page.get_by_label("Balanced")).to_be_checked()
    expect(page.get_by_text(re.compile(r"corrections of 16 pairs each"))).to_be_visible()
    page.get_by_label("Base model").fill(str(tiny_bert))
    page.get_by_label("Base model").press("Enter")
    page.get_by_role("button", name="Advanced: every setting").click()
    page.get_by_label("Epochs").fill("20")
    expect(page.get_by_label("Own settings")).to_be_checked()
    page.get_by_label("Batch size").fill("1")
    page.get_by_role("textbox", name=re.compile("^Learning rate How")).fill("1e-4")
    page.get_by_label("Minutes between checkpoints").fill("0")

    page.get_by_role("button", name="Check first").click()
    expect(page.get_by_role("heading", name="The last check", exact=True)).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_text("It fits into memory")).to_be_visible()
    expect(page.get_by_text("Only 8 pairs are held out")).to_be_visible()

    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_text(re.compile(r"Step \d+ of 640"))).to_be_visible(timeout=LONG_MS)
    expect(page).to_have_title(re.compile("trained · RM Studio"))
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text(re.compile(r"Paused after step \d+"))).to_be_visible(timeout=LONG_MS)

    train_tab()
    expect(page.get_by_text(re.compile(r"Paused after step \d+"))).to_be_visible()
    expect(page.locator(".rm-charts .js-plotly-plot").first).to_be_visible()  # the whole chart is there again
    expect(page.locator(".rm-charts")).to_contain_text("Held-out accuracy")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Stop and keep").click(timeout=LONG_MS)
    expect(page.get_by_text(re.compile(r"Stopped after \d+ steps"))).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_role("button", name="Next: try it")).to_be_visible()
    (run,) = list_runs(project.runs)
    steps = run.metrics.loc[run.metrics["split"] == "train", "step"]
    assert steps.is_monotonic_increasing and run.has_model


def test_a_preset_fills_the_settings(train_tab: Any) -> None:
    page = train_tab()
    page.get_by_role("button", name="Advanced: every setting").click()
    page.get_by_label("Best", exact=True).check()
    expect(page.get_by_label("Epochs")).to_have_value("2")
    page.get_by_label("Quick look").check()
    expect(page.get_by_label("What is trained")).to_have_value("Only the scoring head")
    expect(page.get_by_text("a first impression of the data")).to_be_visible()


def test_the_doctor_offers_a_smaller_learning_rate_after_a_run_diverged(
    train_tab: Any, studio: Any, project: Project, tiny_bert: Path
) -> None:
    submit(studio, project, tiny_bert, learning_rate=1e30, batch_size=4)
    page = train_tab()
    expect(page.get_by_text("Diverged.")).to_be_visible(timeout=LONG_MS)
    page.get_by_role("button", name="Start again with learning rate 1e+29").click()
    expect(page.get_by_role("button", name="Start again with learning rate 1e+28")).to_be_visible(timeout=LONG_MS)
    newest, first = list_runs(project.runs)
    assert newest.config.learning_rate == pytest.approx(1e29) and first.status().reason == "diverged"


def test_runs_are_queued_compared_named_copied_and_deleted(
    train_tab: Any, studio: Any, project: Project, tiny_bert: Path
) -> None:
    first = submit(studio, project, tiny_bert, epochs=20, batch_size=1)
    second = submit(studio, project, tiny_bert, epochs=3, batch_size=4)
    first.describe(RunInfo(name="First try"))  # begun in the same second, they would be called the same
    page = train_tab()
    expect(page.get_by_role("button", name="Add to the queue")).to_be_visible()
    expect(page.get_by_text("Waiting for its turn")).to_be_visible()
    first.stop()
    expect(page.get_by_text("Finished after")).to_be_visible(timeout=LONG_MS)

    page.get_by_label("Compare the settings of").click()
    page.get_by_role("option", name=first.label).click()
    page.get_by_role("option", name=second.label).click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("gridcell", name="Epochs", exact=True)).to_be_visible()
    expect(page.get_by_role("gridcell", name="Warm-up", exact=True)).to_have_count(0)
    page.get_by_label("Show differences only").uncheck()
    expect(page.get_by_role("gridcell", name="Warm-up", exact=True)).to_be_visible()

    page.get_by_role("textbox", name=re.compile("^Name Shown")).fill("Second try")
    page.get_by_role("button", name="Save name and note").click()
    expect(page.get_by_label("Run", exact=True)).to_have_value(re.compile("Second try"))
    page.get_by_role("button", name="Copy settings to a new run").click()
    page.get_by_role("button", name="Advanced: every setting").click()
    expect(page.get_by_label("Epochs")).to_have_value("3")
    page.get_by_role("button", name="Repeat it elsewhere").click()
    expect(page.get_by_text("--set epochs=3.0").first).to_be_visible()
    page.get_by_role("button", name="Delete this run").click()
    expect(page.get_by_text("Delete “Second try")).to_be_visible()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_label("Run", exact=True)).to_have_value(first.label)
    assert [run.id for run in list_runs(project.runs)] == [first.id]
    assert str(studio.workspace.root) not in page.inner_text("body")
