"""Start, find and stop the embedded Argilla server of a workspace.

The server is a process of its own that outlives the app's pages. ``argilla/status.json`` says which one it
is; every reader checks it against the process list before believing it.
"""

import hashlib
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from filelock import FileLock
from pydantic import Field

from rm_studio import processes
from rm_studio.embedded import environment
from rm_studio.errors import ServerError
from rm_studio.settings import Frozen
from rm_studio.workspace import Workspace, read_json, write_json

PREFERRED_PORT = 6900
WORKSPACE_NAME = "rm-studio"
START_LIMIT_S = 300.0  # a first start of a newer version may have to index a large database
LOG_LIMIT = 2_000_000  # bytes of server.log at a start before it is put aside
PASSWORD_VARIABLE = "RM_STUDIO_PASSWORD"  # for where nobody can read what was generated, such as a Space
ENDED = "The annotation server has ended. Start it again; nothing is lost."


class Credentials(Frozen):
    """Who may do everything on the embedded server. Generated once, readable by this user only."""

    api_url: str
    username: str
    password: str = Field(repr=False)
    api_key: str = Field(repr=False)
    workspace: str
    secret_key: str = Field(repr=False)


class ServerStatus(Frozen):
    """What is known of the server: ``stopped``, ``preparing``, ``starting``, ``running`` or ``failed``.

    While its environment is prepared, the process is the app that prepares it; from ``starting`` on, the server.
    """

    state: str = "stopped"
    message: str = "The annotation server is not running."
    api_url: str = ""
    pid: int = 0
    started: float = 0.0
    version: str = ""

    @property
    def process_id(self) -> processes.ProcessId:
        return processes.ProcessId(self.pid, self.started)


def status(workspace: Workspace) -> ServerStatus:
    """The server's state now, whoever started it. A state on disk whose process is gone reads as stopped."""
    known = read_json(_folder(workspace) / "status.json")
    if known is None:
        return ServerStatus()
    found = ServerStatus.model_validate(known)
    if _has_ended(found):
        return ServerStatus(message=ENDED)
    return found


def has_crashed(workspace: Workspace) -> bool:
    """Whether the server (or the app that was preparing it) is gone although nobody ended it."""
    known = read_json(_folder(workspace) / "status.json")
    return known is not None and _has_ended(ServerStatus.model_validate(known))


def announce(workspace: Workspace) -> None:
    """Say that this process is about to start the server, unless it runs already."""
    if status(workspace).state in ("stopped", "failed"):
        ours = processes.own_identity()._asdict()
        coming = ServerStatus(state="preparing", message="Starting the annotation server …", **ours)
        write_json(_folder(workspace) / "status.json", coming.model_dump())


def wait_until_running(workspace: Workspace, limit_s: float) -> bool:
    """Wait for a server that is just being started, but not for one that is not; whether it runs."""
    deadline = time.monotonic() + limit_s
    while (state := status(workspace).state) in ("preparing", "starting") and time.monotonic() < deadline:
        time.sleep(0.2)
    return state == "running"


def give_up(workspace: Workspace) -> None:
    """Say that the server crashes again and again, so that nobody starts it any more without looking."""
    message = "The annotation server has ended several times in a row. Its log says why; then press “Try again”."
    write_json(_folder(workspace) / "status.json", ServerStatus(state="failed", message=message).model_dump())


def log_tail(workspace: Workspace, lines: int = 200) -> str:
    """The last lines of the server's log, the newest first."""
    try:
        content = (_folder(workspace) / "server.log").read_bytes()[-200_000:]
    except OSError:
        return ""
    return "\n".join(reversed(content.decode("utf-8", "replace").splitlines()[-lines:]))


def credentials(workspace: Workspace) -> Credentials | None:
    """The owner's credentials, or None before the first start."""
    content = read_json(_folder(workspace) / "credentials.json")
    return Credentials.model_validate(content) if content else None


