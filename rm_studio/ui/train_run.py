"""One training run on the Train tab: how it stands, what its curves mean, what can be done with it, its charts."""

import functools
from typing import Any, NamedTuple

import gradio as gr
import pandas as pd

from rm_studio import evaluation, preferences
from rm_studio.errors import TrainingError
from rm_studio.training import doctor, metrics, queue, runs
from rm_studio.ui import widgets
from rm_studio.ui.charts import CHARTS, Options, Series, figure
from rm_studio.ui.session import Session, Studio, friendly
from rm_studio.workspace import Project, read_frame, stamp

MAIN = ("loss", "accuracy")
MORE = tuple(name for name in CHARTS if name not in MAIN)
LOG_LINES = 200
# Says when a run has ended: in the page's title, and by the browser if it may. The first news of a page is none.
TELL = """(news) => {
  const [title, run, words] = (news || "\\n\\n").split("\\n");
  document.title = title ? title + " · RM Studio" : "RM Studio";
  const known = window.rmStudioRun;
  window.rmStudioRun = run;
  const ended = known && known.startsWith("going ") && run === "ended " + known.slice(6);
  if (ended && "Notification" in window && Notification.permission === "granted")
    new Notification("RM Studio", { body: words });
}"""
ASK = """async () => {
  if (!("Notification" in window)) return "This browser has no notifications.";
  const answer = await Notification.requestPermission();
  return answer === "granted" ? "This browser will tell you when a run ends, while this page is open."
    : "Notifications are turned off for this page. Allow them in the browser’s settings for this address.";
}"""
FULL_SCREEN = """() => { const charts = document.querySelector(".rm-charts");
  document.fullscreenElement ? document.exitFullscreen() : charts.requestFullscreen(); }"""


class RunView(NamedTuple):
    to_annotate: gr.Button


