"""The Data tab in a real browser: what a table is, corrected by hand, counted, judged already, answered by models."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chat_server import Served
from conftest import RunningApp
from fake_hub import hub_dataset, serving
from playwright.sync_api import Page, expect

from rm_studio.workspace import Workspace, read_frame

expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """An app whose Hub is ours, with one dataset."""
    with serving({"datasets/team/answers": hub_dataset(tmp_path_factory.mktemp("hub"))}) as hub:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_ENDPOINT", hub.url)
            patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
            patch.setenv("ARGILLA_API_URL", "http://127.0.0.1:9")  # none is needed here, so none is started
            patch.setenv("ARGILLA_API_KEY", "none")
            found = RunningApp(Workspace(tmp_path_factory.mktemp("data-home")))
        yield found
        found.end()


@pytest.fixture
def tab(browser: Any, app: RunningApp, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The Data tab of a new project, named after the test."""
    app.workspace.create(request.node.name[:70])
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(app.url)
    expect(page.get_by_text("Nothing loaded yet")).to_be_visible()
    yield page
    context.close()
    assert not failures


def upload(page: Page, *files: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(list(files))
    expect(page.get_by_role("heading", name="Which column is what?")).to_be_visible()


def choose(page: Page, label: str, *options: str) -> None:
    field = page.get_by_label(label, exact=True)
    for option in options:
        field.click()
        page.get_by_role("option", name=option, exact=True).last.click()  # a list before may still be closing
    page.keyboard.press("Escape")


def test_a_table_that_is_not_recognised_is_mapped_by_hand_and_its_ledger_opened(tab: Page, tmp_path: Path) -> None:
    rows = [("Why?", "Because.", "No."), ("How?", "So.", "So."), ("=1+1", "", "x")]
    path = tmp_path / "odd.csv"
    pd.DataFrame(rows, columns=["k1", "k2", "k3"]).to_csv(path, index=False)
    upload(tab, path)
    expect(tab.get_by_text("The columns were not recognised")).to_be_visible()
    choose(tab, "Prompt", "k1")
    expect(tab.get_by_text("Choose at least two columns")).to_be_visible()
    choose(tab, "Answers", "k2", "k3")
    expect(tab.locator(".rm-example").first).to_contain_text("Because.")
    tab.get_by_role("button", name="Save comparisons").click()
    expect(tab.locator(".rm-reasons")).to_contain_text("1 identical answers")
    tab.get_by_role("button", name=re.compile("Rows left out")).click()
    expect(tab.get_by_role("gridcell", name="identical answers", exact=True)).to_be_visible()
    tab.get_by_role("button", name="List all of them in a file").click()
    download = tab.get_by_role("button", name="Download left_out.csv")
    expect(download).to_be_visible()
    tab.reload()  # drawn anew, as whenever the project's files change, it is still there
    tab.get_by_role("button", name=re.compile("Rows left out")).click()
    with tab.expect_download() as caught:
        download.click()
    listed = pd.read_csv(caught.value.path())
    assert listed["Why"].tolist() == ["identical answers", "empty answer"] and listed["Prompt"][1] == "'=1+1"


def test_judged_conversations_are_recognised_and_go_to_training_directly(tab: Page, tmp_path: Path) -> None:
    asked = [f"\n\nHuman: Question {i}?\n\nAssistant:" for i in range(4)]
    rows = [{"chosen": f"{start} Yes, gladly.", "rejected": f"{start} No."} for start in asked]
    path = tmp_path / "judged.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    upload(tab, path)
    expect(
        tab.get_by_text("Recognised: “chosen” and “rejected” are transcripts with the prompt inside")
    ).to_be_visible()
    expect(tab.locator(".rm-example").first).to_contain_text("judged best")
    tab.get_by_role("button", name="Save comparisons").click()
    expect(tab.get_by_text("4 comparisons are ready to train on")).to_be_visible()
    expect(tab.get_by_role("button", name="Ask people again")).to_be_visible()
    tab.get_by_role("button", name="Train on these judgements").click()
    expect(tab.get_by_role("button", name="Start training")).to_be_visible()


def test_a_pasted_table_and_what_is_annotated_of_it(tab: Page) -> None:
    tab.get_by_label("Paste a table").check()
    cells = "prompt\tanswer 1\tanswer 2\tanswer 3\n" + "".join(f"p{i}\ta{i}\tb{i}\tc{i}\n" for i in range(20))
    tab.get_by_label("The table").fill(cells)
    tab.get_by_role("button", name="Load", exact=True).locator("visible=true").click()
    expect(tab.get_by_text("Read as separated by tabs")).to_be_visible()
    tab.get_by_role("button", name="What to annotate: how many, and which").click()
    tab.get_by_label("All at once").check()
    tab.get_by_label("Answers at once").fill("3")
    tab.get_by_label("At most this many comparisons").fill("5")
    tab.get_by_role("button", name="Save comparisons").click()
    expect(tab.locator(".rm-reasons")).to_contain_text("15 not among the 5 drawn")
    expect(tab.get_by_text("Each of the 5 prompts is compared once")).to_be_visible()


def test_models_write_the_answers_and_people_can_compare_them(tab: Page, app: RunningApp, tmp_path: Path) -> None:
    served = Served()
    path = tmp_path / "prompts.csv"
    path.write_text("prompt,topic\n" + "".join(f"Question {i}?,t\n" for i in range(5)))
    upload(tab, path)
    expect(tab.get_by_text("no answers were found")).to_be_visible()
    tab.get_by_label("Address").fill("file:///etc/passwd")
    tab.get_by_label("Models").fill("kind-model\ncurt-model")
    tab.get_by_role("button", name="Write answers", exact=True).click()
    expect(tab.get_by_text("is not an address that can be asked")).to_be_visible()
    tab.get_by_label("Address").fill(served.address)
    tab.get_by_label("Key or token").fill("planted-secret")
    tab.get_by_role("button", name="Write answers", exact=True).click()
    expect(tab.get_by_text("10 answers are there, in 2 columns of the table.")).to_be_visible()
    expect(tab.locator(".rm-example").first).to_contain_text("Answer to Question 0? by kind-model")
    tab.get_by_role("button", name="Save comparisons").click()
    expect(tab.get_by_text("5 comparisons are saved").first).to_be_visible()
    served.close()
    project = app.workspace.projects()[0]
    comparisons = read_frame(project.comparisons)
    assert comparisons is not None and set(comparisons["sources"][0]) == {"kind-model", "curt-model"}
    assert not any(b"planted-secret" in file.read_bytes() for file in app.workspace.root.rglob("*") if file.is_file())


def test_a_dataset_of_the_hub_is_searched_looked_into_and_loaded(tab: Page, app: RunningApp) -> None:
    tab.get_by_label("Hugging Face").check()
    tab.get_by_role("textbox", name=re.compile("^Dataset")).press_sequentially("answ", delay=30)
    tab.get_by_label(re.compile("team/answers")).click()  # not check: a later answer to the search may unmark it
    expect(tab.get_by_role("textbox", name=re.compile("^Dataset"))).to_have_value("team/answers")
    tab.get_by_role("button", name="Look inside first").click()
    expect(tab.get_by_text("The first 2 rows of “train”, streamed")).to_be_visible()
    project = app.workspace.projects()[0]
    assert not project.table.exists()
    tab.get_by_role("button", name="Load", exact=True).locator("visible=true").click()
    expect(tab.get_by_role("heading", name="Which column is what?")).to_be_visible()
    assert project.info.source is not None and project.info.source.revision
