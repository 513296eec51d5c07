"""The bar above the tabs: which project is open; create, rename, delete. And the welcome page where there is none."""

from typing import Any, NamedTuple

import gradio as gr

from rm_studio import flow, jobs
from rm_studio.errors import WorkspaceError
from rm_studio.training import runs
from rm_studio.ui import widgets
from rm_studio.ui.session import Session, friendly
from rm_studio.workspace import Project, Workspace


class ProjectBar(NamedTuple):
    """What the page shows by: the bar itself, and the welcome page that stands in for the tabs."""

    welcome: gr.Column
    bar: gr.Row
    chosen: gr.Dropdown


def project_bar(workspace: Workspace, session: gr.State) -> ProjectBar:
    """Lay out the bar and the welcome page, and wire them to ``session``."""
    with gr.Row(elem_classes="rm-topbar", equal_height=True):
        gr.HTML('<div class="rm-brand"><span class="rm-logo" aria-hidden="true"></span>RM Studio</div>')
        with gr.Row(visible=False, elem_classes="rm-project", equal_height=True) as bar:
            chosen = gr.Dropdown([], label="Project", min_width=220, scale=3)
            new = gr.Button("New", size="sm", min_width=70)
            again = gr.Button("Sample", size="sm", min_width=80)
            rename = gr.Button("Rename", size="sm", min_width=80)
            delete = gr.Button("Delete", size="sm", min_width=80)
    with gr.Column(visible=False, elem_classes="rm-card rm-dialog") as dialog:
        asking = gr.State(("", ""))  # what is asked, and of which project
        words = gr.HTML()
        name = gr.Textbox(label="Name", max_lines=1, visible=False)
        with gr.Row():
            confirm = gr.Button("Save", variant="primary", size="sm")
            cancel = gr.Button("Cancel", size="sm")
    with gr.Column(visible=False, elem_classes="rm-welcome") as welcome:
        gr.HTML(
            "<h1>Teach a model what good answers look like</h1>"
            "<p>A <strong>reward model</strong> gives an answer a score: the higher, the better it "
            "expects people to like it. "
            "You make one in five steps: load prompts and answers, write a question, let people "
            "choose the better answer, train, "
            "and try it. Everything stays on this machine.</p>"
        )
        with gr.Row(equal_height=False):
            with gr.Column(min_width=280, elem_classes="rm-card"):
                gr.HTML("<h3>Look around first</h3><p>A sample project with simulated feedback, ready to train.</p>")
                sample = gr.Button("Open the sample project", variant="primary")
            with gr.Column(min_width=280, elem_classes="rm-card"):
                gr.HTML("<h3>Start with your own data</h3>")
                first_name = gr.Textbox(
                    label="Name of your project", placeholder="For example: support replies", max_lines=1
                )
                create = gr.Button("Create the project")

    def ask(session: Session, what: str) -> list[Any]:
        project = _open(workspace, session)
        current = project.info.name if project else ""
        told = {
            "new": "<h3>New project</h3>",
            "rename": "<h3>Rename the project</h3>",
            "delete": f"<h3>Delete “{widgets.escape(current)}”?</h3>{_what_goes(project)}",
        }[what]
        confirm = {"new": "Create", "rename": "Rename", "delete": "Delete for good"}[what]
        return [
            gr.update(visible=True),
            (what, session.project or ""),
            told,
            gr.update(visible=what != "delete", value=current if what == "rename" else ""),
            gr.update(value=confirm, variant="stop" if what == "delete" else "primary"),
        ]

    @friendly
    def act(session: Session, asked: tuple[str, str], name: str) -> list[Any]:
        what, slug = asked
        project = _open(workspace, Session(project=slug))
        if what == "new":
            return [
                Session(project=workspace.create(name).slug),
                gr.update(visible=False),
                choices(workspace),
            ]
        if project is None:
            raise WorkspaceError("Open a project first.")
        if what == "rename":
            workspace.rename(project, name)
            return [session, gr.update(visible=False), choices(workspace, project.slug)]
        for run in runs.list_runs(project.runs):
            run.end()
        jobs.stop_all(project.folder)
        workspace.delete(project)
        left = workspace.projects()
        return [
            Session(project=left[0].slug if left else None),
            gr.update(visible=False),
            choices(workspace),
        ]

    @friendly
    def open_sample() -> list[Any]:
        project = flow.sample_project(workspace)
        return [Session(project=project.slug), choices(workspace, project.slug)]

    @friendly
    def create_first(name: str) -> list[Any]:
        project = workspace.create(name)
        return [Session(project=project.slug), choices(workspace, project.slug)]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    asked = [dialog, asking, words, name, confirm]
    for button, what in ((new, "new"), (rename, "rename"), (delete, "delete")):
        button.click(lambda session, what=what: ask(session, what), session, asked, **quiet)
    cancel.click(lambda: gr.update(visible=False), None, dialog, **quiet)
    gr.on([confirm.click, name.submit], act, [session, asking, name], [session, dialog, chosen], **quiet)
    gr.on([sample.click, again.click], open_sample, None, [session, chosen], **quiet)
    gr.on([create.click, first_name.submit], create_first, first_name, [session, chosen], **quiet)
    chosen.input(lambda slug: (Session(project=slug), gr.update(visible=False)), chosen, [session, dialog], **quiet)
    return ProjectBar(welcome, bar, chosen)


def choices(workspace: Workspace, selected: str | None = None) -> Any:
    """The drop-down's content, with one project selected: the newest unless another is named."""
    every = [(project.info.name, project.slug) for project in workspace.projects()]
    slugs = [slug for _, slug in every]
    return gr.update(choices=every, value=selected if selected in slugs else (slugs[0] if slugs else None))


def _open(workspace: Workspace, session: Session) -> Project | None:
    try:
        return workspace.project(session.project) if session.project else None
    except WorkspaceError:
        return None


def _what_goes(project: Project | None) -> str:
    if project is None:
        return ""
    n_runs = len(runs.list_runs(project.runs))
    size = project.size_bytes() / 1024**2
    trained = f"{n_runs} training run{'s' if n_runs != 1 else ''} with their models" if n_runs else "no training runs"
    return (
        f"<p>This removes its data, question, pulled feedback and {trained}: {size:,.0f} MB. It "
        "cannot be undone. What was "
        "published to Argilla stays there.</p>"
    )
