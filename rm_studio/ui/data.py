"""The Data tab: load rows, see what they are, make comparisons of them, look at what came out."""

import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from rm_studio import flow, jobs, tables
from rm_studio.data import columns_of, look
from rm_studio.jobs import Job
from rm_studio.ui import widgets
from rm_studio.ui.data_generate import WRITING, generate_panel
from rm_studio.ui.data_mapping import mapping_view, settings
from rm_studio.ui.data_sources import AT_ONCE_S, sources_view
from rm_studio.ui.session import Session, Studio, cached_frame, friendly, load_job
from rm_studio.workspace import Project, read_json, stamp


class DataTab(NamedTuple):
    next: gr.Button
    train: gr.Button


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
            sources = gr.Column()
        with gr.Column(scale=3, min_width=320):
            about = gr.HTML()
            stop = gr.Button("Stop", variant="stop", visible=False, elem_classes="rm-act")
            preview = gr.Dataframe(
                label="First rows", interactive=False, wrap=False, max_height=300, visible=False, max_chars=60
            )
    with sources:
        sources_view(studio, about, preview)
    mapping = mapping_view(studio)
    generate_panel(studio, mapping.fields)
    with gr.Row(visible=False) as saving:
        save = gr.Button("Save comparisons", variant="primary", elem_classes="rm-act")
    outcome = gr.HTML()
    with gr.Accordion("Rows left out", open=False, visible=False) as left_out:
        dropped = gr.Dataframe(
            headers=["Why", "Row", "Prompt"], label="Rows left out, by reason", interactive=False, wrap=True
        )
        gr.HTML(
            widgets.small(
                "Some reasons are a choice: prompts that come again, long texts, numbers and the size of the sample "
                "are set under “What to annotate”. Save again to change them."
            )
        )
        with gr.Row(elem_classes="rm-buttons"):
            prepare = gr.Button("List all of them in a file")
            download = gr.DownloadButton("Download left_out.csv", variant="primary", visible=False)
    with gr.Accordion("A look at the data", open=True, visible=False) as looking:
        charts = gr.HTML()
    with gr.Row(elem_classes="rm-onward"):
        train = gr.Button("Train on these judgements →", visible=False, elem_classes="rm-next")
        onward = gr.Button("Next: write the question →", variant="primary", visible=False, elem_classes="rm-next")

    table_view = [about, stop, preview, saving]
    saved_view = [outcome, left_out, dropped, prepare, download, looking, charts, train, onward]

    def show_table(session: Session) -> list[Any]:
        project = studio.project(session)
        first = tables.first_rows(project.table, 20) if project else None
        job = jobs.read(load_job(project)) if project else jobs.JobStatus()
        if job.title == WRITING:  # that is shown where it was begun
            job = jobs.JobStatus()
        running = job.state == "running"
        told = widgets.job(job, "rows")
        if project is None or first is None:
            hint = widgets.empty(
                "Nothing loaded yet",
                "Choose a source. A table needs prompts, and two or more answers to each.",
            )
            return [told + hint, gr.update(visible=running), gr.update(visible=False), gr.update(visible=False)]
        return [
            told + _about(project, len(columns_of(first))),
            gr.update(visible=running),
            gr.update(value=tables.preview(first), visible=True),
            gr.update(visible=True),
        ]

    def show_saved(session: Session) -> list[Any]:
        project = studio.project(session)
        comparisons = cached_frame(project.comparisons) if project else None
        if project is None or comparisons is None:
            hidden = gr.update(visible=False)
            return ["", hidden, gr.update(), gr.update(), hidden, hidden, "", hidden, hidden]
        ledger = (read_json(project.ledger) or {}).get("comparisons")
        rows = widgets.ledger_rows(ledger)
        mapping = project.info.mapping
        judged = bool(mapping and mapping.is_judged and project.pairs.exists())
        return [
            widgets.ledger(ledger, "kept") + _judged(project, judged),
            gr.update(visible=bool(rows), label=f"Rows left out ({len(rows):,} listed)"),
            rows,
            gr.update(visible=project.left_out.exists()),
            _ready(project),
            gr.update(visible=True),
            _charts(project.comparisons, stamp(project.comparisons)),
            gr.update(visible=judged),
            gr.update(visible=True, value="Ask people again →" if judged else "Next: write the question →"),
        ]

    @friendly
    def save_mapping(session: Session, *values: Any) -> list[Any]:
        project = studio.require_project(session)
        chosen, selection = settings(*values)

        def work(job: Job) -> str:
            return flow.save_comparisons(project, chosen, selection, job)

        jobs.start(load_job(project), "Making comparisons", work).join(AT_ONCE_S)
        job = jobs.read(load_job(project))
        if job.state == "done":
            gr.Info(job.message, duration=4)
        return [*show_table(session), *show_saved(session)]

    @friendly
    def give_rows(session: Session) -> Any:
        project = studio.require_project(session)
        copy = _copy_of_left_out(project)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(project.left_out, copy)
        return _ready(project)

    def ask_to_stop(session: Session) -> None:
        if project := studio.project(session):
            jobs.stop(load_job(project))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    save.click(save_mapping, [studio.session, *mapping.fields], [*table_view, *saved_view], api_visibility="private")
    prepare.click(give_rows, studio.session, download, api_visibility="private")
    stop.click(ask_to_stop, studio.session, None, **quiet)
    gr.on([studio.table_token.change, studio.loading_token.change], show_table, studio.session, table_view, **quiet)
    studio.data_token.change(show_saved, studio.session, saved_view, **quiet)
    return DataTab(onward, train)


def _about(project: Project, columns: int) -> str:
    info = project.info
    known = (read_json(project.ledger) or {}).get("table") or {}
    head = widgets.facts(
        [
            ("rows", f"{tables.n_rows(project.table):,}"),
            ("columns", str(columns)),
            ("source", info.source.label if info.source else "–"),
        ]
    )
    how = widgets.small(f"Read as {known['how']}.") if known.get("how") else ""
    return head + how + "".join(widgets.note(note, "warn") for note in known.get("notes", []))


@functools.lru_cache(maxsize=4)
def _charts(path: Path, version: tuple[int, int]) -> str:
    """The charts, drawn once for as long as the comparisons stay as they are."""
    comparisons = cached_frame(path)
    return "" if comparisons is None else "".join(map(widgets.bars, look.charts(comparisons)))


def _copy_of_left_out(project: Project) -> Path:
    """Where the list to download lies: of the project's folder nothing is served, but Gradio's own may be."""
    folder = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    return folder / "rm-studio-left-out" / project.slug / "left_out.csv"


def _ready(project: Project) -> Any:
    """The button to download the list, for as long as the list is of these comparisons."""
    copy = _copy_of_left_out(project)
    if copy.exists() and stamp(copy) == stamp(project.left_out):
        return gr.update(value=str(copy), visible=True)
    return gr.update(value=None, visible=False)


def _judged(project: Project, judged: bool) -> str:
    if not judged:
        return ""
    count = ((read_json(project.ledger) or {}).get("pairs") or {}).get("kept", 0)
    return widgets.note(
        f"The data carries judgements: {count:,} comparisons are ready to train on. Or publish them, to hear what your "
        "own people say.",
        "good",
    )
