"""Runs are started here, one at a time in a workspace; the others wait for their turn, in the order they came.

The queue is the runs' own status files. It moves on when a run ends, by the worker's last act, and whenever a page
looks, should the worker have been killed.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from rm_studio import processes
from rm_studio.errors import StudioError, TrainingError
from rm_studio.settings import parse_settings
from rm_studio.training import checkpoints, device, launchers
from rm_studio.training.config import TrainConfig
from rm_studio.training.runs import Run, Status, is_same, list_runs, prepare
from rm_studio.workspace import Workspace, read_json, write_json


def submit(workspace: Workspace, runs_folder: Path, config: TrainConfig, pairs: pd.DataFrame) -> Run:
    """Prepare a run of a project, and start it or let it wait for its turn.

    Raises:
        TrainingError: the pairs are too few.
    """
    with _lock(workspace):
        run = prepare(runs_folder / f"{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3], config, pairs)
        _wait(run, "Waiting for its turn …")
    advance(workspace)
    return run


def resume(workspace: Workspace, run: Run) -> None:
    """Let a run that ended before its time go on from its last whole checkpoint, at once or in its turn.

    Raises:
        TrainingError: it is going on already, has reached its end, or has nothing to go on from.
    """
    with _lock(workspace):  # two tabs that press the button at once get one worker
        status = run.status()
        if status.is_active:
            raise TrainingError("This run is already going on.")
        if not run.can_resume:
            raise TrainingError(
                "There is no checkpoint to go on from. Start the run again with “Copy settings to a new run”."
            )
        run.clear_requests()
        checkpoint = checkpoints.newest_whole(run.checkpoints)
        _wait(run, f"Waiting to go on after step {checkpoints.step_of(checkpoint) if checkpoint else 0:,} …")
    advance(workspace)


def use_best(workspace: Workspace, run: Run) -> None:
    """Make the run's model the one of its best measurement, at once or in its turn.

    Raises:
        TrainingError: it is going on, or no such model was kept.
    """
    with _lock(workspace):
        if run.status().is_active:
            raise TrainingError("This run is still going on. Stop it first.")
        if run.best is None:
            raise TrainingError("No better model was kept on the way of this run.")
        run.clear_requests()
        run.use_best_file.touch()
        _wait(run, f"Waiting to go back to step {run.best['step']:,} …")
    advance(workspace)


def advance(workspace: Workspace) -> None:
    """Start the run that has waited longest, unless one is at work."""
    if not any(run.status().is_waiting for run in active(workspace)):
        return
    with _lock(workspace):
        every = active(workspace)
        if any(not run.status().is_waiting for run in every):
            return
        for run in sorted(every, key=lambda run: run.status().queued_at):
            start(run)
            return


def advance_beside(run: Run) -> None:
    """`advance` in the workspace that a run belongs to; a run of the command line belongs to none."""
    root = run.folder.parents[3] if len(run.folder.parents) > 3 else None
    if root and run.folder.parents[2] == root / "projects":
        with suppress(StudioError, OSError):
            advance(Workspace(root))


def active(workspace: Workspace) -> list[Run]:
    """All runs of the workspace that are at work or wait."""
    every = (run for project in workspace.projects() for run in list_runs(project.runs))
    return [run for run in every if run.status().is_active]


def start(run: Run) -> None:
    """Start the run's worker as a process of its own, which lives on when the app ends."""
    known = read_json(run.status_file) or {}
    keep = {name: known[name] for name in ("step", "total_steps", "elapsed_s") if name in known}
    starting = Status(state="queued", message="Starting …", **keep, **processes.own_identity()._asdict())
    write_json(run.status_file, starting.model_dump())
    on_cpu = run.config.processes > 1 and not has_cards()
    try:
        process_id = processes.spawn(
            launchers.command(run, on_cpu), run.log_file, launchers.environment(run.config), launchers.is_inherited
        )
    except OSError as error:
        message = f"The run could not be started ({error.strerror}). Mend that, then start it again."
        write_json(run.status_file, {**starting.model_dump(), "state": "failed", "message": message, "pid": 0})
        return
    content = read_json(run.status_file)
    if content and content["pid"] == starting.pid:  # the worker itself writes the rest
        write_json(run.status_file, {**content, **process_id._asdict()})


def has_cards() -> bool:
    """Whether this machine has cards to train on; asked of torch in another process, and only for several processes."""
    found = device.describe()
    return found is not None and found.kind != "cpu"


def train(
    pairs: pd.DataFrame,
    output: Path,
    on_status: Callable[[Status], None] = lambda status: None,
    **settings: Any,
) -> Run:
    """Train a reward model in ``output`` and wait for it; ``output/model`` is then an ordinary model folder.

    Args:
        pairs: ``prompt``, ``chosen``, ``rejected``; optionally ``p_chosen``, ``strength``, ``category``.
        output: A folder that does not exist yet, or is empty; or of a run with the same settings and pairs that ended
            before its time, which then goes on.
        on_status: Called about twice a second.
        settings: Fields of `TrainConfig`.

    Raises:
        TrainingError: the run did not end with a model, with the reason.
    """
    output = output.resolve()
    config = parse_settings(TrainConfig, settings)
    run = Run(output)
    if output.exists() and any(output.iterdir()):
        if not (run.config_file.exists() and is_same(run, config, pairs) and run.can_resume):
            raise TrainingError("The output folder is not empty. Name a new one, so that nothing is overwritten.")
        run.clear_requests()
    else:
        run = prepare(output, config, pairs)
    start(run)
    return follow(run, on_status)


def follow(run: Run, on_status: Callable[[Status], None] = lambda status: None) -> Run:
    """Wait for a run's end; Ctrl+C asks it to stop and keep what it has.

    Raises:
        TrainingError: it did not end with a model, with the reason.
    """
    try:
        while (status := run.status()).is_active:
            on_status(status)
            time.sleep(0.5)
    except KeyboardInterrupt:
        run.stop()
        while (status := run.status()).is_active:
            on_status(status)
            time.sleep(0.5)
    on_status(status)
    if status.state in ("failed", "interrupted") or not run.has_model:  # a model may be there from an earlier stop
        raise TrainingError(status.message)
    return run


def _wait(run: Run, message: str) -> None:
    known = read_json(run.status_file) or {}
    keep = {name: known[name] for name in ("step", "total_steps", "elapsed_s") if name in known}
    write_json(run.status_file, Status(state="queued", message=message, queued_at=time.time(), **keep).model_dump())


def _lock(workspace: Workspace) -> FileLock:
    return FileLock(workspace.root / ".launch.lock")
