"""What the owner of the annotation server does on the Annotate tab, by clicking."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from test_browser import LONG_MS, create_project, load_csv, tab

from rm_studio.embedded import server
from rm_studio.workspace import Workspace


def open_panel(page: Page, name: str) -> None:
    tab(page, "Annotate")
    page.get_by_role("button", name=name).click()


@pytest.fixture
def opened(page: Page) -> Page:
    """The page with a project open, whichever."""
    create_project(page, f"Panels {id(page)}")
    return page


def test_an_annotator_is_added_gets_in_by_the_link_and_is_removed(opened: Page, browser: Any) -> None:
    page = opened
    open_panel(page, "People")
    page.get_by_label("Name of a new annotator").fill("Nora")
    page.get_by_role("button", name="Add", exact=True).click()
    handed_out = page.locator(".rm-facts:visible").last
    expect(handed_out).to_contain_text("Nora")
    name, password, link = handed_out.locator("dd").all_inner_texts()
    assert link.endswith("/argilla/")
    expect(page.get_by_text("works on this computer only")).to_be_visible()
    page.get_by_label("Name of a new annotator").fill("Nora")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("is already in the team")).to_be_visible()

    context = browser.new_context()
    hers = context.new_page()
    hers.goto(link)
    hers.get_by_role("textbox").first.fill(name)
    hers.locator("input[type=password]").fill(password)
    hers.keyboard.press("Enter")
    expect(hers.get_by_text("Home").first).to_be_visible(timeout=20_000)
    context.close()

    page.get_by_label("Somebody in the team").click()
    page.get_by_role("option", name="Nora").click()
    page.get_by_role("button", name="New password").click()
    expect(page.locator(".rm-facts:visible").last.locator("dd").nth(1)).not_to_have_text(password)
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("Nora cannot annotate any more.")).to_be_visible()


def test_a_backup_is_made_and_the_log_is_read(opened: Page, studio: Any) -> None:
    open_panel(opened, "Backups and log of the built-in server")
    opened.get_by_role("button", name="Back up now").click()
    made = opened.get_by_text(re.compile(r"argilla-\d{8}-\d{6}")).first
    expect(made).to_be_visible()
    log = opened.get_by_label("Log (newest first)")
    expect(log).not_to_have_value("")
    assert str(studio.workspace.root) not in log.input_value()


def test_a_wrong_server_of_one_s_own_is_refused_and_the_page_stays(opened: Page) -> None:
    open_panel(opened, "Use your own Argilla server instead")
    opened.get_by_label("Address", exact=True).fill("http://127.0.0.1:9")
    opened.get_by_label("API key").fill("planted-key")
    opened.get_by_role("button", name="Check and use").click()
    expect(opened.get_by_text("No Argilla server answers at")).to_be_visible()
    expect(opened.get_by_text("The built-in server is used now.")).to_be_visible()
    expect(opened.get_by_label("Address", exact=True)).to_have_value("http://127.0.0.1:9")


def test_a_taken_name_is_a_choice(opened: Page, csv: Path) -> None:
    page = opened
    load_csv(page, csv)
    page.get_by_role("button", name="Save comparisons").click()
    page.get_by_role("button", name="Next: write the question").click()
    page.get_by_label("Name in Argilla").fill("Chosen name")
    page.get_by_role("button", name="Publish to Argilla").click()
    expect(page.get_by_text("16 comparisons are in Argilla").first).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_role("link", name=re.compile("See it in Argilla"))).to_have_attribute(
        "href", re.compile(r"/argilla/dataset/[0-9a-f-]+/annotation-mode\?.*search=")
    )

    create_project(page, f"Second {id(page)}")
    tab(page, "Data")
    load_csv(page, csv)
    page.get_by_role("button", name="Save comparisons").click()
    page.get_by_role("button", name="Next: write the question").click()
    page.get_by_label("Name in Argilla").fill("Chosen name")
    page.get_by_role("button", name="Publish to Argilla").click()
    expect(page.get_by_text("There is already a dataset “Chosen name” in Argilla.")).to_be_visible()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_text("There is already a dataset")).to_be_hidden()
    page.get_by_role("button", name="Publish to Argilla").click()
    page.get_by_role("button", name="Use another name").click()
    expect(page.get_by_text("16 comparisons are in Argilla").first).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_label("Name in Argilla")).to_have_value("Chosen name-2")


def test_a_server_that_was_stopped_is_started_from_the_page(opened: Page, argilla: Workspace) -> None:
    server.stop(argilla)
    tab(opened, "Annotate")
    expect(opened.get_by_text("The annotation server was stopped.")).to_be_visible()
    opened.get_by_role("button", name="Start", exact=True).click()
    expect(opened.get_by_role("link", name="Open Argilla ↗")).to_be_visible(timeout=LONG_MS)
    assert server.status(argilla).state == "running"
