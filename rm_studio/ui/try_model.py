"""The Try tab: score two answers to a prompt with a trained model."""

import threading
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from rm_studio import evaluation
from rm_studio.errors import ModelError
from rm_studio.preferences import split_by_prompt
from rm_studio.scoring import RewardModel, load_reward_model
from rm_studio.tables import shorten
from rm_studio.training import runs
from rm_studio.ui import widgets
from rm_studio.ui.session import Session, Studio, friendly

EXAMPLES = 30


class TryTab(NamedTuple):
    back: gr.Button


class OpenModel:
    """The one model that is in memory: the last that was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._model: RewardModel | None = None

    def get(self, folder: Path) -> RewardModel:
        with self._lock:
            if self._model is None or self._folder != folder:
                self._model, self._folder = load_reward_model(folder), folder
            return self._model


def try_tab(studio: Studio) -> TryTab:
    """Lay out the tab and wire it."""
    gr.HTML(
        widgets.heading(
            "Try",
            "Give the model a prompt and two answers, and see which it prefers. Try to fool it: that "
            "shows what it has learned.",
        ),
    )
    waiting = gr.HTML()
    back = gr.Button("← Go to Train", visible=False, elem_classes="rm-act")
    opened = OpenModel()
    with gr.Column(visible=False) as body:
        with gr.Row():
            run = gr.Dropdown([], label="Model", info="The runs of this project that ended with a model.")
            example = gr.Dropdown(
                [],
                label="Pick a prompt (optional)",
                info="From the held-out pairs, which the model has never seen.",
                value=None,
            )
        measured = gr.HTML()
        prompt = gr.Textbox(label="Prompt", lines=2, max_lines=8, placeholder="What a person asks …")
        with gr.Row():
            first = gr.Textbox(label="Answer 1", lines=6, max_lines=16, min_width=280)
            second = gr.Textbox(label="Answer 2", lines=6, max_lines=16, min_width=280)
        score = gr.Button("Compare the two answers", variant="primary", elem_classes="rm-act")
        result = gr.HTML()

    def show(session: Session) -> list[Any]:
        project = studio.project(session)
        ready = [found for found in runs.list_runs(project.runs) if found.has_model] if project else []
        if not ready:
            going = any(found.status().is_active for found in runs.list_runs(project.runs)) if project else False
            words = (
                "Training is under way; this tab opens when it ends."
                if going
                else "Train one first: it takes a few minutes."
            )
            return [
                widgets.empty("No trained model yet", words),
                gr.update(visible=True),
                gr.update(visible=False),
                gr.update(),
            ]
        choices = [(found.label, found.id) for found in ready]
        ids = [found.id for found in ready]
        value = session.run if session.run in ids else ids[0]
        return [
            "",
            gr.update(visible=False),
            gr.update(visible=True),
            gr.update(choices=choices, value=value),
        ]

    def choose(session: Session, run_id: str) -> Session:
        return session.model_copy(update={"run": run_id})

    def show_examples(session: Session, run_id: str | None) -> list[Any]:
        found = _find(studio, session, run_id)
        prompts = _held_out(found)["prompt"][:EXAMPLES] if found else []
        choices = [(shorten(text, 70), index) for index, text in enumerate(prompts)]
        told = widgets.measured(found.report) if found else ""
        return [gr.update(choices=choices, value=None), "", told]  # a verdict belongs to the model that gave it

    def fill(session: Session, run_id: str | None, index: int | None) -> list[Any]:
        found = _find(studio, session, run_id)
        if found is None or index is None:
            return [gr.update()] * 4
        pair = _held_out(found).iloc[index]
        # Which side the chosen answer is on must not give it away.
        answers = [pair["chosen"], pair["rejected"]]
        answers = answers if int(pair["comparison_id"], 16) % 2 else answers[::-1]
        return [pair["prompt"], *answers, ""]

    @friendly
    def compare(session: Session, run_id: str | None, prompt: str, first: str, second: str) -> str:
        found = _find(studio, session, run_id)
        if found is None or not found.has_model:
            raise ModelError("Choose a trained model first.")
        if not prompt.strip() or not first.strip() or not second.strip():
            raise ModelError("Write a prompt and both answers first: the model compares two answers to one prompt.")
        scores = opened.get(found.model_folder).score([prompt, prompt], [first, second])
        one, other = (float(value) for value in scores.values)
        return widgets.verdict([one, other], float(evaluation.probability(one - other)), any(scores.shortened))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on(
        [studio.runs_token.change, studio.session.change],
        show,
        studio.session,
        [waiting, back, body, run],
        **quiet,
    )
    run.change(show_examples, [studio.session, run], [example, result, measured], **quiet)
    run.input(
        lambda session, run_id: session.model_copy(update={"run": run_id}),
        [studio.session, run],
        studio.session,
        **quiet,
    )
    example.input(fill, [studio.session, run, example], [prompt, first, second, result], **quiet)
    score.click(compare, [studio.session, run, prompt, first, second], result, api_visibility="private")
    return TryTab(back)


def _find(studio: Studio, session: Session, run_id: str | None) -> runs.Run | None:
    project = studio.project(session)
    return runs.find_run(project.runs, run_id) if project and run_id else None


def _held_out(run: runs.Run) -> Any:
    """The run's held-out pairs, one a prompt."""
    config = run.config
    test = split_by_prompt(runs.pairs_of(run), config.test_share, config.seed).test
    return test.drop_duplicates("prompt").reset_index(drop=True)
