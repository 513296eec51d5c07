"""The Data tab: load rows, say which column is what, save comparisons."""

from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import pandas as pd

from rm_studio import data, flow, tables
from rm_studio.config import ColumnMapping, DataSource
from rm_studio.errors import DataError
from rm_studio.ui import widgets
from rm_studio.ui.session import Session, Studio, friendly
from rm_studio.workspace import Project, read_frame, read_json

FIELDS = ColumnMapping.model_fields
SOURCES = {"A file": "file", "Hugging Face": "hub", "The sample": "sample"}
NONE = ""  # a drop-down cannot hold None as a choice


class DataTab(NamedTuple):
    next: gr.Button


def data_tab(studio: Studio) -> DataTab:
    """Lay out the tab and wire it."""
    gr.HTML(
        widgets.heading(
            "Data",
            "Start with prompts and, for each, two or more answers. People will say which answer is better, and the "
            "model learns from that.",
        ),
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            source = gr.Radio(list(SOURCES), value="A file", label="Where are your prompts and answers?")
            with gr.Column(visible=True) as file_group:
                file = gr.File(
                    label="CSV, JSONL, JSON or Parquet, up to 200 MB",
                    file_types=list(tables.FILE_TYPES),
                    height=140,
                )
            with gr.Column(visible=False) as hub_group:
                name = gr.Textbox(label="Dataset", placeholder="owner/name", info="As on its page on the Hub.")
                with gr.Row():
                    config = gr.Textbox(label="Configuration (optional)", info="A subset, if it has any.")
                    split = gr.Textbox(label="Split", value="train", info="Most have “train”.")
                token = gr.Textbox(
                    label="Access token (only if private)",
                    type="password",
                    info="Used for this one download and kept nowhere.",
                )
                with gr.Row():
                    example = gr.Button("Use the tutorial’s set", size="sm")
                    load_hub = gr.Button("Load", variant="primary", size="sm")
            with gr.Column(visible=False) as sample_group:
                gr.HTML(
                    widgets.note(
                        "84 prompts from support, writing, explaining, summarising, coding, health "
                        "and safety, each with four "
                        "answers of different quality, written for this app."
                    )
                )
                load_sample = gr.Button("Load the sample", variant="primary", size="sm")
        with gr.Column(scale=3, min_width=320):
            about = gr.HTML()
            preview = gr.Dataframe(
                label="First rows", interactive=False, wrap=False, max_height=300, visible=False, max_chars=60
            )
    with gr.Column(visible=False, elem_classes="rm-card") as mapping_group:
        gr.HTML(
            widgets.heading("Which column is what?", "The guesses come from the columns’ names. Correct what is wrong.")
        )
        with gr.Row():
            prompt = _dropdown("prompt")
            answers = _dropdown("answers", multiselect=True)
        with gr.Row():
            row_id = _dropdown("id")
            category = _dropdown("category")
        save = gr.Button("Save comparisons", variant="primary", elem_classes="rm-act")
    outcome = gr.HTML()
    with gr.Accordion("Rows left out", open=False, visible=False) as left_out:
        dropped = gr.Dataframe(
            headers=["Why", "Row", "Prompt"], label="Rows left out, by reason", interactive=False, wrap=True
        )
    onward = gr.Button("Next: write the question →", variant="primary", visible=False, elem_classes="rm-next")

    table_view = [about, preview, mapping_group, prompt, answers, row_id, category]
    saved_view = [outcome, left_out, dropped, onward]

    def choose_source(choice: str) -> list[Any]:
        return [gr.update(visible=SOURCES[choice] == kind) for kind in ("file", "hub", "sample")]

    def show_table(session: Session) -> list[Any]:
        project = studio.project(session)
        frame = read_frame(project.table) if project else None
        if project is None or frame is None:
            hint = widgets.empty(
                "Nothing loaded yet",
                "Choose a source. A table needs a column of prompts and two of answers.",
            )
            return [hint, gr.update(visible=False), gr.update(visible=False), *[gr.update()] * 4]
        return [
            _about(project, frame),
            gr.update(value=tables.preview(frame), visible=True),
            *_mapping_view(project, frame),
        ]

    def show_saved(session: Session) -> list[Any]:
        project = studio.project(session)
        if project is None or not project.comparisons.exists():
            return ["", gr.update(visible=False), gr.update(), gr.update(visible=False)]
        ledger = (read_json(project.ledger) or {}).get("comparisons")
        rows = widgets.ledger_rows(ledger)
        return [
            widgets.ledger(ledger, "kept"),
            gr.update(visible=bool(rows), label=f"Rows left out ({len(rows)} listed)"),
            rows,
            gr.update(visible=True),
        ]

    @friendly
    def load_file(session: Session, path: str | None) -> list[Any]:
        if path is None:
            return show_table(session)
        project = studio.require_project(session)
        flow.load_table(project, DataSource(kind="file", name=Path(path).name), Path(path))
        return show_table(session)

    @friendly
    def load_dataset(session: Session, name: str, config: str, split: str, token: str) -> list[Any]:
        project = studio.require_project(session)
        found = DataSource(kind="hub", name=name.strip(), config=config.strip() or None, split=split.strip() or "train")
        flow.load_table(project, found, token=token.strip() or None)
        return [*show_table(session), ""]

    @friendly
    def load_the_sample(session: Session) -> list[Any]:
        flow.load_table(studio.require_project(session), DataSource(kind="sample", name="sample"))
        return show_table(session)

    @friendly
    def save_mapping(session: Session, prompt: str, answers: list[str], row_id: str, category: str) -> list[Any]:
        project = studio.require_project(session)
        frame = read_frame(project.table)
        if frame is None:
            raise DataError("Load some data first: a file, a dataset from the Hub, or the sample.")
        data.check_mapping(frame, prompt or None, answers)
        mapping = ColumnMapping(prompt=prompt, answers=tuple(answers), id=row_id or None, category=category or None)
        flow.save_comparisons(project, mapping)
        gr.Info("The comparisons are saved.", duration=4)
        return show_saved(session)

    source.change(
        choose_source,
        source,
        [file_group, hub_group, sample_group],
        show_progress="hidden",
        api_visibility="private",
    )
    example.click(
        lambda: (data.TUTORIAL.source.name, "", data.TUTORIAL.source.split),
        None,
        [name, config, split],
        show_progress="hidden",
        api_visibility="private",
    )
    file.upload(load_file, [studio.session, file], table_view, show_progress_on=about, api_visibility="private").then(
        lambda: None, None, file, show_progress="hidden", api_visibility="private"
    )
    load_hub.click(
        load_dataset,
        [studio.session, name, config, split, token],
        [*table_view, token],
        show_progress_on=about,
        api_visibility="private",
    )
    load_sample.click(load_the_sample, studio.session, table_view, show_progress_on=about, api_visibility="private")
    save.click(
        save_mapping,
        [studio.session, prompt, answers, row_id, category],
        saved_view,
        api_visibility="private",
    )
    studio.table_token.change(show_table, studio.session, table_view, show_progress="hidden", api_visibility="private")
    studio.data_token.change(show_saved, studio.session, saved_view, show_progress="hidden", api_visibility="private")
    return DataTab(onward)


def _dropdown(field: str, multiselect: bool = False) -> gr.Dropdown:
    info = FIELDS[field]
    return gr.Dropdown([], label=info.title, info=info.description, multiselect=multiselect, interactive=True)


def _about(project: Project, frame: pd.DataFrame) -> str:
    info = project.info
    notes = ((read_json(project.ledger) or {}).get("table") or {}).get("notes", [])
    columns = len(frame.columns) - (tables.NOT_TEXT in frame)
    head = widgets.facts(
        [
            ("rows", f"{len(frame):,}"),
            ("columns", str(columns)),
            ("source", info.source.label if info.source else "–"),
        ]
    )
    return head + "".join(widgets.note(note, "warn") for note in notes)


def _mapping_view(project: Project, frame: pd.DataFrame) -> list[Any]:
    columns = [column for column in frame.columns if column != tables.NOT_TEXT]
    mapping = project.info.mapping
    optional = [("none", NONE), *((column, column) for column in columns)]
    return [
        gr.update(visible=True),
        gr.update(choices=columns, value=mapping.prompt if mapping else None),
        gr.update(choices=columns, value=list(mapping.answers) if mapping else []),
        gr.update(choices=optional, value=(mapping.id if mapping else None) or NONE),
        gr.update(choices=optional, value=(mapping.category if mapping else None) or NONE),
    ]
