"""What several test files use and is no fixture."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

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
