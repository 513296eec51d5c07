"""The Train tab: choose a base model and a preset, check, start.

The run itself is in `train_run`, all runs of the project are in `train_runs`.
"""

import types
import typing
from typing import Any, Literal, NamedTuple

import gradio as gr
import pandas as pd

from rm_studio import flow, jobs, models
from rm_studio.errors import StudioError
from rm_studio.settings import parse_settings
from rm_studio.training import checks, device, presets, runs
from rm_studio.training.config import TrainConfig
from rm_studio.ui import widgets
from rm_studio.ui.session import Session, Studio, check_job, friendly
from rm_studio.ui.train_run import run_view
from rm_studio.ui.train_runs import runs_view
from rm_studio.workspace import Project, read_frame

FIELDS = TrainConfig.model_fields
SUGGESTED = [models.BUILTIN_MODEL, "distilbert/distilroberta-base", "answerdotai/ModernBERT-base", "Qwen/Qwen3-0.6B"]
OWN = "Own settings"
PRESETS = ["Quick look", "Balanced", "Best", OWN]
# The form's fields, in groups; what is not named here is the base model.
GROUPS = {
    "Learning": [
        "method", "epochs", "learning_rate", "batch_size", "max_length", "test_share", "warmup", "schedule",
        "weight_decay", "lora_rank", "seed",
    ],
    "What counts as better": [
        "soft_labels", "use_strength", "learn_ties", "centering", "label_smoothing",
    ],
    "When to stop, and memory": [
        "early_stopping", "keep_best", "checkpoint_minutes", "tokens_at_once", "gradient_checkpointing",
    ],
    "Several cards or machines": ["processes", "nodes", "sharding"],
}  # fmt: skip
CHOICES = {
    "full": "All weights", "lora": "LoRA: small added matrices", "qlora": "QLoRA: LoRA on a base model in 4 bits",
    "head": "Only the scoring head", "linear": "Falls in a line", "cosine": "Falls in a cosine", "constant": "Stays",
    "copies": "A copy on each", "fsdp": "Spread: FSDP2", "deepspeed": "Spread: DeepSpeed",
}  # fmt: skip

