"""Argilla's labelling page in a real browser, under the app's own address: everything an annotator does there."""

import re
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from rm_studio import annotation, data, flow
from rm_studio.config import ColumnMapping, Question
from rm_studio.embedded import server
from rm_studio.workspace import Project, Workspace, write_frame

HOSTILE = "<script>window.broken = 1</script><img src=x onerror='window.broken = 2'> & <b>bold</b>"
MARKDOWN = """# Heading
Some `a < b` code, **bold**, $x^2$ and <img src=x onerror="window.broken = 3"> ![pic](http://127.0.0.1:9/x.png)

```html
<script>window.broken = 4</script>
```
[click](javascript:window.broken=5)"""


def make(workspace: Workspace, name: str, rows: list[tuple[str, str, str]], **question: Any) -> Project:
    project = workspace.create(name)
    mapping = ColumnMapping(prompt="prompt", answers=("good", "bad"))
    comparisons, *_ = data.build_comparisons(pd.DataFrame(rows, columns=["prompt", "good", "bad"]), mapping, seed=3)
    write_frame(project.comparisons, comparisons)
    project.update(question=Question(**question))
    with annotation.connect(workspace) as connection:
        annotation.publish(connection, project, comparisons)
    return project


@pytest.fixture(scope="module")
def zoo(argilla: Workspace) -> Project:
    server.start(argilla)
    animals = ["ape", "bear", "cat", "dog", "eel", "fox", "goat", "hare", "ibis", "jay", "koala", "lynx"]
    return make(
        argilla, "Zoo", [(f"What does a {animal} eat?", f"The {animal} eats.", "No idea.") for animal in animals]
    )


def open_dataset(page: Page, studio: Any, project: Project, path: str | None = None) -> None:
    reference = project.info.argilla
    assert reference is not None
    page.goto(f"{studio.url}/argilla/{path or annotation.page_of(reference)}")
    page.locator("[id^=fields-content-]").first.wait_for()


def prompt(page: Page) -> str:
    return page.locator("[id^=fields-content-]").first.inner_text().strip()


def total(page: Page, count: int, place: int = 1) -> None:
    expect(page.locator(".pagination, [class*=pagination]").first).to_contain_text(
        re.compile(rf"{place}\s+of\s+{count}")
    )


