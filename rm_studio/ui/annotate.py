"""The Annotate tab: log in, watch the counts, pull the feedback."""

import logging
import threading
import time
from datetime import datetime
from typing import Any, NamedTuple

import gradio as gr
import pandas as pd

from rm_studio import annotation, flow, jobs, plan, preferences, simulation, tables
from rm_studio.config import ArgillaDataset
from rm_studio.embedded import keeper, server
from rm_studio.errors import StudioError
from rm_studio.ui import server_panels, widgets
from rm_studio.ui.session import Session, Studio, friendly, pull_job
from rm_studio.ui.share_panel import share_panel
from rm_studio.workspace import Project, Workspace, read_frame, read_json, rows

log = logging.getLogger(__name__)
REFRESH_S = 3.0
KEYS = (
    '<p class="rm-small">There: asked for the better of two, the keys <kbd>1</kbd> and <kbd>2</kbd> choose and submit '
    "at once; <kbd>Backspace</kbd> discards. To think again later, click a number and save a draft with "
    "<kbd>Ctrl</kbd>+<kbd>S</kbd>.</p>"
)
COLUMNS = ["Annotator", "Submitted", "Discarded", "Draft", "Pending", "Last seen at work"]


class AnnotateTab(NamedTuple):
    back: gr.Button
    next: gr.Button