# Done by the page itself: a field that was changed while the server was asked keeps what it was changed to.
FILL_IN = """(suited, ...now) => now.map((value, i) =>
    JSON.stringify(value) === JSON.stringify(suited.seen[i]) ? suited.values[i] : value)"""


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
    form: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            form["base_model"] = gr.Dropdown(
                SUGGESTED,
                allow_custom_value=True,
                label=FIELDS["base_model"].title,
                info=FIELDS["base_model"].description,
            )
            preset = gr.Radio(
                PRESETS,
                label="How thoroughly",
                info="Each fits the settings below to the size of your model and the number of your pairs.",
            )
            means = gr.HTML()
            with gr.Accordion("Advanced: every setting", open=False):
                for title, names in GROUPS.items():
                    gr.HTML(f'<h3 class="rm-side">{title}</h3>')
                    with gr.Row(elem_classes="rm-fields-row"):
                        for name in names:
                            form[name] = _field(name)
            where = gr.HTML(widgets.note("Looking for what training can run on …"))
            with gr.Row():
                start = gr.Button("Start training", variant="primary")
                check = gr.Button("Check first")
                stop_check = gr.Button("Stop the check", visible=False)
            gr.HTML(
                widgets.small("A check tries a few real steps: will it fit into memory, and how long will it take?")
            )
            checking = gr.HTML()
            found = gr.HTML()
        with gr.Column(scale=3, min_width=320):
            view = run_view(studio)
    onward = gr.Button("Next: try it →", variant="primary", visible=False, elem_classes="rm-next")
    copied = runs_view(studio, list(form))
    shown_for = gr.State(None)
    told = gr.State(None)  # the settings as the form now says them, or None where they do not fit
    suited = gr.JSON(visible="hidden")  # what a preset gives, and the fields that it was asked for

    def fill(config: TrainConfig) -> list[Any]:
        values = config.model_dump()
        return [f"{values[name]:g}" if name == "learning_rate" else values[name] for name in form]

    def read(values: tuple[Any, ...]) -> TrainConfig:
        named = dict(zip(form, values, strict=True))
        named["base_model"] = (named["base_model"] or "").strip()
        config: TrainConfig = parse_settings(TrainConfig, named)
        return config

    def show_form(session: Session, shown_for: str | None) -> list[Any]:
        """The settings of the newest run, so that a page reloaded in the middle shows what is running."""
        if session.project == shown_for:  # what is being typed stays
            return [gr.skip()] * (len(form) + 4)
        project = studio.project(session)
        past = runs.list_runs(project.runs) if project else []
        base = models.BUILTIN_MODEL if models.builtin_available() else SUGGESTED[1]
        known = _presets(project, past[0].config.base_model if past else base)
        config = past[0].config if past else known[1].config
        name = next((one.name for one in known if one.config == config), OWN)
        return [*fill(config), name, _meaning(project, config, name), config, session.project]

    def use_preset(session: Session, name: str, *values: Any) -> Any:
        base_model = (dict(zip(form, values, strict=True))["base_model"] or "").strip()
        if name == OWN or not base_model:
            return {"values": values, "seen": values}
        chosen = next(one for one in _presets(studio.project(session), base_model) if one.name == name)
        return {"values": fill(chosen.config), "seen": values}

    def explain(session: Session, name: str, *values: Any) -> list[Any]:
        try:
            config = read(values)
            return [_meaning(studio.project(session), config, name), config]
        except StudioError as error:
            return [widgets.note(str(error), "warn"), None]

    def show_start(session: Session, config: TrainConfig | None) -> list[Any]:
        project = studio.project(session)
        n_pairs = _count(project) if project else 0
        lead = (
            ""
            if n_pairs
            else widgets.empty("No preference pairs yet", "Pull feedback first, or load data that is judged already.")
        )
        every = runs.list_runs(project.runs) if project else []
        status = jobs.read(check_job(project)) if project else jobs.JobStatus()
        running = status.state == "running"
        going = any(run.status().is_active for run in every)
        return [
            lead,
            gr.update(visible=not n_pairs),
            gr.update(interactive=bool(n_pairs), value="Add to the queue" if going else "Start training"),
            gr.update(interactive=bool(n_pairs) and not running),
            gr.update(visible=running),
            widgets.job(status, "") if status.state in ("running", "failed", "interrupted") else "",
            _findings(project, config),
            gr.update(visible=any(run.has_model for run in every)),
        ]

    @friendly
    def begin(session: Session, *values: Any) -> Session:
        project = studio.require_project(session)
        run = flow.start_training(studio.workspace, project, read(values))
        return session.model_copy(update={"run": run.id})

    @friendly
    def begin_check(session: Session, *values: Any) -> None:
        project, config = studio.require_project(session), read(values)
        jobs.start(check_job(project), "Checking", lambda job: flow.check(project, config, job))

    @friendly
    def end_check(session: Session) -> None:
        jobs.stop(check_job(studio.require_project(session)))

    def show_device() -> str:
        known = device.describe()
        return widgets.note(
            known.sentence if known else "Training is not possible: torch could not be loaded.",
            "info" if known else "bad",
        )

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    fields = list(form.values())
    asked = [studio.session, preset, *fields]
    start_view = [waiting, back, start, check, stop_check, checking, found, onward]
    start.click(begin, [studio.session, *fields], studio.session, **quiet)
    check.click(begin_check, [studio.session, *fields], None, **quiet)
    stop_check.click(end_check, studio.session, None, **quiet)
    explained: dict[str, Any] = {"fn": explain, "inputs": asked, "outputs": [means, told], **quiet}
    gr.on([preset.input, form["base_model"].input], use_preset, asked, suited, **quiet).success(
        None, [suited, *fields], fields, js=FILL_IN, **quiet
    ).then(**explained)
    edits = [one.input for name, one in form.items() if name != "base_model"]
    gr.on(edits, lambda: OWN, None, preset, **quiet).then(**explained)
    copied.change(
        lambda config: [*fill(TrainConfig.model_validate(config)), OWN] if config else [gr.skip()] * (len(form) + 1),
        copied,
        [*fields, preset],
        **quiet,
    ).then(**explained)
    studio.session.change(show_form, [studio.session, shown_for], [*fields, preset, means, told, shown_for], **quiet)
    gr.on(
        [studio.runs_token.change, studio.session.change, told.change],
        show_start,
        [studio.session, told],
        start_view,
        **quiet,
    )
    studio.session.change(show_device, None, where, **quiet)
    view.to_annotate.click(lambda: gr.Tabs(selected="annotate"), None, studio.tabs, **quiet)
    return TrainTab(back, onward)


