"""The plan: how long annotating takes; and comparisons whose answer is known, to see who reads with care."""

from typing import Any

import gradio as gr

from rm_studio import flow, plan
from rm_studio.config import Question
from rm_studio.ui import widgets
from rm_studio.ui.session import Session, Studio, cached_frame, friendly
from rm_studio.workspace import Project, rows

SHARE = 0.05  # of the comparisons, wanted as attention checks
FEWEST = 5


def plan_panel(studio: Studio, question: gr.State) -> None:
    """Lay out the plan and wire it; ``question`` changes whenever the form's does."""
    with gr.Column(elem_classes="rm-card"):
        gr.HTML(widgets.heading("The plan", "What it takes before the model has something to learn from."))
        told = gr.HTML()
        with gr.Accordion("Attention checks: comparisons whose answer you know", open=False):
            gr.HTML(
                widgets.small(
                    "Judge a few clear cases here. They are spread among the others, nobody sees which they are, and "
                    "the Annotate tab shows how many of them each person got right."
                )
            )
            state = gr.HTML()
            shown = gr.HTML()
            with gr.Row(elem_classes="rm-buttons"):
                judge = [gr.Button(f"Answer {place} is clearly better", size="sm") for place in (1, 2)]
                skip = gr.Button("Not clear: another one", size="sm")
                forget = gr.Button("Forget all", size="sm", variant="stop")
    place = gr.State(0)
    showing = gr.State("")  # the id of the comparison shown: what is left changes when another tab judges one

    def show_plan(session: Session, question: Question | None) -> str:
        project = studio.project(session)
        comparisons = cached_frame(project.comparisons) if project else None
        if project is None or comparisons is None or question is None:
            return ""
        found = plan.plan(comparisons, question, cached_frame(project.feedback))
        return widgets.note(found.in_words)

    def show_check(session: Session, place: int) -> list[Any]:
        project = studio.project(session)
        comparisons = cached_frame(project.comparisons) if project else None
        if project is None or comparisons is None:
            return ["", "", *[gr.update(interactive=False)] * 4, ""]
        known = plan.known_answers(project)
        wanted = max(FEWEST, round(SHARE * len(comparisons)))
        fixed = _is_published(project)
        words = f"{len(known):,} judged; {wanted:,} would be {SHARE:.0%} of the comparisons."
        if fixed:
            words += " They are fixed now that the dataset is published."
        usable = comparisons[comparisons["responses"].map(len) == 2]
        left = usable[~usable["id"].isin(set(known))]
        if fixed or left.empty:
            shown = widgets.small("These need comparisons of two answers.") if usable.empty else ""
            return [widgets.small(words), shown, *[gr.update(interactive=False)] * 4, ""]
        row = rows(left.iloc[[place % len(left)]])[0]
        answers = [row["responses"][int(index)] for index in row["order"]]
        active = gr.update(interactive=True)
        return [
            widgets.small(words),
            widgets.comparison(row["prompt"], answers, []),
            active,
            active,
            active,
            gr.update(interactive=bool(known)),
            row["id"],
        ]

    def judged(answer: int) -> Any:
        @friendly
        def note(session: Session, place: int, showing: str) -> list[Any]:
            project = studio.require_project(session)
            comparisons = flow.require_comparisons(project)
            for row in rows(comparisons[comparisons["id"] == showing]):
                plan.know_answer(project, showing, int(row["order"][answer]))
            return show_check(session, place)

        return note

    @friendly
    def forget_all(session: Session) -> list[Any]:
        plan.forget_answers(studio.require_project(session))
        return show_check(session, 0)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    view = [state, shown, *judge, skip, forget, showing]
    gr.on(
        [studio.data_token.change, studio.feedback_token.change, question.change],
        show_plan,
        [studio.session, question],
        told,
        **quiet,
    )
    gr.on([studio.data_token.change, place.change], show_check, [studio.session, place], view, **quiet)
    for answer, button in enumerate(judge):
        button.click(judged(answer), [studio.session, place, showing], view, **quiet)
    skip.click(lambda place: place + 1, place, place, **quiet)
    forget.click(forget_all, studio.session, view, **quiet)


def _is_published(project: Project) -> bool:
    reference = project.info.argilla
    return bool(reference and (reference.id or reference.n_records))
