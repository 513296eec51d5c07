"""What several test files use and is no fixture."""

import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rm_studio.errors import TrainingError
from rm_studio.settings import parse_settings
from rm_studio.training import runs
from rm_studio.training.config import TrainConfig
from rm_studio.training.runs import Run, Status

LIMIT_S = 120
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def needed(found: bool, what: str) -> None:
    """Skip where a person's machine lacks ``what``; fail where CI does."""
    if not found:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have {what}")
        pytest.skip(f"needs {what}")


def chromium() -> str | None:
    """A Chromium or Chrome on this machine."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def wait_until(run: Run, condition: Callable[[Status], bool]) -> Status:
    """Wait until a training run's status is so; fail when it ends before."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        status = run.status()
        if condition(status):
            return status
        assert status.is_active, f"ended early: {status.message}\n{run.log_file.read_text()}"
        time.sleep(0.01)
    raise AssertionError(f"timed out in state {run.status()}")


def train_here(pairs: pd.DataFrame, output: Path, **settings: Any) -> Run:
    """`queue.train` with the worker's work done in this process."""
    run = runs.prepare(output, parse_settings(TrainConfig, settings), pairs)
    work_here(run)
    if not run.has_model:
        raise TrainingError(run.status().message)
    return run


def work_here(run: Run) -> None:
    """What the worker does, in this process, which has loaded torch already: seconds less a run."""
    from accelerate.state import AcceleratorState

    from rm_studio.training import worker

    on_term = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as the worker's own process does
            worker.work(run)
    finally:
        signal.signal(signal.SIGTERM, on_term)
        AcceleratorState._reset_state(reset_partial_state=True)