def _field(name: str) -> Any:
    """A form's component for a field of `TrainConfig`, by its type; label, help and bounds are the field's own."""
    info = FIELDS[name]
    shared: dict[str, Any] = {"label": info.title, "info": info.description}
    kind = info.annotation
    if isinstance(kind, types.UnionType):
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is Literal:
        return gr.Dropdown([(CHOICES[value], value) for value in typing.get_args(kind)], min_width=220, **shared)
    if kind is bool:
        return gr.Checkbox(min_width=220, **shared)
    if name == "test_share":
        return gr.Slider(0.05, 0.5, step=0.05, min_width=220, **shared)
    if name == "learning_rate":  # a number field would write 0.0001
        return gr.Textbox(min_width=220, **shared)
    return gr.Number(precision=0 if kind is int else None, min_width=220, **shared)


def _presets(project: Project | None, base_model: str) -> list[presets.Preset]:
    pairs = read_frame(project.pairs) if project else None
    empty = pd.DataFrame({name: pd.Series(dtype=str) for name in ("prompt", "chosen", "rejected")})
    return presets.presets(base_model, _facts(base_model), empty if pairs is None else pairs, device.describe())


_known_facts: dict[str, models.Facts] = {}


def _facts(base_model: str) -> models.Facts | None:
    """What is known of a model; asked again as long as nothing is, since the network may come back."""
    if base_model not in _known_facts and (found := models.facts(base_model)):
        _known_facts[base_model] = found
    return _known_facts.get(base_model)


def _meaning(project: Project | None, config: TrainConfig, name: str) -> str:
    """What a choice will do, how long it will take and how much memory: roughly, until a check has measured."""
    pairs = read_frame(project.pairs) if project else None
    purpose = next((one.purpose for one in _presets(project, config.base_model) if one.name == name), "")
    facts, known = _facts(config.base_model), device.describe()
    if pairs is None or pairs.empty:
        return widgets.small(purpose)
    steps = presets.steps_of(config, len(pairs))
    words = [
        f"{purpose} {steps:,} corrections of {config.batch_size} pairs each, learning rate {config.learning_rate:g}."
    ]
    if facts and known:
        outlook = presets.outlook(config, facts, pairs, known)
        words.append(
            f"Roughly {widgets.duration(outlook.seconds)} and {outlook.memory / 1e9:.1f} GB of memory here "
            f"({max(0.1, facts.parameters / 1e6):,.3g} million weights); a check measures it."
        )
    else:
        words.append("How large this model is could not be found out yet; a check measures time and memory.")
    if config.processes * config.nodes > 1:
        words.append("Several processes share each correction.")
    return widgets.note(" ".join(words).strip())


def _findings(project: Project | None, config: TrainConfig | None) -> str:
    known = flow.last_check(project) if project else None
    if project is None or known is None:
        return ""
    return findings(known, config is not None and known.key == flow.check_key(project, config))


def findings(check: checks.Check, current: bool) -> str:
    """A check's outcome; faint when it was for other settings or pairs."""
    kinds = {"block": "bad", "warn": "warn", "good": "good"}
    order = sorted(check.findings, key=lambda finding: list(kinds).index(finding.level))
    notes = "".join(widgets.note(finding.text, kinds[finding.level]) for finding in order)
    head = "The last check" if current else "The last check was for other settings or pairs"
    figures = ""
    if check.trial:
        trial = check.trial
        figures = widgets.facts(
            [
                ("will take about", widgets.duration(trial.seconds)),
                ("of memory", f"{trial.memory / 1e9:.1f} GB"),
                ("pairs a second", f"{trial.pairs_per_s:,.1f}"),
                ("million weights learn", f"{trial.learning / 1e6:,.1f} of {trial.parameters / 1e6:,.1f}"),
            ]
        )
    return f'<section class="rm-check{"" if current else " rm-old"}"><h4>{head}</h4>{figures}{notes}</section>'


def _count(project: Project) -> int:
    import pyarrow.parquet as pq

    return int(pq.ParquetFile(project.pairs).metadata.num_rows) if project.pairs.exists() else 0