class Counts:
    """Everybody's progress, asked of Argilla at most every ``REFRESH_S`` seconds however many pages look.

    Asking happens in the background: a server that is slow to answer must not hold up the page.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._connection: annotation.Connection | None = None
        self._connected_to: object = None
        self._known: dict[tuple[str, ArgillaDataset], annotation.Progress | None] = {}
        self._asked: dict[tuple[str, ArgillaDataset], float] = {}
        self._seen: dict[tuple[str, str], datetime] = {}

    def of(self, project: Project | None) -> annotation.Progress | None:
        """The counts as last known, or None where nothing was published or the server does not answer."""
        reference = project.info.argilla if project else None
        if project is None or reference is None:
            return None
        key = (project.slug, reference)
        if time.monotonic() - self._asked.get(key, -REFRESH_S) >= REFRESH_S and not self._lock.locked():
            self._asked[key] = time.monotonic()
            threading.Thread(target=self._refresh, args=(key,), daemon=True, name="counts").start()
        return self._known.get(key)

    def last_seen(self, project: Project, annotator: str) -> str:
        """When this person's counts were last seen to change, since the app was opened."""
        moment = self._seen.get((project.slug, annotator))
        return f"{moment:%H:%M}" if moment else "–"

    def _refresh(self, key: tuple[str, ArgillaDataset]) -> None:
        with self._lock:
            before, after = self._known.get(key), self._ask(key[1])
            if before and after:
                for person in set(after.people) - set(before.people):
                    self._seen[key[0], person.annotator] = datetime.now()
            self._known[key] = after

    def _ask(self, reference: ArgillaDataset) -> annotation.Progress | None:
        state = server.status(self.workspace)
        own = annotation.own_server(self.workspace)
        if own is None and state.state != "running":
            return None
        address = own or state.api_url
        try:
            if self._connection is None or self._connected_to != address:
                self._forget()
                self._connection, self._connected_to = annotation.connect(self.workspace), address
            return annotation.progress(self._connection, reference)
        except StudioError as error:
            log.info("no counts: %s", error)
            self._forget()
            return None

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def annotate_tab(studio: Studio, counts: Counts, counts_token: gr.State) -> AnnotateTab:
    """Lay out the tab and wire it. ``counts_token`` holds the counts as last seen; its change draws them again."""
    gr.HTML(
        widgets.heading(
            "Annotate",
            "People read each comparison and choose the better answer. Their choices are what the model learns.",
        ),
    )
    waiting = gr.HTML()
    back = gr.Button("← Go to Question", visible=False, elem_classes="rm-act")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320, elem_classes="rm-card"):
            gr.HTML('<h3 class="rm-side">The annotation page</h3>')
            state = gr.HTML()
            with gr.Row():
                open_page = gr.Button("Open Argilla ↗", variant="primary", visible=False, link_target="_blank")
                retry = gr.Button("Start", visible=False)
            gr.HTML(KEYS)
        with gr.Column(scale=3, min_width=320):
            gr.HTML('<h3 class="rm-side">Who has done how much</h3>')
            summary = gr.HTML()
            counts_table = gr.Dataframe(
                headers=COLUMNS, label="Comparisons by person", interactive=False, visible=False
            )
            with gr.Row():
                pull = gr.Button("Pull feedback", variant="primary", interactive=False, elem_classes="rm-act")
            pulling = gr.HTML()
    outcome = gr.HTML()
    pairs_table = gr.Dataframe(
        headers=["Prompt", "Chosen", "Rejected", "Votes", "People"],
        label="Preference pairs (the first 50)",
        interactive=False,
        wrap=True,
        max_height=420,
        visible=False,
        column_widths=["250px", "340px", "340px", "80px", "100px"],
    )
    with gr.Accordion("Comparisons without a pair", open=False, visible=False) as left_out:
        dropped = gr.Dataframe(
            headers=["Why", "Row", "Prompt"], label="Why there is no pair", interactive=False, wrap=True
        )
    onward = gr.Button("Next: train →", variant="primary", visible=False, elem_classes="rm-next")
    share_panel(studio)
    gr.HTML('<h3 class="rm-side">The annotation server</h3>')
    server_panels.people_panel(studio)
    server_panels.own_server_panel(studio)
    server_panels.care_panel(studio)

    def show_server(session: Session) -> list[Any]:
        login = annotation.login(studio.workspace)
        own = annotation.uses_own_server(studio.workspace)
        status = server.status(studio.workspace)
        running = own or status.state == "running"
        kind = "good" if running else "bad" if status.state == "failed" else "info"
        told = widgets.note("Your own Argilla server is used." if own else status.message, kind)
        if running and login and not own:
            told += widgets.facts([("user name", login.username), ("password", login.password)])
            told += widgets.small("Log in there with this name and password: they were made for you, on this machine.")
        link = server_panels.labelling_url(studio, session)
        return [
            told,
            gr.update(visible=bool(link), link=link),
            gr.update(
                value="Try again" if status.state == "failed" else "Start",
                visible=not running and status.state in ("failed", "stopped"),
            ),
        ]

    def show_counts(session: Session, progress: annotation.Progress | None) -> list[Any]:
        project = studio.project(session)
        published = bool(project and project.info.argilla)
        loaded = bool(project and project.feedback.exists())
        lead = (
            ""
            if published or loaded
            else widgets.empty("Nothing to annotate yet", "Write the question and publish it to Argilla first.")
        )
        head: list[Any] = [lead, gr.update(visible=bool(lead))]
        if progress is None:
            words = (
                "The counts appear here as soon as the annotation server answers."
                if published
                else "Not published to Argilla yet. Below is the feedback that this project was given."
                if loaded
                else ""
            )
            return [*head, widgets.note(words), gr.update(visible=False), gr.update(interactive=published)]
        done = widgets.progress(
            progress.completed,
            progress.total,
            f"{progress.completed:,} of {progress.total:,} comparisons have all their answers.",
        )
        project = studio.require_project(session)
        people = [[*person, counts.last_seen(project, person.annotator)] for person in progress.people]
        if not people:
            done += widgets.note("Nobody has answered yet. The counts refresh by themselves.")
        return [*head, done, gr.update(value=people, visible=bool(people)), gr.update(interactive=True)]

    def show_feedback(session: Session) -> list[Any]:
        project = studio.project(session)
        job = jobs.read(pull_job(project)) if project else jobs.JobStatus()
        told = widgets.job(job, "records")
        feedback = read_frame(project.feedback) if project else None
        if project is None or feedback is None:
            return [
                told,
                "",
                gr.update(visible=False),
                gr.update(visible=False),
                gr.update(),
                gr.update(visible=False),
            ]
        pairs = read_frame(project.pairs)
        ledger = (read_json(project.ledger) or {}).get("pairs")
        listed = widgets.ledger_rows(ledger)
        n_pairs = 0 if pairs is None else len(pairs)
        return [
            told,
            _summary(feedback, plan.known_answers(project)) + widgets.ledger(ledger, "with a pair"),
            gr.update(
                value=_pairs(pairs),
                visible=n_pairs > 0,
                label=f"Preference pairs ({n_pairs:,}{', the first 50 are shown' if n_pairs > 50 else ''})",
            ),
            gr.update(visible=bool(listed), label=f"Comparisons without a pair ({len(listed)} listed)"),
            listed,
            gr.update(visible=n_pairs > 0),
        ]

    @friendly
    def start_pull(session: Session) -> None:
        project = studio.require_project(session)
        jobs.start(pull_job(project), "Pulling", lambda job: flow.pull(studio.workspace, project, job))

    def start_server() -> None:
        threading.Thread(target=keeper.start_quietly, args=(studio.workspace,), daemon=True).start()

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    server_view = [state, open_page, retry]
    feedback_view = [pulling, outcome, pairs_table, left_out, dropped, onward]
    counts_view = [waiting, back, summary, counts_table, pull]
    pull.click(start_pull, studio.session, None, **quiet)
    retry.click(start_server, None, None, **quiet)
    gr.on(
        [studio.server_token.change, studio.session.change, studio.data_token.change],
        show_server,
        studio.session,
        server_view,
        **quiet,
    )
    gr.on(
        [counts_token.change, studio.session.change, studio.data_token.change],
        show_counts,
        [studio.session, counts_token],
        counts_view,
        **quiet,
    )
    gr.on([studio.feedback_token.change], show_feedback, studio.session, feedback_view, **quiet)
    return AnnotateTab(back, onward)


