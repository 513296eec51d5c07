"""Each kind of question in a real browser: chosen, looked at, published, answered on Argilla's page, pulled."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from rm_studio import flow, plan
from rm_studio.config import DataSource, Selection
from rm_studio.workspace import Project, Workspace, read_frame

LONG_MS = 60_000
expect.set_options(timeout=20_000)
NAMES = {
    "best_of_two": "The better of two",
    "best_of_many": "The best of several",
    "ranking": "Rank all, ties allowed",
    "strength": "How much better",
    "rating": "Rate each answer",
}


def project_of(workspace: Workspace, name: str, n: int, tmp_path: Path) -> Project:
    """Three comparisons of ``n`` answers; the best says so."""
    project = workspace.create(name)
    words = ["best", "good", "poor"][:n]
    lines = [",".join(["prompt", *(f"answer {word}" for word in words)])]
    lines += [",".join([f"Question {i}?", *(f"The {word} one {i}." for word in words)]) for i in range(3)]
    path = tmp_path / "answers.csv"
    path.write_text("\n".join(lines))
    flow.load_table(project, DataSource(name="answers.csv"), path)
    mapping = project.info.mapping
    assert mapping is not None
    flow.save_comparisons(project, mapping, Selection(pairing="together", together=n) if n > 2 else Selection())
    return project


def places(page: Page, n: int) -> list[str]:
    """The answers in the order in which Argilla's page shows them: best, good or poor."""
    page.locator("[id^=fields-content-]").nth(n).wait_for()
    return [page.locator("[id^=fields-content-]").nth(place + 1).inner_text().split()[1] for place in range(n)]


def choose_label(page: Page, shown: list[str]) -> None:
    page.get_by_text(f"Answer {shown.index('best') + 1}", exact=True).last.click()


def choose_strength(page: Page, shown: list[str]) -> None:
    page.get_by_text(f"Answer {shown.index('best') + 1} is much better", exact=True).click()


def choose_number(page: Page, shown: list[str]) -> None:
    page.locator(f"label[for=choose-best_{shown.index('best') + 1}]").click()


def rate(page: Page, shown: list[str]) -> None:
    for place, word in enumerate(shown, start=1):
        page.locator(f"label[for=helpful-{place}_{ {'best': 5, 'good': 3, 'poor': 1}[word] }]").click()


def rank(page: Page, shown: list[str]) -> None:
    """By keyboard; good and poor share the second place."""
    for place, word in enumerate(shown, start=1):
        page.locator(f"[id='response-{place}']").focus()
        page.keyboard.press("1" if word == "best" else "2")
        page.wait_for_timeout(400)  # digits within 0.3 s of each other would be one number


ANSWERS: dict[str, tuple[int, Callable[[Page, list[str]], None], set[tuple[str, str]]]] = {
    "best_of_two": (2, choose_number, {("best", "good")}),
    "best_of_many": (3, choose_label, {("best", "good"), ("best", "poor")}),
    "ranking": (3, rank, {("best", "good"), ("best", "poor")}),
    "strength": (2, choose_strength, {("best", "good")}),
    "rating": (3, rate, {("best", "good"), ("best", "poor"), ("good", "poor")}),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_kind_of_question_from_the_form_to_the_pairs(
    window: Page, labelling: Page, studio: Any, tmp_path: Path, kind: str
) -> None:
    n, answer, expected = ANSWERS[kind]
    project = project_of(studio.workspace, f"Kind {kind}", n, tmp_path)
    page = window
    page.goto(studio.url)
    expect(page.get_by_label("Project", exact=True)).to_have_value(project.info.name)
    page.get_by_role("tab", name="2 Question").click()
    page.get_by_label(NAMES[kind], exact=True).check()
    expect(page.locator(".rm-record:visible").first).to_contain_text("Question 0?")
    expect(page.get_by_text("3 comparisons × 1 person")).to_be_visible()
    page.get_by_role("button", name="Publish to Argilla").click()
    expect(page.get_by_text("3 comparisons are in Argilla")).to_be_visible(timeout=LONG_MS)
    assert project.info.question.kind == kind
    reference = project.info.argilla
    assert reference is not None

    labelling.goto(f"{studio.url}/argilla/dataset/{reference.id}/annotation-mode")
    for left in (2, 1, 0):
        first = labelling.locator("[id^=fields-content-]").first
        first.wait_for()
        before = first.get_attribute("id") or ""
        answer(labelling, places(labelling, n))
        with labelling.expect_response(re.compile(r"/responses$")):
            labelling.get_by_role("button", name="Submit").click()
        if left:
            expect(first).not_to_have_attribute("id", before)

    page.get_by_role("tab", name="3 Annotate").click()
    expect(page.get_by_text("3 of 3 comparisons have all their answers.")).to_be_visible()
    page.get_by_role("button", name="Pull feedback").click()
    expect(page.get_by_text("3 answers pulled")).to_be_visible()
    pairs = read_frame(project.pairs)
    assert pairs is not None
    sure = pairs[pairs["p_chosen"] == 1.0]
    assert len(pairs) - len(sure) == (3 if kind == "ranking" else 0), "ties"
    assert set(zip(*(sure[side].str.split().str[1] for side in ("chosen", "rejected")), strict=True)) == expected
    if kind == "strength":
        assert set(pairs["strength"]) == {3.0}


def test_guidelines_start_from_ours_checks_are_judged_and_a_new_version_made(
    window: Page, studio: Any, tmp_path: Path
) -> None:
    project = project_of(studio.workspace, "Plan", 2, tmp_path)
    page = window
    page.goto(studio.url)
    page.get_by_role("tab", name="2 Question").click()
    field = page.get_by_label("Start the guidelines from", exact=True)
    field.click()
    page.get_by_role("option", name="Support replies").click()
    expect(page.get_by_role("textbox", name=re.compile("^Guidelines"))).to_have_value(re.compile("your own name"))
    expect(page.get_by_text("sign it with your own name")).to_be_visible()  # as it will look
    page.get_by_role("button", name=re.compile("Attention checks")).click()
    page.get_by_role("button", name="Answer 1 is clearly better").click()
    expect(page.get_by_text("1 judged; 5 would be 5%")).to_be_visible()
    assert len(plan.known_answers(project)) == 1
    page.get_by_role("button", name="Publish to Argilla").click()
    expect(page.get_by_text("3 comparisons are in Argilla")).to_be_visible(timeout=LONG_MS)
    assert "sign it with your own name" in project.info.question.guidelines
    expect(page.get_by_label("How much better", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Change the question: new version").click()
    page.get_by_label("How much better", exact=True).check()
    expect(page.get_by_label("Name in Argilla")).to_have_value("plan-v2")
    page.get_by_role("button", name="Publish to Argilla").click()
    expect(page.get_by_text("3 comparisons are in Argilla")).to_be_visible(timeout=LONG_MS)
    assert project.info.argilla is not None and project.info.argilla.name == "plan-v2"
    assert [earlier.name for earlier in project.info.earlier] == ["plan"]