def run_view(studio: Studio) -> RunView:
    """Lay out one run's part of the tab and wire it."""
    chosen = gr.Dropdown([], label="Run", info="The newest is on top; earlier ones stay.", visible=False)
    state = gr.HTML()
    with gr.Row(visible=False, elem_classes="rm-buttons") as buttons:
        pause = gr.Button("Pause", visible=False, min_width=110)
        stop = gr.Button("Stop and keep", variant="stop", visible=False, min_width=130)
        resume = gr.Button("Go on", variant="primary", visible=False, min_width=110)
    advice = gr.HTML()
    with gr.Row(visible=False, elem_classes="rm-buttons") as help_row:
        helps = gr.Button("", variant="primary", min_width=200)
        to_annotate = gr.Button("Go to Annotate", visible=False, min_width=160)
    measured = gr.HTML()
    with gr.Column(visible=False) as drawn_part:
        with gr.Accordion("Chart options: compare with earlier runs, smoothing, axes", open=False):
            overlay = gr.Dropdown([], multiselect=True, label="Other runs in the same charts")
            with gr.Row():
                smoothing = gr.Slider(0, 0.95, 0, step=0.05, label="Smoothing of the training line", min_width=220)
                axis = gr.Radio(["Step", "Minutes"], value="Step", label="Along the bottom", min_width=180)
                log = gr.Checkbox(label="Logarithmic scale for loss and learning rate", min_width=180)
        with gr.Column(elem_classes="rm-charts"):
            plots = {name: _plot(name) for name in MAIN}
            full_screen = gr.Button("Full screen", size="sm", elem_classes="rm-act")
        with gr.Accordion("More charts: margin, scores, learning rate, speed, memory", open=False) as more:
            plots |= {name: _plot(name) for name in MORE}
        with gr.Accordion("Step by step", open=False):
            table = gr.Dataframe(
                headers=["Step", "Training loss", "Validation loss", "Accuracy"],
                label="Step by step",
                interactive=False,
                max_height=280,
            )
        with gr.Accordion("Log", open=False):
            lines = gr.Textbox(label="The last lines that the run wrote", lines=8, max_lines=14, interactive=False)
        with gr.Row():
            ask = gr.Button("Tell me when a run ends", size="sm", elem_classes="rm-act")
            asked = gr.Textbox(label="Notifications", elem_classes="rm-hidden", interactive=False)
    news = gr.Textbox(label="News", elem_classes="rm-hidden", interactive=False)
    more_open = gr.State(False)
    drawn = gr.State(None)

    def open_run(session: Session) -> tuple[Project | None, runs.Run | None, list[runs.Run]]:
        project = studio.project(session)
        every = runs.list_runs(project.runs) if project else []
        return project, studio.run(session) or (every[0] if every else None), every

    def show(session: Session) -> list[Any]:
        if session.project:
            queue.advance(studio.workspace)  # should the worker before have been killed
        project, run, every = open_run(session)
        hidden = gr.update(visible=False)
        if project is None or run is None:
            ready = "Press “Start training” when you are ready." if project and project.pairs.exists() else ""
            words = widgets.empty("No run yet", ready) if ready else ""
            return [hidden, words, *[hidden] * 4, "", *[hidden] * 3, "", hidden, gr.skip(), "", "\n\n"]
        status = run.status()
        found = diagnosis(project, run)
        wanted = found[0].action if found else ""
        button = help_label(run, wanted)
        live = status.is_active and not status.is_waiting
        steps = metrics.tutorial_table(metrics.course(run.metrics_file).look())
        return [
            gr.update(choices=[(other.label, other.id) for other in every], value=run.id, visible=True),
            widgets.run_status(status),
            gr.update(visible=status.is_active or run.can_resume),
            gr.update(visible=live, interactive=status.state == "training"),
            gr.update(visible=status.is_active, interactive=status.state != "stopping", value=_stop_label(status)),
            gr.update(visible=run.can_resume),
            widgets.advice(found),
            gr.update(visible=bool(button) or wanted == "annotate"),
            gr.update(visible=bool(button), value=button),
            gr.update(visible=wanted == "annotate"),
            "" if status.is_active else widgets.measured(run.report),
            gr.update(visible=len(steps) > 0),
            gr.update(value=_rounded(steps)),
            _log_end(run),
            _news(run, status),
        ]

    def draw(session: Session, *options: Any) -> list[Any]:
        *choices, overlaid, more_open, drawn = options
        project, run, every = open_run(session)
        if project is None or run is None:
            return [gr.skip()] * (len(plots) + 2)
        others = [other for other in every if other.id in (overlaid or []) and other.id != run.id]
        shown = [run, *others]
        key = (tuple((one.id, one.label, stamp(one.metrics_file)) for one in shown), tuple(choices), more_open)
        names = [(other.label, other.id) for other in every if other.id != run.id]
        overlay_update = gr.update(choices=names, value=[other.id for other in others])
        if key == drawn:
            return [gr.skip()] * (len(plots) + 2)
        series = [Series(one.label, metrics.course(one.metrics_file).look()) for one in shown]
        how = Options(smoothing=choices[1], log=choices[2], axis=choices[0])
        longer, people = baselines(project, run)
        figures = [
            figure(name, series, how, longer, people) if name in MAIN or more_open else gr.skip() for name in plots
        ]
        return [*figures, overlay_update, key]

    @friendly
    def ask_pause(session: Session) -> list[Any]:
        _require(open_run(session)[1]).pause()
        return show(session)

    @friendly
    def ask_stop(session: Session) -> list[Any]:
        _require(open_run(session)[1]).stop()
        return show(session)

    @friendly
    def go_on(session: Session) -> list[Any]:
        queue.resume(studio.workspace, _require(open_run(session)[1]))
        return show(session)

    @friendly
    def help_out(session: Session) -> Session:
        project, run, _ = open_run(session)
        found = diagnosis(project, _require(run)) if project else []
        if project is None or run is None or not found:
            raise TrainingError("There is nothing to do here any more.")
        fresh = apply_help(studio, project, run, found[0].action)
        return session.model_copy(update={"run": fresh.id})

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    view = [
        chosen, state, buttons, pause, stop, resume, advice, help_row, helps, to_annotate, measured, drawn_part, table,
        lines, news,
    ]  # fmt: skip
    controls = [axis, smoothing, log, overlay, more_open]
    chart_view = [*plots.values(), overlay, drawn]
    pause.click(ask_pause, studio.session, view, **quiet)
    stop.click(ask_stop, studio.session, view, **quiet)
    resume.click(go_on, studio.session, view, **quiet)
    helps.click(help_out, studio.session, studio.session, **quiet)
    full_screen.click(None, None, None, js=FULL_SCREEN, api_visibility="private")
    ask.click(None, None, asked, js=ASK, api_visibility="private")
    asked.change(lambda words: gr.Info(words) if words else None, asked, None, **quiet)
    news.change(None, news, None, js=TELL, api_visibility="private")
    more.expand(lambda: True, None, more_open, **quiet)
    chosen.input(
        lambda session, run_id: session.model_copy(update={"run": run_id}),
        [studio.session, chosen],
        studio.session,
        **quiet,
    )
    gr.on([studio.runs_token.change, studio.session.change], show, studio.session, view, **quiet)
    gr.on(
        [studio.runs_token.change, studio.session.change, axis.input, smoothing.release, log.input, overlay.input,
         more_open.change],
        draw,
        [studio.session, *controls, drawn],
        chart_view,
        **quiet,
    )  # fmt: skip
    return RunView(to_annotate)


