"""Processes that outlive the one that started them, known by pid *and* start time.

A pid alone is reused by the system; together with the moment the process began it names one process for
ever. Nothing here is special to one operating system.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil


class ProcessId(NamedTuple):
    """One process: its pid and when it began, in seconds since 1970."""

    pid: int
    started: float


def identify(pid: int) -> ProcessId | None:
    """The identity of a process that runs now, or None."""
    try:
        return ProcessId(pid, psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def own_identity() -> ProcessId:
    """The identity of the process that asks."""
    return ProcessId(os.getpid(), psutil.Process().create_time())


def find(process_id: ProcessId) -> psutil.Process | None:
    """The process if it is still that very one and running, else None."""
    try:
        process = psutil.Process(process_id.pid)
        # Some systems round the start time differently from call to call.
        same = abs(process.create_time() - process_id.started) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def spawn(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    without: Callable[[str], bool] = lambda name: False,
) -> ProcessId:
    """Start ``command`` so that it lives on without us; what it prints is appended to ``log``.

    It gets our environment, but for the variables that ``without`` names, and with those of ``environment``.

    It starts in an empty terminal-less session (POSIX) or process group (Windows), in the log's folder.
    """
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**{k: v for k, v in os.environ.items() if not without(k)}, **(environment or {})},
            **options,
        )
    # Whoever started it must fetch its exit code, or it stays in the process list for as long as we live.
    threading.Thread(target=process.wait, daemon=True, name=f"wait-{process.pid}").start()
    return identify(process.pid) or ProcessId(process.pid, 0.0)


def end(process_id: ProcessId, patience_s: float = 10.0) -> None:
    """Ask the process and its children to end, and end those that do not within ``patience_s``."""
    process = find(process_id)
    if process is None:
        return
    family = [*process.children(recursive=True), process]
    for member in family:
        _quietly(member.terminate)
    _, alive = psutil.wait_procs(family, timeout=patience_s)
    for member in alive:
        _quietly(member.kill)
    psutil.wait_procs(alive, timeout=5)


def _quietly(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.Error:
        return
