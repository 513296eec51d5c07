"""One app's hold on its workspace's server: started when the app opens, started again when it crashes, ended with the
last app that uses it.

Each open app leaves a file in ``argilla/apps/`` that names its process; a file whose process is gone counts for
nothing. ``rm-studio argilla start`` leaves one that names no process: then the server stays until it is told to stop.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rm_studio import processes
from rm_studio.embedded import server
from rm_studio.errors import StudioError
from rm_studio.workspace import Workspace, read_json, write_json

log = logging.getLogger(__name__)

CHECK_S = 2.0
MOST_RESTARTS, RESTARTS_WITHIN_S = 3, 300.0


class Keeper:
    """Keeps the server running from ``open`` to ``close``, for as long as it is ``wanted`` at all."""

    def __init__(self, workspace: Workspace, wanted: Callable[[], bool] = lambda: True) -> None:
        self.workspace = workspace
        self.wanted = wanted
        self._closing = threading.Event()
        self._restarts: list[float] = []
        own = processes.own_identity()
        self._file = _apps(workspace) / f"{own.pid}.json"

    def open(self) -> None:
        """Note that this app uses the server, and see to it in the background that it runs."""
        write_json(self._file, processes.own_identity()._asdict())
        if self.wanted():
            server.announce(self.workspace)
        threading.Thread(target=self._keep, daemon=True, name="argilla").start()

    def close(self) -> None:
        """Let go; the last one to do so ends the server, unless it was started to stay."""
        self._closing.set()
        self._file.unlink(missing_ok=True)
        if not others(self.workspace):
            server.stop(self.workspace)

    def _keep(self) -> None:
        kept = False
        while not self._closing.is_set():
            if self.wanted() and not kept:
                start_quietly(self.workspace, self._closing.is_set)
            elif kept and not self.wanted() and not others(self.workspace):
                server.stop(self.workspace)
            kept = self.wanted()
            if kept and server.has_crashed(self.workspace):
                self._start_again()
            self._closing.wait(CHECK_S)

    def _start_again(self) -> None:
        """Start the server that has crashed, unless it does so again and again."""
        self._restarts = [moment for moment in self._restarts if time.monotonic() - moment < RESTARTS_WITHIN_S]
        if len(self._restarts) >= MOST_RESTARTS:
            server.give_up(self.workspace)
            return
        self._restarts.append(time.monotonic())
        log.warning("the annotation server has crashed and is started again")
        start_quietly(self.workspace, self._closing.is_set)


def stay(workspace: Workspace, wanted: bool) -> None:
    """Whether the server is to stay when no app is open."""
    file = _apps(workspace) / "stay.json"
    if wanted:
        write_json(file, {})
    else:
        file.unlink(missing_ok=True)


def others(workspace: Workspace) -> bool:
    """Whether another app, or a wish for it to stay, keeps the server."""
    for file in _apps(workspace).glob("*.json"):
        if file.stem == "stay":
            return True
        known = read_json(file) or {}
        process_id = processes.ProcessId(known.get("pid", 0), known.get("started", 0.0))
        if processes.find(process_id) is None:
            file.unlink(missing_ok=True)
        elif process_id != processes.own_identity():
            return True
    return False


def start_quietly(workspace: Workspace, given_up: Callable[[], bool] = lambda: False) -> None:
    """Start the embedded server; a failure is in its status, where the page finds it."""
    try:
        server.start(workspace, given_up=given_up)
    except StudioError as error:
        log.warning("%s", error, exc_info=error)
    except Exception:
        log.exception("the annotation server could not be started")


def _apps(workspace: Workspace) -> Path:
    return workspace.argilla_folder / "apps"
