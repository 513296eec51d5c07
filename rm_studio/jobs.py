"""Work of a minute or so that a page starts and no page owns: publishing and pulling.

A job runs in a thread of the app and keeps its state in one file. Any page may watch it, none has to; when the
app itself dies, the file's process is gone and the job reads as interrupted. (Training lasts longer than the
app may: it has a process of its own, see `training.runs`.)
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rm_studio import processes
from rm_studio.errors import StudioError
from rm_studio.settings import Frozen
from rm_studio.workspace import read_json, write_json

log = logging.getLogger(__name__)


class JobStatus(Frozen):
    """``state``: none, running, done, stopped, failed or interrupted; ``rate`` a second; ``eta_s`` in seconds."""

    title: str = ""
    state: str = "none"
    message: str = ""
    done: int = 0
    total: int = 0
    rate: float | None = None
    eta_s: float | None = None
    pid: int = 0
    started: float = 0.0
    ended_at: float = 0.0


class Job:
    """What the work itself gets: a way to say how far it is, and to hear that it should stop."""

    def __init__(self, file: Path, title: str) -> None:
        self.file = file
        self.stopping = threading.Event()
        self._begun = time.monotonic()
        self._written = 0.0
        self._status = JobStatus(
            title=title, state="running", message=f"{title} …", **processes.own_identity()._asdict()
        )
        self._write()

    def progress(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` items are finished."""
        elapsed = time.monotonic() - self._begun
        rate = done / elapsed if elapsed > 0 else None
        eta = (total - done) / rate if rate else None
        self._status = self._status.model_copy(update={"done": done, "total": total, "rate": rate, "eta_s": eta})
        if time.monotonic() - self._written > 0.3 or done >= total:
            self._write()

    def say(self, message: str) -> None:
        """Note what is being done, where nothing can be counted."""
        self._status = self._status.model_copy(update={"message": message})
        self._write()

    def end(self, state: str, message: str) -> None:
        self._status = self._status.model_copy(
            update={"state": state, "message": message, "eta_s": None, "ended_at": time.time()}
        )
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        write_json(self.file, self._status.model_dump())


_running: dict[Path, Job] = {}
_lock = threading.Lock()


def start(file: Path, title: str, work: Callable[[Job], str]) -> threading.Thread:
    """Run ``work`` in the background; what it returns is the closing message.

    Raises:
        StudioError: the same job is already running, here or in another app on this workspace.
    """
    with _lock:
        if (before := read(file)).state == "running":
            raise StudioError(f"{before.title} is already under way. Wait until it is done, or stop it first.")
        job = _running[file] = Job(file, title)
    thread = threading.Thread(target=_run, args=(job, work), daemon=True, name=title)
    thread.start()
    return thread


def stop(file: Path) -> None:
    """Ask the job to stop after the item it is at."""
    if job := _running.get(file):
        job.stopping.set()


def stop_all(folder: Path, wait_s: float = 10.0) -> None:
    """Stop this app's jobs whose state is kept in ``folder``, and wait until none is at work there.

    Raises:
        StudioError: one goes on, because it has not yet heard that it should stop.
    """
    files = [file for file in list(_running) if file.parent == folder]
    for file in files:
        stop(file)
    deadline = time.monotonic() + wait_s
    while under_way := [status for file in files if (status := read(file)).state == "running"]:
        if time.monotonic() > deadline:
            raise StudioError(f"{under_way[0].title} is still under way. Wait until it is done, then try again.")
        time.sleep(0.05)


def read(file: Path) -> JobStatus:
    """The job's state now; one whose process is gone reads as interrupted."""
    content = read_json(file)
    status = JobStatus.model_validate(content) if content else JobStatus()
    if status.state == "running" and processes.find(processes.ProcessId(status.pid, status.started)) is None:
        message = f"{status.title} was interrupted. Press the button again: it goes on where it was."
        return status.model_copy(update={"state": "interrupted", "message": message, "eta_s": None})
    return status


def _run(job: Job, work: Callable[[Job], str]) -> None:
    try:
        message = work(job)
        job.end("stopped" if job.stopping.is_set() else "done", message)
    except StudioError as error:
        log.info("%s failed", job.file.name, exc_info=error)
        job.end("failed", str(error))
    except Exception as error:
        log.exception("%s failed", job.file.name)
        job.end(
            "failed",
            f"Something unexpected happened ({type(error).__name__}). The log has the details; try again.",
        )
