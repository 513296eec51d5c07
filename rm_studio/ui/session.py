"""What one browser tab is looking at, and the cheap tokens that say when to draw again."""

import functools
import html
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import gradio as gr
import pandas as pd

from rm_studio import jobs
from rm_studio.embedded import server
from rm_studio.errors import StudioError, WorkspaceError
from rm_studio.settings import Frozen
from rm_studio.training.runs import Run, find_run, list_runs
from rm_studio.workspace import Project, Workspace, read_frame, stamp

log = logging.getLogger(__name__)
P = ParamSpec("P")


class Session(Frozen):
    """The project and the run that a browser tab has open, by their ids. All else is on disk.

    ``replaced`` counts up when the project was replaced as a whole, so that every form is filled in anew.
    """

    project: str | None = None
    run: str | None = None
    replaced: int = 0


class Tokens(NamedTuple):
    """Changes when a group of files does: comparing them costs a few ``stat`` calls, reading the files much more."""

    table: tuple[Any, ...]
    loading: tuple[Any, ...]
    data: tuple[Any, ...]
    feedback: tuple[Any, ...]
    runs: tuple[Any, ...]
    server: tuple[Any, ...]


class Studio(NamedTuple):
    """What every tab is given: the workspace, the address served on, who is looking, the tabs, what to redraw on."""

    workspace: Workspace
    host: str
    session: gr.State
    tabs: gr.Tabs
    table_token: gr.State
    loading_token: gr.State
    data_token: gr.State
    feedback_token: gr.State
    runs_token: gr.State
    server_token: gr.State

    def project(self, session: Session) -> Project | None:
        """The open project, or None where there is none (any more)."""
        if session.project is None:
            return None
        try:
            return self.workspace.project(session.project)
        except WorkspaceError:
            return None

    def require_project(self, session: Session) -> Project:
        project = self.project(session)
        if project is None:
            raise WorkspaceError("Open a project first, or create one at the top of the page.")
        return project

    def run(self, session: Session) -> Run | None:
        """The open run, or None."""
        project = self.project(session)
        return find_run(project.runs, session.run) if project and session.run else None


def load_job(project: Project) -> Path:
    """Where the state of reading data, writing answers and making comparisons is kept: one of them at a time."""
    return project.folder / "load.json"


def publish_job(project: Project) -> Path:
    """Where the state of publishing is kept."""
    return project.folder / "publish.json"


def share_job(project: Project) -> Path:
    """Where the state of pushing to the Hub is kept."""
    return project.folder / "share.json"


def pull_job(project: Project) -> Path:
    """Where the state of pulling is kept."""
    return project.folder / "pull.json"


def check_job(project: Project) -> Path:
    """Where the state of checking a run before its start is kept."""
    return project.folder / "check_job.json"


def tokens(workspace: Workspace, project: Project | None) -> Tokens:
    """The tokens of the open project and the annotation server as the files are now."""
    # States are asked for, not only files: a process that was killed writes nothing.
    folder = workspace.argilla_folder
    argilla = (stamp(folder / "status.json"), stamp(folder / "own_server.json"), server.status(workspace).state)
    if project is None:
        return Tokens((), (), (), (), (), argilla)
    info = project.info
    run_files = tuple(
        (run.id, run.status().state, stamp(run.status_file), stamp(run.metrics_file), stamp(run.folder / "info.json"))
        for run in list_runs(project.runs)
    )
    load_states = (stamp(load_job(project)), jobs.read(load_job(project)).state)
    job_states = (stamp(publish_job(project)), jobs.read(publish_job(project)).state)
    pull_states = (stamp(pull_job(project)), jobs.read(pull_job(project)).state)
    share_states = (stamp(share_job(project)), jobs.read(share_job(project)).state)
    check_states = (stamp(check_job(project)), jobs.read(check_job(project)).state)
    return Tokens(
        table=(project.slug, stamp(project.table), info.source, info.mapping, info.selection),
        loading=(project.slug, load_states),
        data=(project.slug, stamp(project.file), stamp(project.comparisons), job_states),
        feedback=(
            project.slug,
            stamp(project.file),
            stamp(project.feedback),
            stamp(project.pairs),
            pull_states,
            share_states,
        ),
        runs=(project.slug, stamp(project.pairs), run_files, check_states),
        server=argilla,
    )


def cached_frame(path: Path) -> pd.DataFrame | None:
    """The table at ``path`` as it now is, or None; read once for as long as nobody writes it. Not to be changed."""
    return _frame(path, stamp(path))


@functools.lru_cache(maxsize=4)
def _frame(path: Path, version: tuple[int, int]) -> pd.DataFrame | None:
    return read_frame(path)


def friendly(handler: Callable[P, Any]) -> Callable[P, Any]:
    """Show a StudioError as the sentence it is; anything else goes to the log and is called unexpected.

    The page stays as it was: Gradio would cover every output of a handler that raises.
    """

    @functools.wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            return handler(*args, **kwargs)
        except StudioError as error:
            log.info("%s", error, exc_info=error)
            message = str(error)
        except Exception:
            log.exception("unexpected error in %s", handler.__name__)
            message = "Something unexpected happened. Nothing saved is lost; try again, or look in the log for details."
        gr.Warning(html.escape(message, quote=False), title="That did not work", duration=12)
        return gr.skip()

    return wrapped
