"""The Train tab: choose settings, start, watch, stop; past runs and what they reached."""

from typing import Any, NamedTuple

import gradio as gr
import pandas as pd

from rm_studio import flow, models
from rm_studio.config import BUILTIN_MODEL, TrainConfig, parse_settings
from rm_studio.training import device, metrics, queue, runs
from rm_studio.ui import theme, widgets
from rm_studio.ui.session import Session, Studio, friendly

FIELDS = TrainConfig.model_fields
SUGGESTED = [BUILTIN_MODEL, "distilbert/distilroberta-base", "answerdotai/ModernBERT-base", "Qwen/Qwen3-0.6B"]


CHARTS = (
    "Loss is how wrong the model is: lower is better, and 0.69 is a coin toss. Held-out accuracy is how often it "
    "prefers the answer that people chose, on prompts it does not learn from."
)


class TrainTab(NamedTuple):
    back: gr.Button
    next: gr.Button


def train_tab(studio: Studio) -> TrainTab:
    """Lay out the tab and wire it."""
    gr.HTML(
        widgets.heading(
            "Train",
            "The model reads your pairs and learns to score the answer that people chose above the one they did not.",
        ),
    )
    waiting = gr.HTML()
    back = gr.Button("← Go to Annotate", visible=False, elem_classes="rm-act")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            base_model = gr.Dropdown(
                SUGGESTED,
                allow_custom_value=True,
                label=FIELDS["base_model"].title,
                info=FIELDS["base_model"].description,
            )
            with gr.Row():
                epochs = _number("epochs")
                learning_rate = gr.Textbox(
                    label=FIELDS["learning_rate"].title,
                    info=FIELDS["learning_rate"].description,
                    min_width=140,
                )
            with gr.Row():
                batch_size = _number("batch_size", precision=0)
                max_length = _number("max_length", precision=0)
            test_share = gr.Slider(
                0.05, 0.5, step=0.05, label=FIELDS["test_share"].title, info=FIELDS["test_share"].description
            )
            where = gr.HTML(widgets.note("Looking for what training can run on …"))
            with gr.Row():
                start = gr.Button("Start training", variant="primary")
                stop = gr.Button("Stop and keep", variant="stop", visible=False)
        with gr.Column(scale=3, min_width=320):
            chosen = gr.Dropdown([], label="Run", info="The newest is on top; earlier ones stay.", visible=False)
            state = gr.HTML()
            reading = gr.HTML()
            meaning = gr.HTML(widgets.small(CHARTS), visible=False)
            loss = _plot("Loss", "loss", ".2f")
            accuracy = _plot("Held-out accuracy", "accuracy", ".0%")
            table = gr.Dataframe(
                headers=["Step", "Training loss", "Validation loss", "Accuracy"],
                label="Step by step",
                interactive=False,
                visible=False,
                max_height=280,
            )
    with gr.Accordion("Past runs", open=True, visible=False) as past:
        past_table = gr.Dataframe(
            headers=[
                "Run",
                "State",
                "Held-out accuracy",
                "95 % interval",
                "Longer answer wins",
                "Pairs learned from",
                "Time",
            ],
            label="All runs of this project",
            interactive=False,
            wrap=True,
        )
    onward = gr.Button("Next: try it →", variant="primary", visible=False, elem_classes="rm-next")
    shown_for = gr.State(None)
    form = {
        base_model: "base_model",
        epochs: "epochs",
        learning_rate: "learning_rate",
        batch_size: "batch_size",
        max_length: "max_length",
        test_share: "test_share",
    }

    def show_form(session: Session, shown_for: str | None) -> list[Any]:
        """The settings of the newest run, so that a page reloaded in the middle shows what is running."""
        if session.project == shown_for:  # what is being typed stays
            return [gr.skip()] * (len(form) + 1)
        project = studio.project(session)
        past = runs.list_runs(project.runs) if project else []
        config = past[0].config if past else TrainConfig()
        if not past and not models.builtin_available():
            config = config.model_copy(update={"base_model": SUGGESTED[1]})
        values = config.model_dump()
        values["learning_rate"] = f"{config.learning_rate:g}"
        return [*(values[name] for name in form.values()), session.project]

    def show_run(session: Session) -> list[Any]:
        project = studio.project(session)
        every = runs.list_runs(project.runs) if project else []
        run = studio.run(session) or (every[0] if every else None)
        n_pairs = _count(project.pairs) if project else 0
        lead = (
            ""
            if n_pairs
            else widgets.empty("No preference pairs yet", "Pull feedback, or use existing feedback, first.")
        )
        head: list[Any] = [lead, gr.update(visible=not n_pairs)]
        if run is None:
            hint = (
                widgets.empty("No run yet", f"{n_pairs:,} preference pairs are ready. Press “Start training”.")
                if n_pairs
                else ""
            )
            hidden = gr.update(visible=False)
            return [
                *head,
                gr.update(interactive=bool(n_pairs)),
                hidden,
                hidden,
                hint,
                "",
                *[hidden] * 4,
                hidden,
                gr.update(),
                hidden,
            ]
        status, rows = run.status(), run.metrics
        active = any(other.status().is_active for other in every)
        steps = metrics.tutorial_table(rows)
        report = run.report
        choices = [(other.label, other.id) for other in every]
        return [
            *head,
            gr.update(interactive=bool(n_pairs) and not active),
            gr.update(visible=status.is_active, interactive=status.state != "stopping"),
            gr.update(choices=choices, value=run.id, visible=True),
            widgets.run_status(status),
            widgets.measured(report),
            gr.update(visible=len(steps) > 1),
            gr.update(value=_points(rows, "loss"), visible=len(steps) > 1),
            gr.update(value=_points(rows, "accuracy", ("eval",)), visible=len(steps) > 1),
            gr.update(value=_rounded(steps), visible=bool(len(steps))),
            gr.update(visible=True),
            [_row(other) for other in every],
            gr.update(visible=any(other.has_model for other in every)),
        ]

    @friendly
    def begin(session: Session, *values: Any) -> Session:
        project = studio.require_project(session)
        named = dict(zip(form.values(), values, strict=True))
        named["base_model"] = (named["base_model"] or "").strip()
        config = parse_settings(TrainConfig, named)
        run = queue.submit(studio.workspace, project.runs, config, flow.require_pairs(project))
        return session.model_copy(update={"run": run.id})

    @friendly
    def halt(session: Session) -> list[Any]:
        project = studio.require_project(session)
        for run in runs.list_runs(project.runs):
            run.stop()
        return show_run(session)

    def choose(session: Session, run_id: str) -> Session:
        return session.model_copy(update={"run": run_id})

    def show_device() -> str:
        found = device.describe()
        return widgets.note(
            found.sentence if found else "Training is not possible: torch could not be loaded.",
            "info" if found else "bad",
        )

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    run_view = [
        waiting,
        back,
        start,
        stop,
        chosen,
        state,
        reading,
        meaning,
        loss,
        accuracy,
        table,
        past,
        past_table,
        onward,
    ]
    start.click(begin, [studio.session, *form], studio.session, **quiet)
    stop.click(halt, studio.session, run_view, **quiet)
    chosen.input(choose, [studio.session, chosen], studio.session, **quiet)
    studio.session.change(show_form, [studio.session, shown_for], [*form, shown_for], **quiet)
    gr.on([studio.runs_token.change, studio.session.change], show_run, studio.session, run_view, **quiet)
    gr.on([studio.session.change], show_device, None, where, **quiet)
    return TrainTab(back, onward)


