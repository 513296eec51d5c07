"""A training run is a folder and, while it is at work, a process. Without torch.

The worker rewrites ``status.json`` and appends to ``metrics.jsonl``; readers look at the files, and believe a
state that needs a living process only while that very process lives. `queue` starts runs.
"""

import hashlib
import re
import shutil
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from rm_studio import processes
from rm_studio.errors import DataError, TrainingError
from rm_studio.preferences import split_by_prompt
from rm_studio.settings import Frozen
from rm_studio.training import checkpoints, metrics
from rm_studio.training.config import TrainConfig
from rm_studio.workspace import read_frame, read_json, write_frame, write_json

ACTIVE = ("queued", "preparing", "training", "stopping")
STATES = {
    "queued": "Waiting",
    "preparing": "Preparing",
    "training": "Training",
    "stopping": "Stopping",
    "paused": "Paused",
    "completed": "Completed",
    "stopped": "Stopped early",
    "failed": "Failed",
    "interrupted": "Interrupted",
}


class RunInfo(Frozen):
    """What people call a run, and what they noted about it."""

    name: str = Field("", title="Name", max_length=80, description="Shown in lists; empty: when it began.")
    note: str = Field("", title="Note", max_length=2000, description="What you tried here, and why.")


class Status(Frozen):
    """``status.json``. Times in seconds; ``rate`` in pairs a second; ``memory`` in bytes, the most so far.

    ``reason`` is a word for what made it fail, where that is known: memory, disk, diverged.
    """

    state: str
    message: str = ""
    reason: str = ""
    queued_at: float = 0.0
    memory: int = 0
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
        """Whether the run is at work, or waits for its turn."""
        return self.state in ACTIVE

    @property
    def is_waiting(self) -> bool:
        """Whether the run waits for its turn, without a process."""
        return self.state == "queued" and not self.pid


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
    def pause_file(self) -> Path:
        """Its presence asks the worker to keep a checkpoint and end."""
        return self.folder / "pause"

    @property
    def use_best_file(self) -> Path:
        """Its presence asks the worker to make the model of the best measurement instead of training on."""
        return self.folder / "use_best"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

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
        """All of them; a page that draws them again and again looks through `metrics.course`."""
        return metrics.read(self.metrics_file)

    @property
    def snapshot(self) -> str:
        """A short name for the pairs that the run learned from: the same pairs, the same name."""
        return _digest(self.pairs_file, self.pairs_file.stat().st_mtime_ns) if self.pairs_file.exists() else "–"

    @property
    def info(self) -> RunInfo:
        return RunInfo.model_validate(read_json(self.folder / "info.json") or {})

    @property
    def best(self) -> dict[str, Any] | None:
        """The step and held-out loss of the best measurement whose model was kept."""
        content: dict[str, Any] | None = read_json(self.checkpoints / checkpoints.BEST / "best.json")
        return content

    @property
    def can_resume(self) -> bool:
        """Whether the run has ended before its time and can go on from a whole checkpoint."""
        ended = self.status().state in ("paused", "stopped", "interrupted", "failed")
        return ended and checkpoints.newest_whole(self.checkpoints) is not None

    @property
    def label(self) -> str:
        """The run's name in a list: its own, or when it began; and from which model."""
        name = self.info.name or self.id  # a folder that was copied here by hand has a name of its own
        with suppress(ValueError):
            name = self.info.name or f"{datetime.strptime(self.id[:15], '%Y%m%d-%H%M%S'):%d %b %Y, %H:%M:%S}"
        return f"{name} · {Path(self.config.base_model).name}"

    def describe(self, info: RunInfo) -> None:
        """Give the run a name and a note."""
        write_json(self.folder / "info.json", info.model_dump())

    def size_bytes(self) -> int:
        """What deleting the run would free."""
        return checkpoints.size_bytes(self.folder)

    def delete(self) -> None:
        """Remove the run and all its files.

        Raises:
            TrainingError: it is at work.
        """
        if self.status().is_active:
            raise TrainingError("This run is still going on. Stop it first, then delete it.")
        aside = self.folder.with_name(f".deleted-{self.id}")
        self.folder.replace(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def clear_requests(self) -> None:
        """Forget what was asked of a worker that has ended."""
        for request in (self.stop_file, self.pause_file, self.use_best_file):
            request.unlink(missing_ok=True)

    def status(self) -> Status:
        """The state now; one that was active and whose process is gone becomes ``interrupted``."""
        content = read_json(self.status_file)
        if content is None:  # prepared, not started
            return Status(state="queued", message="Waiting to start …")
        found = Status.model_validate(content)
        if found.is_waiting:
            return found
        if found.is_active and processes.find(found.process_id) is None:
            # The worker may have written its last word between the two looks.
            content = read_json(self.status_file)
            found = Status.model_validate(content) if content else found
            if found.is_active:
                message = "The run ended without finishing: its process was closed or the machine restarted."
                if checkpoint := checkpoints.newest_whole(self.checkpoints):
                    message += f" “Go on” continues after step {checkpoints.step_of(checkpoint):,}."
                found = found.model_copy(update={"state": "interrupted", "message": message, "eta_s": None})
                with suppress(OSError):  # a full disk; the next look says the same
                    write_json(self.status_file, found.model_dump())
        return found

    def stop(self) -> None:
        """Ask the worker to stop after the step it is at; it keeps the model as it then is. A run that waits leaves the
        queue."""
        status = self.status()
        if status.is_active:  # also when it waits: it may be started in this very moment
            self.stop_file.touch()
        if status.is_waiting:
            when = f"where it waited to go on after step {status.step:,}" if status.step else "before it began"
            gone = status.model_copy(update={"state": "stopped", "message": f"Taken out of the queue {when}."})
            write_json(self.status_file, gone.model_dump())

    def pause(self) -> None:
        """Ask the worker to keep a checkpoint after the step it is at, and to end; the run can go on later."""
        status = self.status()
        if status.is_active and not status.is_waiting:
            self.pause_file.touch()

    def end(self, patience_s: float = 10.0) -> None:
        """End the worker at once, without keeping anything."""
        processes.end(self.status().process_id, patience_s)


@lru_cache(maxsize=512)
def _digest(file: Path, changed: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:6]


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
    run = Run(folder)
    write_frame(run.pairs_file, pairs.reset_index(drop=True))
    write_json(run.config_file, _settled(config).model_dump())
    return run


def is_same(run: Run, config: TrainConfig, pairs: pd.DataFrame) -> bool:
    """Whether a run has these settings and pairs."""
    before = pairs_of(run)
    names = ("prompt", "chosen", "rejected", "p_chosen", "strength")
    columns = [name for name in names if name in before]
    if columns != [name for name in names if name in pairs]:
        return False
    then, now = ([frame[name].fillna("").tolist() for name in columns] for frame in (before, pairs))
    return then == now and run.config == _settled(config)


def _settled(config: TrainConfig) -> TrainConfig:
    """With the base model's folder spelled out: the worker runs in another one."""
    base = Path(config.base_model).expanduser()
    return config.model_copy(update={"base_model": str(base.resolve())}) if base.is_dir() else config


def list_runs(runs_folder: Path) -> list[Run]:
    """A project's runs, the newest first."""
    found = [file.parent for file in runs_folder.glob("*/config.json") if not file.parent.name.startswith(".")]
    return [Run(folder) for folder in sorted(found, reverse=True)]


def find_run(runs_folder: Path, run_id: str) -> Run | None:
    """The run with this id, if it is there."""
    if not re.fullmatch(r"[\w-]+", run_id):
        return None
    run = Run(runs_folder / run_id)
    return run if run.config_file.exists() else None


def pairs_of(run: Run) -> pd.DataFrame:
    """The pairs that the run was given."""
    frame = read_frame(run.pairs_file)
    if frame is None:
        raise TrainingError("The run's preference pairs are gone, so it cannot go on. Start a new run.")
    return frame
