"""Answers written by models: a part of the Data tab, for prompts that have none yet or for a further contender."""

from typing import Any

import gradio as gr

from rm_studio import generation, jobs, tables
from rm_studio.errors import GenerationError
from rm_studio.jobs import Job
from rm_studio.settings import parse_settings
from rm_studio.ui import widgets
from rm_studio.ui.data_mapping import settings
from rm_studio.ui.session import Session, Studio, friendly, load_job
from rm_studio.writers import Contender, check_address

FIELDS = Contender.model_fields
WRITING = "Writing answers"
PLACES = {
    "A server (vLLM, Ollama, transformers serve …)": "address",
    "Hugging Face Inference Providers": "providers",
    "On this machine": "here",
}


def generate_panel(studio: Studio, mapping: list[Any]) -> None:
    """Lay out the panel and wire it; ``mapping`` are the fields that say which column holds the prompts."""
    with gr.Accordion("Let models write answers", open=False, visible=False) as panel:
        gr.HTML(
            widgets.small(
                "For prompts without answers, or to let a further model take part. Each model’s answers become a "
                "column of the table; which model wrote what is kept, and hidden from annotators."
            )
        )
        kind = gr.Radio(list(PLACES.items()), value="address", label=FIELDS["kind"].title)
        address = gr.Textbox(
            FIELDS["address"].default, label=FIELDS["address"].title, info=FIELDS["address"].description
        )
        models = gr.Textbox(
            label="Models", info=f"{FIELDS['model'].description} Several: one on each line.", lines=2, max_lines=6
        )
        system = gr.Textbox(label=FIELDS["system"].title, info=FIELDS["system"].description, lines=2)
        with gr.Row(elem_classes="rm-fields-row"):
            answers = _number("answers")
            temperature = gr.Number(
                FIELDS["temperature"].default,
                label=FIELDS["temperature"].title,
                info=FIELDS["temperature"].description,
                step=0.1,
            )
            max_tokens = _number("max_tokens")
        token = gr.Textbox(
            label="Key or token (only if it wants one)",
            type="password",
            info="Used for these calls and kept nowhere.",
        )
        state = gr.HTML()
        with gr.Row(elem_classes="rm-buttons"):
            begin = gr.Button("Write answers", variant="primary")
            stop = gr.Button("Stop", variant="stop", visible=False)

    @friendly
    def start(
        session: Session,
        kind: str,
        address: str,
        models: str,
        answers: float,
        temperature: float,
        max_tokens: float,
        system: str,
        token: str,
        *columns: Any,
    ) -> list[Any]:
        project = studio.require_project(session)
        names = list(dict.fromkeys(line.strip() for line in models.splitlines() if line.strip()))
        if not names:
            raise GenerationError("Name the model that should answer.")
        common: dict[str, Any] = {
            "kind": kind,
            "address": address.strip(),
            "answers": int(answers or 0),
            "temperature": temperature,
            "max_tokens": int(max_tokens or 0),
            "system": system,
        }
        contenders: list[Contender] = [parse_settings(Contender, {**common, "model": name}) for name in names]
        if kind == "address":
            check_address(common["address"])
        chosen, _ = settings(*columns)
        generation.check_mapping(chosen)
        if jobs.read(load_job(project)).state != "running":
            project.update(mapping=chosen)

        def work(job: Job) -> str:
            return generation.generate(project, contenders, job, token.strip() or None)

        jobs.start(load_job(project), WRITING, work)
        return [*show(session), ""]

    def show(session: Session) -> list[Any]:
        project = studio.project(session)
        if project is None or not tables.n_rows(project.table):
            return [gr.update(visible=False), "", gr.update(), gr.update(visible=False)]
        status = jobs.read(load_job(project))
        if status.title != WRITING:
            status = jobs.JobStatus()
        running = status.state == "running"
        mapping = project.info.mapping
        lacks_answers = bool(mapping and len(mapping.answers) < 2 and mapping.shape == "columns")
        return [
            gr.update(visible=True, open=True) if running or lacks_answers else gr.update(visible=True),
            widgets.job(status, "answers"),
            gr.update(interactive=not running),
            gr.update(visible=running),
        ]

    def ask_to_stop(session: Session) -> None:
        if project := studio.project(session):
            jobs.stop(load_job(project))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    view = [panel, state, begin, stop]
    fields = [kind, address, models, answers, temperature, max_tokens, system, token]
    kind.change(lambda kind: gr.update(visible=kind == "address"), kind, address, **quiet)
    begin.click(start, [studio.session, *fields, *mapping], [*view, token], api_visibility="private")
    stop.click(ask_to_stop, studio.session, None, **quiet)
    gr.on([studio.table_token.change, studio.loading_token.change], show, studio.session, view, **quiet)


def _number(field: str) -> gr.Number:
    return gr.Number(FIELDS[field].default, precision=0, label=FIELDS[field].title, info=FIELDS[field].description)