def test_label_discard_draft_search_filter_sort_and_bulk(labelling: Page, studio: Any, zoo: Project) -> None:
    page = labelling
    open_dataset(page, studio, zoo)
    total(page, 12)

    # Submit one, discard one, keep one as a draft: by keyboard, where with a single question a digit submits at once.
    first = prompt(page)
    page.keyboard.press("1")
    expect(page.locator("[id^=fields-content-]").first).not_to_have_text(first)
    second = prompt(page)
    page.keyboard.press("Backspace")
    expect(page.locator("[id^=fields-content-]").first).not_to_have_text(second)
    third = prompt(page)
    page.locator("label[for=choose-best_2]").click()
    with page.expect_response(re.compile(r"/responses$")):
        page.keyboard.press("Control+s")

    # Each stands in its list.
    for status, words in (("submitted", first), ("discarded", second), ("draft", third)):
        open_dataset(page, studio, zoo, annotation.page_of(reference(zoo)) + f"?page=1&status={status}")
        total(page, 1)
        assert prompt(page) == words
    open_dataset(page, studio, zoo)
    total(page, 9)

    # Search: words of the prompt; and the result is what was searched.
    animal = prompt(page).split()[3]
    page.locator(".search-area__icon").first.click()
    page.locator(".search-area__input").fill(f"{animal} eats")
    page.locator(".search-area__input").press("Enter")
    total(page, 1)
    expect(page.locator("[id^=fields-content-]").first).to_contain_text(animal)

    # Sort: one way and the other begin at different ends.
    open_dataset(page, studio, zoo)
    page.locator(".sort-filter button").first.click()
    page.locator(".sort-categories__item").first.click()
    expect(page).to_have_url(re.compile(r"sort=record\.inserted_at\.asc"))
    total(page, 9)
    oldest = prompt(page)
    page.locator(".sort-selector-item__direction").click()
    expect(page).to_have_url(re.compile(r"sort=record\.inserted_at\.desc"))
    expect(page.locator("[id^=fields-content-]").first).not_to_have_text(oldest)

    # Filter: among the submitted, by the value that was chosen.
    open_dataset(page, studio, zoo, annotation.page_of(reference(zoo)) + "?page=1&status=submitted")
    page.get_by_role("button", name="Filters").click()
    page.get_by_text("Responses", exact=True).first.click()
    page.get_by_text("choose-best", exact=True).last.click()
    lowest = page.locator("[class*=filter] input[type=number]").first
    lowest.fill("2")
    lowest.press("Enter")
    expect(page.locator("[id^=fields-content-]")).to_have_count(0)
    lowest.fill("1")
    lowest.press("Enter")
    expect(page.locator("[id^=fields-content-]").first).to_have_text(first)

    # Bulk view: two at once.
    open_dataset(page, studio, zoo)
    page.get_by_role("button", name="Switch to Bulk Mode").click()
    boxes = page.locator("input[type=checkbox]")
    expect(boxes.nth(2)).to_be_attached()
    for place in (1, 2):
        boxes.nth(place).locator("xpath=..").click()
    expect(page.get_by_text("2 records selected")).to_be_visible()
    page.locator("label[for^=choose-best_1]").first.click()
    with page.expect_response(re.compile(r"/responses/bulk$")):
        page.get_by_role("button", name="Submit").first.click()
    with annotation.connect(studio.workspace) as connection:
        feedback = annotation.pull(connection, reference(zoo), flow.require_comparisons(zoo), zoo.info.question)
    assert feedback["status"].value_counts().to_dict() == {"submitted": 3, "discarded": 1, "draft": 1}


def reference(project: Project) -> Any:
    assert project.info.argilla is not None
    return project.info.argilla


def test_a_link_to_a_comparison_opens_on_it(labelling: Page, studio: Any, argilla: Workspace) -> None:
    odd = "“Odd” – signs: (a|b) + -c* ~1 <b>Tom</b> & Jerry 我喜欢，猫 cafe\u0301 au lait"
    rows = [(f"Same <b>words</b> & question {number}?", f"An answer, number {number}.", odd) for number in range(20)]
    project = make(argilla, "Links", rows)
    wanted = flow.require_comparisons(project).iloc[13].to_dict()
    open_dataset(labelling, studio, project, annotation.page_of(reference(project), wanted))
    total(labelling, 1)
    assert prompt(labelling) == wanted["prompt"]


@pytest.mark.parametrize("use_markdown", [False, True])
def test_nothing_in_a_text_runs_and_it_still_looks_right(
    labelling: Page, studio: Any, argilla: Workspace, use_markdown: bool
) -> None:
    """FAULTS 44."""
    text = MARKDOWN if use_markdown else HOSTILE
    project = make(argilla, f"Hostile {use_markdown}", [(text, "fine", "not fine")], use_markdown=use_markdown)
    open_dataset(labelling, studio, project)
    shown = labelling.locator("[id^=fields-content-]").first
    if use_markdown:
        expect(shown.locator("h1")).to_have_text("Heading")
        expect(shown.locator("code").first).to_have_text(re.compile("a <.? b"))
        expect(shown.locator("strong").first).to_have_text("bold")
        expect(shown).to_contain_text("window.broken = 4")
        assert shown.locator("img, script, iframe").count() == 0
        link = shown.get_by_text("click")
        assert "javascript:" not in (link.get_attribute("href") or "")
    else:
        expect(shown).to_have_text(re.compile(re.escape(HOSTILE)))
    labelling.wait_for_timeout(500)
    assert labelling.evaluate("window.broken") is None
