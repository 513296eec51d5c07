"""The embedded server among apps: shared, kept, started again, backed up, migrated after a copy; and its jobs."""

import http.server
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from argilla_api import Api, Dataset

from rm_studio import processes
from rm_studio.embedded import backup, environment, keeper, server
from rm_studio.errors import ServerError
from rm_studio.workspace import Workspace, read_json, write_json


@pytest.fixture(scope="module")
def own(argilla: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with a server of its own to kill, in the environment that is built already."""
    workspace = Workspace(tmp_path_factory.mktemp("life"))
    workspace.argilla_folder.mkdir()
    (workspace.argilla_folder / "env").symlink_to(argilla.argilla_folder / "env", target_is_directory=True)
    yield workspace
    server.stop(workspace)


@pytest.fixture
def api(own: Workspace) -> Iterator[Api]:
    server.start(own)
    with closing(Api.of(own)) as found:
        yield found


def soon(holds: Callable[[], bool], within_s: float = 30) -> bool:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class App(subprocess.Popen[bytes]):
    """Another process that keeps the server as an app does, until it is told to end."""

    def __init__(self, workspace: Workspace) -> None:
        program = (
            "import sys; from pathlib import Path; from rm_studio.embedded.keeper import Keeper; "
            "from rm_studio.workspace import Workspace; keeper = Keeper(Workspace(Path(sys.argv[1]))); "
            "keeper.open(); sys.stdin.read(); keeper.close()"
        )
        super().__init__([sys.executable, "-c", program, str(workspace.root)], stdin=subprocess.PIPE)

    def end(self) -> None:
        self.communicate(timeout=30)


def running(workspace: Workspace) -> bool:
    return server.status(workspace).state == "running"


def test_two_apps_share_one_server_and_the_last_ends_it(own: Workspace) -> None:
    first, second = App(own), App(own)
    assert soon(lambda: running(own))
    pid = server.status(own).pid
    first.end()
    time.sleep(1)
    assert running(own) and server.status(own).pid == pid
    second.end()
    assert not running(own)
    assert not psutil.pid_exists(pid)


def test_the_server_of_an_app_that_was_killed_is_found_again_and_not_left_behind(own: Workspace) -> None:
    killed = App(own)
    assert soon(lambda: running(own))
    pid = server.status(own).pid
    killed.kill()
    killed.communicate()
    again = App(own)
    assert soon(lambda: keeper.others(own))
    assert running(own) and server.status(own).pid == pid
    again.end()
    assert not running(own)


def test_a_server_that_crashes_is_started_again(own: Workspace) -> None:
    app = App(own)
    assert soon(lambda: running(own))
    before = server.status(own).pid
    psutil.Process(before).kill()
    assert soon(lambda: running(own) and server.status(own).pid != before)
    server.stop(own)
    time.sleep(keeper.CHECK_S + 1)
    assert not running(own), "one that was stopped on purpose is left alone"
    app.end()


def test_a_server_that_crashes_again_and_again_is_given_up(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "CHECK_S", 0.05)
    starts = []
    crashed = {"state": "running", "pid": 999_999_999, "started": 1.0}

    def crash(workspace: Workspace, given_up: Callable[[], bool]) -> None:
        starts.append(1)
        write_json(workspace.argilla_folder / "status.json", server.ServerStatus(**crashed).model_dump())

    monkeypatch.setattr(keeper, "start_quietly", crash)
    kept = keeper.Keeper(own)
    kept.open()
    assert soon(lambda: server.status(own).state == "failed", 10)
    assert "several times" in server.status(own).message
    kept.close()
    assert len(starts) == 1 + keeper.MOST_RESTARTS


def test_what_the_command_line_started_stays_when_an_app_closes(own: Workspace, api: Api) -> None:
    keeper.stay(own, True)
    app = App(own)
    assert soon(lambda: len(list((own.argilla_folder / "apps").glob("*.json"))) == 2)
    app.end()
    assert running(own)
    keeper.stay(own, False)


def test_another_process_with_the_same_pid_is_never_touched(own: Workspace) -> None:
    server.stop(own)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    known = {"state": "running", "pid": stranger.pid, "started": time.time() - 1000}
    write_json(own.argilla_folder / "status.json", server.ServerStatus(**known).model_dump())
    assert server.status(own).state == "stopped"
    assert not server.stop(own)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_server_of_an_older_version_is_replaced(own: Workspace, api: Api) -> None:
    before = server.status(own)
    file = own.argilla_folder / "status.json"
    write_json(file, {**read_json(file), "version": "older"})
    server.start(own)
    assert server.status(own).pid != before.pid
    assert processes.find(before.process_id) is None


def test_a_half_built_environment_is_built_again_beside_the_old_one(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("six==1.17.0\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", requirements)
    folder = workspace.argilla_folder
    (folder / "env.new" / "bin").mkdir(parents=True)
    python = environment.ensure(folder, lambda message: None)
    assert python.exists() and environment.is_ready(folder / "env")
    requirements.write_text("six==1.16.0\n")
    seen: list[bool] = []
    environment.ensure(folder, lambda message: seen.append(python.exists()))
    assert seen and all(seen), "the old one stays until the new one is whole"
    assert environment.is_ready(folder / "env") and not (folder / "env.new").exists()
    assert list((folder / "env").rglob("six-1.16.0.dist-info"))


def test_backups_are_whole_private_and_can_be_put_back(own: Workspace, api: Api) -> None:
    dataset = api.dataset()
    dataset.add({"fields": {"text": "before"}})
    made = backup.back_up(own)
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o600
    dataset.add({"fields": {"text": "after"}})
    assert backup.backups(own)[0] == made
    backup.restore(own, made.file.name)
    server.start(own)
    with closing(Api.of(own)) as again:
        assert Dataset(again, dataset.id).total() == 1
        assert Dataset(again, dataset.id).total("before") == 1
    assert len(backup.backups(own)) == 2, "what was replaced was copied first"


def test_a_damaged_or_unknown_copy_is_not_put_back(own: Workspace, api: Api, workspace: Workspace) -> None:
    with pytest.raises(ServerError, match="nothing to back up"):
        backup.back_up(workspace)
    made = backup.back_up(own)
    made.file.write_bytes(made.file.read_bytes()[:5000])
    with pytest.raises(ServerError, match="damaged"):
        backup.restore(own, made.file.name)
    for name in ("nothing.db", "../argilla.db"):
        with pytest.raises(ServerError, match="no copy of this name"):
            backup.restore(own, name)
    assert running(own)
    made.file.unlink()


def test_an_older_database_is_copied_and_then_migrated(own: Workspace, api: Api) -> None:
    dataset = api.dataset()
    dataset.add({"fields": {"text": "kept"}})
    server.stop(own)
    python = environment.interpreter(own.argilla_folder / "env")
    downgrade = (
        "import os, sys; os.environ['ARGILLA_HOME_PATH'] = sys.argv[1]; from alembic import command; "
        "from alembic.config import Config; from argilla_server.database import ALEMBIC_CONFIG_FILE; "
        "command.downgrade(Config(ALEMBIC_CONFIG_FILE), '-1')"
    )
    subprocess.run([python, "-c", downgrade, str(own.argilla_folder)], check=True, capture_output=True)
    server.start(own)
    copies = list((own.argilla_folder / "backups").glob("before-migration-*.db"))
    assert len(copies) == 1
    with closing(sqlite3.connect(copies[0])) as old, closing(sqlite3.connect(own.argilla_folder / "argilla.db")) as new:
        versions = [database.execute("SELECT version_num FROM alembic_version").fetchone() for database in (old, new)]
        assert versions[0] != versions[1]
        assert old.execute("SELECT count(*) FROM records").fetchone()[0] >= 1
    with closing(Api.of(own)) as again:
        assert Dataset(again, dataset.id).total("kept") == 1
    assert "is migrated to" in server.log_tail(own, 10_000)


def test_the_log_is_read_newest_first_and_put_aside_when_long(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    server.stop(own)
    log = own.argilla_folder / "server.log"
    log.write_text("".join(f"line {number}\n" for number in range(1000)))
    assert server.log_tail(own, 2) == "line 999\nline 998"
    monkeypatch.setattr(server, "LOG_LIMIT", 100)
    server.start(own)
    assert "line 999" in (own.argilla_folder / "server.old.log").read_text()
    assert "line 999" not in log.read_text()


# What the server hands to Redis and RQ elsewhere.


def test_a_changed_number_of_wanted_answers_is_counted_anew_in_the_background(own: Workspace, api: Api) -> None:
    dataset = api.dataset(min_submitted=1)
    found = dataset.add(*({"fields": {"text": str(number)}} for number in range(5)))
    somebody = api.person()
    for record in found[:3]:
        dataset.answer(somebody, record, "submitted", 1)
    progress = f"datasets/{dataset.id}/progress"
    assert api("GET", progress)["completed"] == 3
    with closing(sqlite3.connect(own.argilla_folder / "argilla.db", timeout=30)) as database, database:
        # The page allows this only before anybody has answered; afterwards it is the job's work to set it right.
        wanted = json.dumps({"strategy": "overlap", "min_submitted": 2})
        database.execute("UPDATE datasets SET distribution = ? WHERE id = ?", [wanted, dataset.id.replace("-", "")])
    api("PATCH", f"datasets/{dataset.id}", {"guidelines": "Read twice."})
    assert soon(lambda: api("GET", progress)["completed"] == 0)


def test_a_count_that_a_kill_prevented_is_made_up_for_at_the_next_start(own: Workspace, api: Api) -> None:
    dataset = api.dataset(min_submitted=1)
    (found,) = dataset.add({"fields": {"text": "one"}})
    dataset.answer(api.person(), found, "submitted", 1)
    psutil.Process(server.status(own).pid).kill()
    with closing(sqlite3.connect(own.argilla_folder / "argilla.db", timeout=30)) as database, database:
        database.execute("UPDATE records SET status = 'pending'")
    server.start(own)
    with closing(Api.of(own)) as again:
        assert again("GET", f"datasets/{dataset.id}/progress")["completed"] == 1


class Listener:
    """A web address that notes what it is sent; the first call it answers with an error."""

    def __init__(self) -> None:
        calls: list[tuple[dict[str, str], Any]] = []
        self.calls = calls

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                calls.append((dict(self.headers), body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_webhooks_hear_what_happens_as_soon_as_there_is_one(api: Api) -> None:
    dataset = api.dataset()
    dataset.add({"fields": {"text": "unheard"}})
    with closing(Listener()) as listener:
        events = ["record.created", "response.created", "record.completed"]
        webhook = api("POST", "webhooks", {"url": listener.url, "events": events, "description": "test"})
        (found,) = dataset.add({"fields": {"text": "heard"}})
        dataset.answer(api.person(), found, "submitted", 1)
        assert soon(lambda: len(listener.calls) >= 3)
        assert {call["type"] for _, call in listener.calls} == set(events)
        created = next(call for _, call in listener.calls if call["type"] == "record.created")
        assert created["data"]["fields"] == {"text": "heard"}
        assert all(headers.get("webhook-signature") for headers, _ in listener.calls)
        api("DELETE", f"webhooks/{webhook['id']}")
        dataset.add({"fields": {"text": "unheard again"}})
        time.sleep(1)
        assert len(listener.calls) == 3


def test_similarity_may_have_a_threshold(own: Workspace, api: Api) -> None:
    """The API offers none; the engine's own interface does, so the engine is asked, in its own interpreter."""
    dataset = api.dataset(vectors={"arrow": 2})
    dataset.add(*({"fields": {"text": "x"}, "vectors": {"arrow": [1.0, height]}} for height in (0.0, 1.0, 100.0)))
    program = f"""
import asyncio, json, os, sys
sys.path.insert(0, {str(Path(server.__file__).parent)!r})
import server_main
server_main.configure(__import__("pathlib").Path({str(own.argilla_folder)!r}), "x" * 32)
import server_jobs
server_jobs.use_own_memory()
import search_engine
from uuid import UUID
from argilla_server.database import AsyncSessionLocal
from argilla_server.models import Dataset, VectorSettings

async def main():
    async with AsyncSessionLocal() as db:
        dataset = await Dataset.get(db, UUID({dataset.id!r}))
        settings = await VectorSettings.get_by(db, dataset_id=dataset.id)
        engine = await search_engine.StudioSearchEngine.new_instance()
        found = [
            [item.score for item in (await engine.similarity_search(
                dataset, settings, value=[1.0, 0.0], threshold=threshold)).items]
            for threshold in (None, 0.8, 0.99)
        ]
        for wrong in ({{}}, {{"value": [1.0], "record": object()}}):
            try:
                await engine.similarity_search(dataset, settings, **wrong)
            except ValueError:
                found.append("refused")
        print(json.dumps(found))

asyncio.run(main())
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ARGILLA")}
    python = environment.interpreter(own.argilla_folder / "env")
    result = subprocess.run([python, "-c", program], capture_output=True, text=True, env=environ)
    assert result.returncode == 0, result.stderr
    without, high, highest, *wrong = json.loads(result.stdout.splitlines()[-1])
    assert [len(scores) for scores in (without, high, highest)] == [3, 2, 1]
    assert wrong == ["refused", "refused"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_asked_to_end_it_ends_by_itself(own: Workspace, api: Api) -> None:
    process = psutil.Process(server.status(own).pid)
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    assert server.status(own).state == "stopped"