def diagnosis(project: Project, run: runs.Run) -> list[doctor.Advice]:
    """What the run's curves mean now."""
    status = run.status()
    longer, people = baselines(project, run)
    rows = metrics.course(run.metrics_file).look()
    found = doctor.diagnose(rows, run.config, status.state, status.reason, longer, people)
    # What a button would do with a run that is at work, or has no such model, is not offered.
    is_best = run.best is not None and run.report is not None and run.report["steps"] == run.best["step"]
    if status.is_active or run.best is None or is_best:
        found = [one.model_copy(update={"action": ""}) if one.action == "best" else one for one in found]
    return found


def help_label(run: runs.Run, action: str) -> str:
    """What the doctor's button says; nothing where there is none."""
    config = run.config
    if run.status().is_active:
        return ""
    best = run.best
    return {
        "best": f"Go back to step {best['step']:,}" if best else "",
        "slower": f"Start again with learning rate {config.learning_rate / 10:g}",
        "faster": f"Start again with learning rate {config.learning_rate * 3:g}",
        "smaller": "Start again with less memory",
    }.get(action, "")


def apply_help(studio: Studio, project: Project, run: runs.Run, action: str) -> runs.Run:
    """Do what the doctor's button says; returns the run to look at then."""
    config = run.config
    if action == "best":
        queue.use_best(studio.workspace, run)
        return run
    changes: dict[str, dict[str, Any]] = {
        "slower": {"learning_rate": config.learning_rate / 10},
        "faster": {"learning_rate": config.learning_rate * 3},
        "smaller": {
            "gradient_checkpointing": True,
            "tokens_at_once": 1024,
            "max_length": max(64, config.max_length // 2),
        },
    }
    fresh = config.model_copy(update=changes[action])
    return queue.submit(studio.workspace, project.runs, fresh, runs.pairs_of(run))


def baselines(project: Project, run: runs.Run) -> tuple[float | None, float | None]:
    """How often the longer answer wins among the run's held-out pairs, and how often two annotators agree."""
    return _longer_wins(run.folder), _agreement(project.feedback, stamp(project.feedback))


@functools.lru_cache(maxsize=64)
def _longer_wins(folder: Any) -> float | None:
    run = runs.Run(folder)
    pairs = read_frame(run.pairs_file)
    if pairs is None:
        return None
    pairs = pairs[pairs["chosen"] != pairs["rejected"]].reset_index(drop=True)  # as the worker splits them
    test = preferences.split_by_prompt(pairs, run.config.test_share, run.config.seed).test
    if "p_chosen" in test:
        test = test[test["p_chosen"] != 0.5]
    return float(evaluation.longer_wins(test).value)


@functools.lru_cache(maxsize=16)
def _agreement(file: Any, changed: Any) -> float | None:
    feedback = read_frame(file)
    if feedback is None:
        return None
    share = preferences.agreement(feedback)
    return share.value if share.n >= 20 else None


def _require(run: runs.Run | None) -> runs.Run:
    if run is None:
        raise TrainingError("This run is no longer there.")
    return run


def _plot(name: str) -> gr.Plot:
    chart = CHARTS[name]
    plot = gr.Plot(label=chart.title, show_label=False, elem_classes="rm-plot")
    gr.HTML(widgets.small(chart.reading))
    return plot


def _stop_label(status: runs.Status) -> str:
    return "Take out of the queue" if status.is_waiting else "Stop and keep"


def _news(run: runs.Run, status: runs.Status) -> str:
    """The page's title, which run it is about and whether it is going, and what to tell."""
    if status.is_active:
        title = f"{status.step / status.total_steps:.0%} trained" if status.total_steps else "Training"
        return f"{title}\ngoing {run.id}\n"
    words = {"completed": "✓ Trained", "failed": "✗ Failed", "interrupted": "✗ Interrupted", "paused": "Paused"}
    return f"{words.get(status.state, '')}\nended {run.id}\n{runs.STATES[status.state]}: {status.message}"


def _log_end(run: runs.Run) -> str:
    """The end of the run's log, without paths of the machine."""
    if not run.log_file.exists():
        return ""
    with run.log_file.open("rb") as file:
        file.seek(max(0, run.log_file.stat().st_size - 40_000))
        text = file.read().decode("utf-8", "replace")
    return "\n".join(widgets.without_paths(line) for line in text.splitlines()[-LOG_LINES:])


def _rounded(steps: pd.DataFrame) -> list[list[str]]:
    return [
        [str(step), "–" if pd.isna(train) else f"{train:.4f}", f"{held_out:.4f}", f"{accuracy:.1%}"]
        for step, train, held_out, accuracy in steps.itertuples(index=False)
    ]
