"""The embedded server's life: found, not doubled, stopped, started again, honest about failure."""

import socket
import stat
from pathlib import Path

import httpx
import psutil
import pytest

from rm_studio.embedded import environment, server
from rm_studio.errors import ServerError
from rm_studio.workspace import Workspace, read_json


def test_a_second_start_finds_the_first(argilla: Workspace) -> None:
    before = server.status(argilla).pid
    owner = server.start(argilla)
    assert server.status(argilla).pid == before
    assert httpx.get(f"{owner.api_url}/api/v1/version").json()["version"].startswith("2.8")


def test_credentials_are_generated_private_and_in_no_command_line(argilla: Workspace) -> None:
    owner = server.credentials(argilla)
    assert owner is not None and len(owner.password) >= 12
    file = argilla.argilla_folder / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(argilla.argilla_folder.stat().st_mode) == 0o700
    command = " ".join(psutil.Process(server.status(argilla).pid).cmdline())
    log = (argilla.argilla_folder / "server.log").read_text()
    for secret in (owner.password, owner.api_key, owner.secret_key):
        assert secret not in command + log + repr(owner)


def test_default_credentials_do_not_open_it(argilla: Workspace) -> None:
    owner = server.credentials(argilla)
    assert owner is not None
    login = httpx.post(f"{owner.api_url}/api/v1/token", data={"username": "argilla", "password": "12345678"})
    assert login.status_code == 401


def test_it_listens_on_this_machine_only(argilla: Workspace) -> None:
    connections = psutil.Process(server.status(argilla).pid).net_connections(kind="inet")
    assert {item.laddr.ip for item in connections if item.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_killed_it_reads_as_stopped_and_starts_again_with_all_that_was_there(argilla: Workspace) -> None:
    process = psutil.Process(server.status(argilla).pid)
    process.kill()
    psutil.wait_procs([process], timeout=10)
    assert server.status(argilla).state == "stopped"
    before = server.credentials(argilla)
    after = server.start(argilla)
    assert before is not None
    assert (after.password, after.api_key) == (before.password, before.api_key)


def test_a_port_that_is_taken_leads_to_another() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert server._free_port(port) != port


def test_packages_that_cannot_be_fetched_are_said_and_leave_nothing_that_looks_whole(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("argilla-server==2.8.0\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", requirements)
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(ServerError, match="Internet could not be reached"):
        server.start(workspace)
    assert server.status(workspace).state == "failed"
    assert not environment.is_ready(workspace.argilla_folder / "env")


def test_an_environment_of_another_version_is_not_ready(argilla: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.is_ready(argilla.argilla_folder / "env")
    monkeypatch.setattr(environment, "fingerprint", lambda: "another")
    assert not environment.is_ready(argilla.argilla_folder / "env")


def test_the_database_lets_readers_work_while_somebody_writes(argilla: Workspace) -> None:
    assert (argilla.argilla_folder / "argilla.db-wal").exists()
    assert read_json(argilla.argilla_folder / "status.json")["state"] == "running"