def _summary(feedback: pd.DataFrame, known: dict[str, int]) -> str:
    """Who answered how much, how far they agree, and whether the first place has an advantage."""
    counts = feedback.groupby("annotator")["status"].value_counts().unstack(fill_value=0)
    simulated = [name for name in counts.index if simulation.is_simulated(str(name))]
    parts = []
    if simulated:
        parts.append(
            widgets.note(
                "This feedback is simulated: a program with three habits made it, so that every tab "
                "has something to show. "
                "Your own answers take its place when you pull them.",
                "warn",
            )
        )
    told = [
        (f"{name}", f"{int(row.get('submitted', 0)):,} submitted, {int(row.get('discarded', 0)):,} discarded")
        for name, row in counts.iterrows()
    ]
    listed = "".join(
        f"<li><strong>{widgets.escape(name)}</strong> {widgets.escape(words)}</li>" for name, words in told[:20]
    )
    parts.append(f'<ul class="rm-reasons">{listed}</ul>')
    if checked := plan.attention(feedback, known):
        told_right = ", ".join(f"{name} {right} of {total}" for name, (right, total) in sorted(checked.items()))
        parts.append(
            f'<p class="rm-small"><strong>Attention checks</strong> answered as you did: {widgets.escape(told_right)}. '
            "Somebody who often misses them may not be reading.</p>"
        )
    agreed, first = preferences.agreement(feedback), preferences.position_bias(feedback)
    if agreed.n:
        parts.append(
            f'<p class="rm-small"><strong>Agreement:</strong> two people chose the same answer in {agreed}. '
            "By chance it would be about half.</p>"
        )
    n_answers = feedback.loc[feedback["status"] == "submitted", "ranks"].map(len).max()
    if first.n:
        parts.append(
            f'<p class="rm-small"><strong>First place:</strong> the answer shown first was chosen in {first}. '
            f"Near {1 / n_answers:.0%} means that its place played no part.</p>"
        )
    return "".join(parts)


def _pairs(pairs: pd.DataFrame | None) -> list[list[str]]:
    if pairs is None:
        return []
    return [
        [
            tables.shorten(row["prompt"]),
            tables.shorten(row["chosen"]),
            tables.shorten(row["rejected"]),
            f"{row['p_chosen']:.0%}",
            str(row["n_annotators"]),
        ]
        for row in rows(pairs.head(50))
    ]
