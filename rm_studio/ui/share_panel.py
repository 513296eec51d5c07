"""Sharing the project's data on the Hub: a part of the Annotate tab."""

from typing import Any

import gradio as gr

from rm_studio import jobs, share
from rm_studio.errors import DataError
from rm_studio.jobs import Job
from rm_studio.ui import widgets
from rm_studio.ui.session import Session, Studio, friendly, share_job


def share_panel(studio: Studio) -> None:
    """Lay out the panel and wire it."""
    with gr.Accordion("Share the data on the Hugging Face Hub", open=False):
        gr.HTML(
            widgets.small(
                "The comparisons, the feedback, the pairs, the question and its guidelines, with a card that says how "
                "they were made: others can train on them, and a new project can go on from them."
            )
        )
        with gr.Row():
            name = gr.Textbox(label="Dataset", placeholder="owner/name", info="Made if it is not there.", max_lines=1)
            token = gr.Textbox(
                label="Access token that may write",
                type="password",
                info="Used for this and kept nowhere. Empty: the one this computer is logged in with.",
            )
        private = gr.Checkbox(True, label="Private", info="Only you and your organisation see a dataset made now.")
        names = gr.Checkbox(
            False, label="With the annotators’ names", info="Otherwise they are called annotator 1, 2, 3 …"
        )
        state = gr.HTML()
        push = gr.Button("Push", variant="primary", elem_classes="rm-act")

    @friendly
    def start(session: Session, name: str, token: str, private: bool, names: bool) -> list[Any]:
        project = studio.require_project(session)
        if not project.comparisons.exists():
            raise DataError("There is nothing to share yet. Load data and save the comparisons first.")

        def work(job: Job) -> str:
            job.say("Pushing to the Hub …")
            page = share.push(project, name.strip(), token.strip() or None, private, names)
            return f"The data is on the Hub: {page}"

        jobs.start(share_job(project), "Pushing", work)
        return [show(session), ""]

    def show(session: Session) -> str:
        project = studio.project(session)
        return widgets.job(jobs.read(share_job(project)), "files") if project else ""

    push.click(start, [studio.session, name, token, private, names], [state, token], api_visibility="private")
    gr.on(
        [studio.session.change, studio.feedback_token.change],
        show,
        studio.session,
        state,
        show_progress="hidden",
        api_visibility="private",
    )