def start(
    workspace: Workspace,
    on_progress: Callable[[str], None] = lambda message: None,
    given_up: Callable[[], bool] = lambda: False,
) -> Credentials:
    """Make sure that the server runs and answers, and return how to reach it.

    ``given_up`` is asked at the last moment before the server begins, which may be minutes after the call.

    Raises:
        ServerError: it could not be prepared or did not answer in time.
    """
    folder = _folder(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # the database holds keys
    with FileLock(folder / ".start.lock"):
        owner = credentials(workspace)
        found = status(workspace)
        if owner and found.state == "running" and found.version == _version() and _answers(owner.api_url):
            return owner
        try:
            return _start(workspace, folder, on_progress, given_up)
        except Exception as error:
            unexpected = f"The annotation server could not be started ({type(error).__name__}). Press “Try again”."
            message = str(error) if isinstance(error, ServerError) else unexpected
            write_json(folder / "status.json", ServerStatus(state="failed", message=message).model_dump())
            raise


def stop(workspace: Workspace) -> bool:
    """End the server; True if one ran. Its data stays."""
    found = status(workspace)
    if processes.find(found.process_id) is None:
        return False
    if found.state == "preparing":
        return False
    # Said before it is done: an app that keeps the server must not take it for a crash.
    stopped = ServerStatus(message="The annotation server was stopped.").model_dump()
    write_json(_folder(workspace) / "status.json", stopped)
    processes.end(found.process_id)
    return True


def ensure_credentials(workspace: Workspace) -> Credentials:
    """The owner's credentials, made now if the server was never started."""
    folder = _folder(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # the database holds keys
    # Not the lock of a start: that may be held for minutes, and somebody waits to log in.
    with FileLock(folder / ".credentials.lock"):
        return credentials(workspace) or _write_credentials(folder, None, PREFERRED_PORT)


def _has_ended(found: ServerStatus) -> bool:
    alive = found.state in ("preparing", "starting", "running")
    return alive and processes.find(found.process_id) is None


def _version() -> str:
    """Changes with anything that a running server must be started anew for."""
    programs = sorted([*Path(__file__).parent.glob("server_*.py"), *Path(__file__).parent.glob("search_*.py")])
    content = b"".join(program.read_bytes() for program in programs) + environment.fingerprint().encode()
    return hashlib.sha256(content).hexdigest()[:16]


@contextmanager
def held_still(workspace: Workspace) -> Iterator[None]:
    """End the server, and let nobody start one before the block is left."""
    with FileLock(_folder(workspace) / ".start.lock"):
        stop(workspace)
        yield


def _folder(workspace: Workspace) -> Path:
    return workspace.argilla_folder


def _start(
    workspace: Workspace, folder: Path, on_progress: Callable[[str], None], given_up: Callable[[], bool]
) -> Credentials:
    file = folder / "status.json"

    def say(state: str, message: str, process_id: processes.ProcessId, api_url: str = "") -> None:
        on_progress(message)
        known = ServerStatus(state=state, message=message, api_url=api_url, version=_version(), **process_id._asdict())
        write_json(file, known.model_dump())

    stop(workspace)  # one that lives but does not answer: two must never share the database
    ourselves = processes.own_identity()
    owner = ensure_credentials(workspace)
    python = environment.ensure(folder, lambda message: say("preparing", message, ourselves))
    owner = _write_credentials(folder, owner, _free_port(httpx.URL(owner.api_url).port or PREFERRED_PORT))
    program = Path(__file__).with_name("server_main.py")
    command = [str(python), str(program), str(folder), str(httpx.URL(owner.api_url).port)]
    log = folder / "server.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(folder / "server.old.log")
    if given_up():
        raise ServerError("The app was closed before the annotation server was started. Start it again.")
    process_id = processes.spawn(command, log)
    try:
        say("starting", "Starting the annotation server …", process_id)
        _wait_for_answer(owner.api_url, process_id)
        say("running", "The annotation server is running.", process_id, owner.api_url)
    except BaseException:
        processes.end(process_id)  # one that nobody knows of must not go on with the database
        raise
    return owner


def _wait_for_answer(api_url: str, process_id: processes.ProcessId) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not _answers(api_url):
        if processes.find(process_id) is None:
            raise ServerError("The annotation server ended while starting. Its log says why; press “Try again”.")
        if time.monotonic() > deadline:
            raise ServerError(f"The annotation server did not answer within {START_LIMIT_S:.0f} s. Press “Try again”.")
        time.sleep(0.2)


def _write_credentials(folder: Path, owner: Credentials | None, port: int) -> Credentials:
    api_url = f"http://127.0.0.1:{port}/argilla"
    if owner is None:
        owner = Credentials(
            api_url=api_url,
            username="owner",
            password=os.environ.get(PASSWORD_VARIABLE) or secrets.token_urlsafe(9),
            api_key=f"owner.{secrets.token_urlsafe(32)}",
            workspace=WORKSPACE_NAME,
            secret_key=secrets.token_hex(32),
        )
    owner = owner.model_copy(update={"api_url": api_url})
    write_json(folder / "credentials.json", owner.model_dump(), mode=0o600)
    return owner


def _free_port(preferred: int) -> int:
    """``preferred`` if nothing listens there, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as candidate:
            if sys.platform != "win32":  # there it would share the port; elsewhere it only forgives a recent close
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(candidate.getsockname()[1])
    raise ServerError("No free network port was found on this machine.")


def _answers(api_url: str) -> bool:
    """Whether an Argilla server answers there, asked without any proxy."""
    try:
        return "version" in httpx.get(f"{api_url}/api/v1/version", timeout=3, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return False
