"""All runs of a project: list, compare, name, note, copy settings, repeat elsewhere, delete."""

import functools
from pathlib import Path
from typing import Any

import gradio as gr

from rm_studio.errors import TrainingError
from rm_studio.settings import parse_settings
from rm_studio.training import launchers, runs
from rm_studio.training.config import TrainConfig
from rm_studio.ui import widgets
from rm_studio.ui.session import Session, Studio, friendly
from rm_studio.workspace import read_json, stamp

HEADERS = [
    "Run",
    "State",
    "Held-out accuracy",
    "95 % interval",
    "Longer answer wins",
    "Pairs learned from",
    "Data",
    "Time",
    "Size",
]


def runs_view(studio: Studio, fields: list[str]) -> gr.State:
    """Lay out the list of runs and wire it; returns a state that takes settings to be copied to the form."""
    copied = gr.State(None)
    with gr.Accordion("All runs of this project", open=True, visible=False) as part:
        table = gr.Dataframe(headers=HEADERS, label="All runs of this project", interactive=False, wrap=True)
        gr.HTML(widgets.small("“Data” names the pairs that a run learned from: the same name, the same pairs."))
        with gr.Row():
            compare = gr.Dropdown([], multiselect=True, label="Compare the settings of", min_width=320)
            only_differences = gr.Checkbox(True, label="Show differences only", min_width=180)
        settings = gr.Dataframe(label="Settings side by side", interactive=False, wrap=True, visible=False)
        one = gr.Dropdown([], label="With one run", info="Name it, copy its settings, repeat it elsewhere, delete it.")
        with gr.Row(equal_height=False):
            name = gr.Textbox(
                label=runs.RunInfo.model_fields["name"].title, info=runs.RunInfo.model_fields["name"].description
            )
            note = gr.Textbox(
                label=runs.RunInfo.model_fields["note"].title,
                info=runs.RunInfo.model_fields["note"].description,
                lines=2,
            )
        with gr.Row(elem_classes="rm-buttons"):
            save = gr.Button("Save name and note", min_width=150)
            copy = gr.Button("Copy settings to a new run", min_width=190)
            delete = gr.Button("Delete this run …", variant="stop", min_width=140)
        with gr.Group(visible=False) as sure:
            what = gr.HTML()
            with gr.Row():
                really = gr.Button("Delete for good", variant="stop")
                keep = gr.Button("Cancel")
        with gr.Accordion("Repeat it elsewhere: the command, and files for a cluster", open=False):
            line = gr.Code(label="On any machine, beside the run’s pairs.parquet", language="shell", interactive=False)
            slurm = gr.Code(label="SLURM: train.sbatch", language="shell", interactive=False)
            sky = gr.Code(label="SkyPilot: train.yaml", language="yaml", interactive=False)
            config = gr.Code(label="The run’s config.json", language="json", interactive=False)

    def listed(session: Session) -> list[runs.Run]:
        project = studio.project(session)
        return runs.list_runs(project.runs) if project else []

    def find(session: Session, run_id: str | None) -> runs.Run:
        run = next((run for run in listed(session) if run.id == run_id), None)
        if run is None:
            raise TrainingError("Choose a run first.")
        return run

    def show(session: Session, chosen: str | None, compared: list[str] | None) -> list[Any]:
        every = listed(session)
        choices = [(run.label, run.id) for run in every]
        ids = [run.id for run in every]
        return [
            gr.update(visible=bool(every)),
            [_row(run) for run in every],
            gr.update(choices=choices, value=[run_id for run_id in compared or [] if run_id in ids]),
            gr.update(choices=choices, value=chosen if chosen in ids else (ids[0] if ids else None)),
        ]

    def show_one(session: Session, run_id: str | None) -> list[Any]:
        run = next((run for run in listed(session) if run.id == run_id), None)
        if run is None:
            return ["", "", "", "", "", "", gr.update(visible=False)]
        info, settings = run.info, run.config
        shown = {**(read_json(run.config_file) or {}), "base_model": widgets.short_model(settings.base_model)}
        return [
            info.name,
            info.note,
            launchers.repeat_command(settings),
            launchers.slurm_file(settings),
            launchers.skypilot_file(settings),
            TrainConfig.model_validate(shown).model_dump_json(indent=2),
            gr.update(visible=False),
        ]

    def side_by_side(session: Session, run_ids: list[str] | None, only_differences: bool) -> Any:
        chosen = [run for run in listed(session) if run.id in (run_ids or [])]
        if not chosen:
            return gr.update(visible=False)
        rows = []
        for field, info in TrainConfig.model_fields.items():
            values = [_value(run.config, field) for run in chosen]
            if not only_differences or len(set(values)) > 1:
                rows.append([info.title, *values])
        for title, value in (("Data", lambda run: run.snapshot), ("Held-out accuracy", lambda run: _row(run)[2])):
            rows.append([title, *(value(run) for run in chosen)])
        headers = ["Setting", *(run.label for run in chosen)]
        return gr.update(value={"headers": headers, "data": rows}, visible=True)

    @friendly
    def describe(session: Session, run_id: str | None, name: str, note: str) -> None:
        find(session, run_id).describe(parse_settings(runs.RunInfo, {"name": name.strip(), "note": note.strip()}))
        gr.Info("Saved.")

    @friendly
    def copy_settings(session: Session, run_id: str | None) -> dict[str, Any]:
        gr.Info("The settings are in the form above. Change what you like, then start.")
        return find(session, run_id).config.model_dump()

    @friendly
    def ask(session: Session, run_id: str | None) -> list[Any]:
        run = find(session, run_id)
        words = (
            f"Delete “{run.label}” with its model? This frees {run.size_bytes() / 1e6:,.0f} MB and cannot be undone."
        )
        return [gr.update(visible=True), widgets.note(words, "warn")]

    @friendly
    def remove(session: Session, run_id: str | None) -> list[Any]:
        find(session, run_id).delete()
        return [gr.update(visible=False), session.model_copy(update={"run": None}), *show(session, None, None)]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    view = [part, table, compare, one]
    of_one = [name, note, line, slurm, sky, config, sure]
    gr.on([studio.runs_token.change, studio.session.change], show, [studio.session, one, compare], view, **quiet)
    one.change(show_one, [studio.session, one], of_one, **quiet)
    gr.on(
        [compare.change, only_differences.input],
        side_by_side,
        [studio.session, compare, only_differences],
        settings,
        **quiet,
    )
    save.click(describe, [studio.session, one, name, note], None, **quiet)
    copy.click(copy_settings, [studio.session, one], copied, **quiet)
    delete.click(ask, [studio.session, one], [sure, what], **quiet)
    keep.click(lambda: gr.update(visible=False), None, sure, **quiet)
    really.click(remove, [studio.session, one], [sure, studio.session, *view], **quiet)
    return copied


def _row(run: runs.Run) -> list[str]:
    status, report = run.status(), run.report
    end = [
        run.snapshot,
        widgets.duration(status.elapsed_s),
        f"{_size(run.folder, stamp(run.status_file)) / 1e6:,.0f} MB",
    ]
    if report is None:
        return [run.label, runs.STATES[status.state], "–", "–", "–", "–", *end]
    accuracy = report["accuracy"]
    return [
        run.label,
        runs.STATES[status.state],
        f"{accuracy['value']:.1%} of {accuracy['n']}",
        f"{accuracy['low']:.0%} to {accuracy['high']:.0%}",
        f"{report['longer_wins']['value']:.0%}",
        f"{report['n_train_pairs']:,}",
        *end,
    ]


@functools.lru_cache(maxsize=512)
def _size(folder: Path, changed: tuple[int, int]) -> int:
    """What a run takes; looked for again only when its status has changed."""
    return runs.Run(folder).size_bytes()


def _value(config: TrainConfig, field: str) -> str:
    value = getattr(config, field)
    if field == "base_model":
        return widgets.short_model(value)
    return (
        {True: "yes", False: "no"}[value]
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
