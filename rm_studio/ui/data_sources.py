"""Where the rows come from: files, the Hub, the clipboard, the sample. A part of the Data tab."""

from pathlib import Path
from typing import Any

import gradio as gr

from rm_studio import data, flow, jobs, share, tables
from rm_studio.config import DataSource
from rm_studio.errors import DataError, HubError
from rm_studio.jobs import Job
from rm_studio.tables import hub
from rm_studio.ui import widgets
from rm_studio.ui.session import Session, Studio, friendly, load_job

FIELDS = DataSource.model_fields
KINDS = {"Files": "file", "Hugging Face": "hub", "Paste a table": "paste", "The sample": "sample"}
FETCH_S = 60.0  # a shared project is small; afterwards the forms are filled in anew
AT_ONCE_S = 1.5  # what takes no longer is shown without a progress bar
FEWEST_LETTERS = 3  # before a search begins


def sources_view(studio: Studio, shown: gr.HTML, preview: gr.Dataframe) -> None:
    """Lay out the choice of a source and wire it; ``shown`` and ``preview`` say what was read."""
    source = gr.Radio(list(KINDS), value="Files", label="Where are your prompts and answers?")
    with gr.Column(visible=True) as file_group:
        files = gr.File(
            label="CSV, TSV, JSON, JSONL, Parquet, Excel; one or several",
            file_types=list(tables.FILE_TYPES),
            file_count="multiple",
            height=140,
        )
    with gr.Column(visible=False) as hub_group:
        known = gr.Dropdown(
            [("none of them", ""), *((example.title, example.source.name) for example in data.EXAMPLES)],
            value="",
            label="Well-known sets",
            info="Choose one to fill in its name, or search below.",
        )
        name = gr.Textbox(
            label="Dataset", placeholder="owner/name, or words to search for", info="Searched as you type."
        )
        found = gr.Radio([], label="Found on the Hub, the most downloaded first", visible=False)
        search_note = gr.HTML()
        token = gr.Textbox(
            label="Access token (only if private or gated)",
            type="password",
            info="Used for this one download and kept nowhere.",
        )
        with gr.Row():
            config = gr.Dropdown(
                [], label=FIELDS["config"].title, info=FIELDS["config"].description, allow_custom_value=True
            )
            split = gr.Dropdown(
                ["train"],
                value="train",
                label=FIELDS["split"].title,
                info=FIELDS["split"].description,
                allow_custom_value=True,
            )
        with gr.Row():
            look = gr.Button("Look inside first", size="sm")
            load_hub = gr.Button("Load", variant="primary", size="sm")
            take_over = gr.Button("Go on from a shared project", size="sm")
    with gr.Column(visible=False) as paste_group:
        text = gr.Textbox(
            label="The table",
            info="Copy cells from a spreadsheet, headings included, and paste them here. CSV and JSON do as well.",
            lines=6,
            max_lines=12,
        )
        load_text = gr.Button("Load", variant="primary", size="sm")
    with gr.Column(visible=False) as sample_group:
        gr.HTML(
            widgets.note(
                "84 prompts from support, writing, explaining, summarising, coding, health and safety, each with four "
                "answers of different quality, written for this app."
            )
        )
        load_sample = gr.Button("Load the sample", variant="primary", size="sm")
    with gr.Accordion("Only a part of it", open=False):
        limit = gr.Number(0, precision=0, minimum=0, label=FIELDS["limit"].title, info=FIELDS["limit"].description)
        sampled = gr.Checkbox(False, label=FIELDS["sampled"].title, info=FIELDS["sampled"].description)

    def load(session: Session, source: DataSource, *paths: Path, text: str = "", token: str = "") -> str:
        project = studio.require_project(session)

        def work(job: Job) -> str:
            flow.load_table(project, source, *paths, text=text, token=token.strip() or None, job=job)
            return f"{tables.n_rows(project.table):,} rows were read."

        jobs.start(load_job(project), "Reading", work).join(AT_ONCE_S)
        return widgets.job(jobs.read(load_job(project)), "rows")

    @friendly
    def load_files(session: Session, paths: list[str] | None, limit: float, sampled: bool) -> Any:
        if not paths:
            return gr.skip()
        names = [Path(path).name for path in paths]
        called = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        part = DataSource(kind="file", name=called, limit=int(limit or 0), sampled=sampled)
        return load(session, part, *map(Path, paths))

    @friendly
    def load_dataset(
        session: Session, name: str, config: str | None, split: str | None, token: str, limit: float, sampled: bool
    ) -> list[Any]:
        part = _dataset(name, config, split).model_copy(update={"limit": int(limit or 0), "sampled": sampled})
        return [load(session, part, token=token), ""]

    @friendly
    def go_on_from(session: Session, name: str, token: str) -> list[Any]:
        project = studio.require_project(session)

        def work(job: Job) -> str:
            job.say("Fetching the project …")
            return share.start_from(project, name.strip(), token.strip() or None)

        jobs.start(load_job(project), "Fetching", work).join(FETCH_S)
        fresh = session.model_copy(update={"replaced": session.replaced + 1})
        return [widgets.job(jobs.read(load_job(project)), "rows"), "", fresh]

    @friendly
    def load_pasted(session: Session, text: str, limit: float, sampled: bool) -> str:
        part = DataSource(kind="paste", name="pasted", limit=int(limit or 0), sampled=sampled)
        return load(session, part, text=text)

    @friendly
    def load_the_sample(session: Session) -> str:
        return load(session, DataSource(kind="sample", name="sample"))

    def search(words: str) -> list[Any]:
        words = words.strip()
        if len(words) < FEWEST_LETTERS or hub.DATASET_NAME.fullmatch(words):
            return [gr.update(visible=False), ""]
        try:
            listed = hub.search(words)
        except HubError as error:
            return [gr.update(visible=False), widgets.note(str(error), "warn")]
        choices = [
            (f"{item.name} · {item.downloads:,} downloads{' · needs a token' if item.is_gated else ''}", item.name)
            for item in listed
        ]
        nothing = "" if listed else widgets.small("Nothing was found. The Hub looks for these words in names.")
        return [gr.update(choices=choices, value=None, visible=bool(listed)), nothing]

    @friendly
    def look_inside(name: str, config: str | None, split: str | None, token: str) -> list[Any]:
        source = _dataset(name, config, split)
        there = hub.parts(source.name, token.strip() or None)
        subset = source.config if source.config in there.splits else next(iter(there.splits), None)
        splits = there.splits.get(subset or "", [])
        part = source.split if source.split in splits else next(iter(splits), "train")
        seen = DataSource(kind="hub", name=source.name, config=subset, split=part, revision=there.revision)
        rows = hub.first_rows(seen, token.strip() or None)
        told = f"The first {len(rows)} rows of “{part}”, streamed: nothing is loaded into the project yet."
        return [
            gr.update(choices=list(there.splits), value=subset),
            gr.update(choices=splits or ["train"], value=part),
            widgets.note(told),
            gr.update(value=tables.preview(rows), visible=True),
        ]

    @friendly
    def pick(name: str | None) -> Any:
        if not name:
            raise DataError("Choose a dataset in the list.")
        return name

    @friendly
    def pick_known(name: str) -> Any:
        example = next((known for known in data.EXAMPLES if known.source.name == name), None)
        return [example.source.name, example.source.config, example.source.split] if example else gr.skip()

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    loud: dict[str, Any] = {"show_progress_on": shown, "api_visibility": "private"}
    source.change(
        lambda choice: [gr.update(visible=KINDS[choice] == kind) for kind in KINDS.values()],
        source,
        [file_group, hub_group, paste_group, sample_group],
        **quiet,
    )
    part = [limit, sampled]
    files.upload(load_files, [studio.session, files, *part], shown, **loud).then(lambda: None, None, files, **quiet)
    load_hub.click(load_dataset, [studio.session, name, config, split, token, *part], [shown, token], **loud)
    take_over.click(go_on_from, [studio.session, name, token], [shown, token, studio.session], **loud)
    load_text.click(load_pasted, [studio.session, text, *part], shown, **loud)
    load_sample.click(load_the_sample, studio.session, shown, **loud)
    known.input(pick_known, known, [name, config, split], **quiet)
    name.input(search, name, [found, search_note], trigger_mode="always_last", **quiet)
    found.input(pick, found, name, **quiet)
    look.click(look_inside, [name, config, split, token], [config, split, shown, preview], **loud)


def _dataset(name: str, config: str | None, split: str | None) -> DataSource:
    return DataSource(
        kind="hub", name=name.strip(), config=(config or "").strip() or None, split=(split or "").strip() or "train"
    )
