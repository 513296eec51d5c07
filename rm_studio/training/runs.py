"""A training run is a folder and a process; they are started, watched and ended here, without torch.

The worker rewrites ``status.json`` and appends to ``metrics.jsonl``; readers look at the files, and believe a
state that needs a living process only while that very process lives.
"""

import re
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from rm_studio import processes
from rm_studio.config import Frozen, TrainConfig, parse_settings
from rm_studio.errors import DataError, TrainingError
from rm_studio.preferences import split_by_prompt
from rm_studio.training import metrics
from rm_studio.workspace import Project, Workspace, read_frame, read_json, write_frame, write_json

ACTIVE = ("queued", "preparing", "training", "stopping")
STATES = {
    "queued": "Waiting",
    "preparing": "Preparing",
    "training": "Training",
    "stopping": "Stopping",
    "completed": "Completed",
    "stopped": "Stopped early",
    "failed": "Failed",
    "interrupted": "Interrupted",
}


class Status(Frozen):
    """``status.json``. Times in seconds; ``rate`` in pairs a second."""

    state: str
    message: str = ""
    pid: int = 0
    started: float = 0.0
    step: int = 0
    total_steps: int = 0
    rate: float | None = None
    eta_s: float | None = None
    elapsed_s: float = 0.0

    @property
    def process_id(self) -> processes.ProcessId:
        return processes.ProcessId(self.pid, self.started)

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE


class Run:
    """One run's folder, by the names of its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    @property
    def config_file(self) -> Path:
        return self.folder / "config.json"

    @property
    def status_file(self) -> Path:
        return self.folder / "status.json"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def pairs_file(self) -> Path:
        """The pairs as they were when the run began: later feedback does not change what it learned from."""
        return self.folder / "pairs.parquet"

    @property
    def stop_file(self) -> Path:
        """Its presence asks the worker to stop: a request that works the same on every system."""
        return self.folder / "stop"

    @property
    def log_file(self) -> Path:
        return self.folder / "train.log"

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    @property
    def config(self) -> TrainConfig:
        return TrainConfig.model_validate(read_json(self.config_file))

    @property
    def report(self) -> dict[str, Any] | None:
        """The report on held-out pairs, once the run has ended with a model."""
        content: dict[str, Any] | None = read_json(self.folder / "report.json")
        return content

    @property
    def has_model(self) -> bool:
        return self.report is not None and self.model_folder.is_dir()

    @property
    def metrics(self) -> pd.DataFrame:
        return metrics.read(self.metrics_file)

    @property
    def label(self) -> str:
        """The run's name in a list: when it began, and from which model."""
        begun = datetime.strptime(self.id[:15], "%Y%m%d-%H%M%S")
        return f"{begun:%d %b %Y, %H:%M:%S} · {Path(self.config.base_model).name}"

    def status(self) -> Status:
        """The state now; one that was active and whose process is gone becomes ``interrupted``."""
        content = read_json(self.status_file)
        if content is None:  # prepared, not started
            return Status(state="queued", message="Waiting to start …")
        found = Status.model_validate(content)
        if found.is_active and processes.find(found.process_id) is None:
            # The worker may have written its last word between the two looks.
            content = read_json(self.status_file)
            found = Status.model_validate(content) if content else found
            if found.is_active:
                message = "The run ended without finishing: its process was closed or the machine restarted."
                found = found.model_copy(update={"state": "interrupted", "message": message, "eta_s": None})
                write_json(self.status_file, found.model_dump())
        return found

    def stop(self) -> None:
        """Ask the worker to stop after the step it is at; it keeps the model as it then is."""
        if self.status().is_active:
            self.stop_file.touch()

    def end(self, patience_s: float = 10.0) -> None:
        """End the worker at once, without keeping anything."""
        processes.end(self.status().process_id, patience_s)


def prepare(folder: Path, config: TrainConfig, pairs: pd.DataFrame) -> Run:
    """Make a run's folder with all that the worker needs; nothing is started.

    Raises:
        TrainingError: too few pairs to learn from and to measure on.
    """
    if len(pairs) < 2:
        raise TrainingError("There are too few preference pairs to train on. Pull feedback first, or load some.")
    try:
        split_by_prompt(pairs, config.test_share, config.seed)
    except DataError as error:
        raise TrainingError(str(error)) from error
    if (base := Path(config.base_model).expanduser()).is_dir():  # the worker runs in another folder
        config = config.model_copy(update={"base_model": str(base.resolve())})
    run = Run(folder)
    write_frame(run.pairs_file, pairs.reset_index(drop=True))
    write_json(run.config_file, config.model_dump())
    return run


def start(run: Run) -> None:
    """Start the run's worker as a process of its own, which lives on when the app ends."""
    command = [sys.executable, "-m", "rm_studio.training.worker", str(run.folder)]
    process_id = processes.spawn(command, run.log_file, {"PYTHONUNBUFFERED": "1"})
    if not run.status_file.exists():  # the worker itself writes the rest
        starting = Status(state="queued", message="Starting …", pid=process_id.pid, started=process_id.started)
        write_json(run.status_file, starting.model_dump())


def launch(workspace: Workspace, runs_folder: Path, config: TrainConfig, pairs: pd.DataFrame) -> Run:
    """Prepare and start a run of a project.

    Raises:
        TrainingError: another run is going on in this workspace, or the pairs are too few.
    """
    with FileLock(workspace.root / ".launch.lock"):  # two tabs that press Start at once get one run
        for other in active(workspace):
            name = Project(other.folder.parent.parent).info.name
            raise TrainingError(
                f"Another run is still going on, in the project “{name}”. Wait for it or stop it: two at once would "
                "slow each other down."
            )
        run = prepare(runs_folder / f"{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3], config, pairs)
        start(run)
    return run


def list_runs(runs_folder: Path) -> list[Run]:
    """A project's runs, the newest first."""
    return [Run(file.parent) for file in sorted(runs_folder.glob("*/config.json"), reverse=True)]


def find_run(runs_folder: Path, run_id: str) -> Run | None:
    """The run with this id, if it is there."""
    if not re.fullmatch(r"[\w-]+", run_id):
        return None
    run = Run(runs_folder / run_id)
    return run if run.config_file.exists() else None


def active(workspace: Workspace) -> list[Run]:
    """All runs of the workspace that are going on."""
    every = (run for project in workspace.projects() for run in list_runs(project.runs))
    return [run for run in every if run.status().is_active]


def train(
    pairs: pd.DataFrame,
    output: Path,
    on_status: Callable[[Status], None] = lambda status: None,
    **settings: Any,
) -> Run:
    """Train a reward model in ``output`` and wait for it; ``output/model`` is then an ordinary model folder.

    Args:
        pairs: ``prompt``, ``chosen``, ``rejected``; optionally ``p_chosen``, ``category``.
        output: A folder that does not exist yet, or is empty.
        on_status: Called about twice a second.
        settings: Fields of `TrainConfig`.

    Raises:
        TrainingError: the run did not end with a model, with the reason.
    """
    output = output.resolve()
    if output.exists() and any(output.iterdir()):
        raise TrainingError("The output folder is not empty. Name a new one, so that nothing is overwritten.")
    run = prepare(output, parse_settings(TrainConfig, settings), pairs)
    start(run)
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
    if not run.has_model:
        raise TrainingError(status.message)
    return run


def pairs_of(run: Run) -> pd.DataFrame:
    """The pairs that the run was given."""
    frame = read_frame(run.pairs_file)
    if frame is None:
        raise TrainingError("The run's preference pairs are gone, so it cannot go on. Start a new run.")
    return frame
