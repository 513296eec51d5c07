"""The Question tab: what annotators are asked, what they will see, and publishing it."""

from typing import Any, NamedTuple

import gradio as gr

from rm_studio import annotation, flow, jobs, questions
from rm_studio.config import Question
from rm_studio.errors import StudioError
from rm_studio.ui import widgets
from rm_studio.ui.question_form import guidelines_form, question_form, question_of, values_of
from rm_studio.ui.question_plan import plan_panel
from rm_studio.ui.server_panels import labelling_url
from rm_studio.ui.session import Session, Studio, cached_frame, friendly, publish_job
from rm_studio.workspace import Project, rows

PULL_S = 60.0  # a new version begins with a pull
TAKEN = 8  # the place of the choice for a name that is taken, among what `show_state` updates


class QuestionTab(NamedTuple):
    back: gr.Button
    next: gr.Button


def question_tab(studio: Studio) -> QuestionTab:
    """Lay out the tab and wire it."""
    gr.HTML(
        widgets.heading(
            "Question",
            "Decide what you ask people, and tell them how to judge. Clear guidelines are the "
            "cheapest way to better data.",
        ),
    )
    waiting = gr.HTML()
    back = gr.Button("← Go to Data", visible=False, elem_classes="rm-act")
    asked = gr.State(None)  # the question as the form now says it
    with gr.Column(visible=False) as body:
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                form_part = gr.Column()
            with gr.Column(scale=3, min_width=320):
                gr.HTML('<h3 class="rm-side">What an annotator will see</h3>')
                preview = gr.HTML()
                with gr.Row():
                    previous = gr.Button("← Previous", size="sm")
                    following = gr.Button("Next →", size="sm")
                    see = gr.Button("See it in Argilla ↗", size="sm", visible=False, link_target="_blank")
        guidelines = guidelines_form()
        plan_panel(studio, asked)
    with form_part:
        form = question_form(guidelines.text)
    with gr.Column(visible=False, elem_classes="rm-card") as publishing:
        gr.HTML(
            widgets.heading(
                "Publish to Argilla",
                "Argilla is the page where people answer. From then on the question, the answers shown and the "
                "attention checks are fixed; guidelines can be changed in Argilla. Publishing again adds what is new.",
            ),
        )
        name = gr.Textbox(label="Name in Argilla", info="What annotators see in the list of datasets.", max_length=200)
        state = gr.HTML()
        with gr.Column(visible=False) as taken:
            taken_note = gr.HTML()
            with gr.Row():
                go_on = gr.Button("Go on with that one", elem_classes="rm-act")
                rename = gr.Button("Use another name", variant="primary", elem_classes="rm-act")
                cancel = gr.Button("Cancel", elem_classes="rm-act")
            free_name = gr.State("")
        with gr.Row():
            publish = gr.Button("Publish to Argilla", variant="primary", elem_classes="rm-act")
            stop = gr.Button("Stop", variant="stop", visible=False, elem_classes="rm-act")
            anew = gr.Button("Change the question: new version", visible=False, elem_classes="rm-act")
    onward = gr.Button("Next: annotate →", variant="primary", visible=False, elem_classes="rm-next")
    place = gr.State(0)

    def show_form(session: Session) -> list[Any]:
        project = studio.project(session)
        question = project.info.question if project else Question()
        shown = flow.dataset_name(project) if project else ""
        return [*values_of(question), question.guidelines, question, 0, shown]

    def show_state(session: Session) -> list[Any]:
        project = studio.project(session)
        ready = project is not None and project.comparisons.exists()
        info = project.info if project else None
        job = jobs.read(publish_job(project)) if project else jobs.JobStatus()
        running = job.state == "running"
        n_records = info.argilla.n_records if info and info.argilla else 0
        published = _is_fixed(project) or running
        told = widgets.job(job, "comparisons")
        if not told and n_records:
            told = widgets.note(f"{n_records:,} comparisons are in Argilla.", "good")
        if published:
            told += widgets.note(
                "The question is fixed now that it is published: answers to two questions would not compare. A new "
                "version makes a dataset beside this one, which stays as it is."
            )
        locked = gr.update(interactive=not published)
        lead = "" if ready else widgets.empty("No comparisons yet", "Load data and save the comparisons first.")
        return [
            lead,
            gr.update(visible=not ready),
            gr.update(visible=ready),
            gr.update(visible=ready),
            told,
            gr.update(
                value="Publish again" if n_records else "Publish to Argilla",
                variant="secondary" if n_records else "primary",
                interactive=not running,
            ),
            gr.update(visible=running),
            gr.update(visible=bool(n_records) and not running),
            gr.update(visible=False) if published else gr.update(),
            gr.update(interactive=not (info and info.argilla)),
            gr.update(visible=published and not running),
            *[locked] * len(form.fields),
        ]

    def show_preview(session: Session, place: int, *values: Any) -> list[Any]:
        project = studio.project(session)
        if project is None:
            return ["", None]
        try:
            question = question_of(*values)
            return [_preview(project, place, question), question]
        except StudioError as error:
            return [widgets.note(str(error), "warn"), gr.skip()]

    def show_saved_preview(session: Session, place: int) -> list[Any]:
        # Not of the fields: the page may not have them yet, or still those of the project before.
        project = studio.project(session)
        return show_preview(session, place, *values_of(project.info.question if project else Question()))

    def save(session: Session, *values: Any) -> None:
        project = studio.project(session)
        if project is not None and not _is_fixed(project):
            project.update(question=question_of(*values))

    def begin(session: Session, name: str, join: bool) -> list[Any]:
        project = studio.require_project(session)
        jobs.start(
            publish_job(project), "Publishing", lambda job: flow.publish(studio.workspace, project, job, name, join)
        )
        return [*show_state(session), "", ""]

    @friendly
    def start(session: Session, name: str, *values: Any) -> list[Any]:
        project = studio.require_project(session)
        save(session, *values)
        name = name.strip() or flow.dataset_name(project)
        if project.info.argilla is None:
            with annotation.connect(studio.workspace) as connection:
                free = annotation.name_is_taken(connection, project, name)
            if free:
                view = show_state(session)
                view[TAKEN] = gr.update(visible=True)
                text = f"There is already a dataset “{name}” in Argilla. Go on with it only if it is this project’s."
                return [*view, widgets.note(text, "warn"), free]
        return begin(session, name, join=False)

    @friendly
    def go_on_with(session: Session, name: str) -> list[Any]:
        return begin(session, name.strip(), join=True)

    @friendly
    def use_free_name(session: Session, free: str) -> list[Any]:
        return [*begin(session, free, join=False), free]

    @friendly
    def make_new_version(session: Session) -> list[Any]:
        project = studio.require_project(session)

        def work(job: jobs.Job) -> str:
            return flow.new_version(studio.workspace, project, job)

        jobs.start(publish_job(project), "Pulling what was answered", work).join(PULL_S)
        return [*show_state(session), flow.dataset_name(project)]

    @friendly
    def show_link(session: Session, place: int) -> Any:
        project = studio.project(session)
        comparisons = cached_frame(project.comparisons) if project else None
        reference = project.info.argilla if project else None
        own = annotation.own_server(studio.workspace)
        here = own.api_url if own else "embedded"
        base = labelling_url(studio, None)
        if project is None or comparisons is None or base is None or reference is None or reference.server != here:
            return gr.update(visible=False)
        comparison = rows(comparisons.iloc[[place % len(comparisons)]])[0]
        path = annotation.page_of(reference, comparison, use_markdown=project.info.question.use_markdown)
        return gr.update(visible=bool(reference.id), link=base + path)

    def ask_to_stop(session: Session) -> None:
        if project := studio.project(session):
            jobs.stop(publish_job(project))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    state_view = [waiting, back, body, publishing, state, publish, stop, onward, taken, name, anew, *form.fields]
    start_view = [*state_view, taken_note, free_name]
    preview_inputs = [studio.session, place, *form.fields]
    gr.on(form.settled, friendly(save), [studio.session, *form.fields], None, **quiet)
    look: dict[str, Any] = {"fn": show_preview, "inputs": preview_inputs, "outputs": [preview, asked], **quiet}
    for step in (*form.steps, guidelines.started):
        step.then(friendly(save), [studio.session, *form.fields], None, **quiet).then(**look)
    # What a person does, not every change: as a tab is first opened, the fields get their values one after the other.
    edits = [field.input for field in form.fields[:-1]]
    gr.on([*edits, guidelines.text.blur], trigger_mode="always_last", **look)
    previous.click(lambda place: max(0, place - 1), place, place, **quiet).then(**look)
    following.click(lambda place: place + 1, place, place, **quiet).then(**look)
    publish.click(start, [studio.session, name, *form.fields], start_view, api_visibility="private")
    go_on.click(go_on_with, [studio.session, name], start_view, api_visibility="private")
    rename.click(use_free_name, [studio.session, free_name], [*start_view, name], api_visibility="private")
    anew.click(make_new_version, studio.session, [*state_view, name], api_visibility="private")
    gr.on([cancel.click, studio.session.change], lambda: gr.update(visible=False), None, taken, **quiet)
    stop.click(ask_to_stop, studio.session, None, **quiet)
    gr.on(
        [place.change, studio.data_token.change, studio.server_token.change],
        show_link,
        [studio.session, place],
        see,
        **quiet,
    )
    studio.session.change(show_form, studio.session, [*form.fields, guidelines.rendered, asked, place, name], **quiet)
    studio.data_token.change(show_state, studio.session, state_view, **quiet)
    studio.data_token.change(show_saved_preview, [studio.session, place], [preview, asked], **quiet)
    return QuestionTab(back, onward)


def _is_fixed(project: Project | None) -> bool:
    """Whether people may have seen the question."""
    reference = project.info.argilla if project else None
    return bool(reference and (reference.id or reference.n_records))


def _preview(project: Project, place: int, question: Question) -> str:
    comparisons = cached_frame(project.comparisons)
    if comparisons is None:
        return ""
    row = comparisons.iloc[place % len(comparisons)]
    answers = [row["responses"][int(index)] for index in row["order"]]
    questions.check(question, len(answers))
    return widgets.comparison(row["prompt"], answers, questions.asked(question, len(answers)))