def _number(field: str, precision: int | None = None) -> gr.Number:
    info = FIELDS[field]
    return gr.Number(label=info.title, info=info.description, precision=precision, min_width=140)


def _plot(title: str, value: str, axis: str) -> gr.LinePlot:
    return gr.LinePlot(
        x="Step",
        y=value.capitalize(),
        color="Measured on",
        color_map={"training pairs": theme.TRAIN_COLOUR, "held-out pairs": theme.HELD_OUT_COLOUR},
        title=title,
        y_axis_format=axis,
        x_title="Step",
        y_title=value.capitalize(),
        height=240,
        visible=False,
        show_label=False,
        tooltip="all",
    )


def _points(rows: pd.DataFrame, value: str, splits: tuple[str, ...] = ("train", "eval")) -> pd.DataFrame:
    """One measure as the chart wants it."""
    shown = rows[rows["split"].isin(splits) & rows[value].notna()]
    names = {"train": "training pairs", "eval": "held-out pairs"}
    return pd.DataFrame(
        {
            "Step": shown["step"],
            value.capitalize(): shown[value].round(4),
            "Measured on": shown["split"].map(names),
        }
    )


def _rounded(steps: pd.DataFrame) -> list[list[str]]:
    return [
        [str(step), "–" if pd.isna(train) else f"{train:.4f}", f"{held_out:.4f}", f"{accuracy:.1%}"]
        for step, train, held_out, accuracy in steps.itertuples(index=False)
    ]


def _row(run: runs.Run) -> list[str]:
    status, report = run.status(), run.report
    if report is None:
        return [run.label, runs.STATES[status.state], "–", "–", "–", "–", widgets.duration(status.elapsed_s)]
    accuracy = report["accuracy"]
    return [
        run.label,
        runs.STATES[status.state],
        f"{accuracy['value']:.1%} of {accuracy['n']}",
        f"{accuracy['low']:.0%} to {accuracy['high']:.0%}",
        f"{report['longer_wins']['value']:.0%}",
        f"{report['n_train_pairs']:,}",
        widgets.duration(status.elapsed_s),
    ]


def _count(path: Any) -> int:
    import pyarrow.parquet as pq

    return int(pq.ParquetFile(path).metadata.num_rows) if path.exists() else 0
