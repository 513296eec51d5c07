"""A team at work: people, many at once, a publish that is cut off, a server of the team's own, the stock server."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil
import pytest
from argilla_api import Api

from rm_studio import annotation, data, flow, jobs
from rm_studio.annotation import Connection, OwnServer, people
from rm_studio.config import ColumnMapping, Question
from rm_studio.embedded import environment, server
from rm_studio.errors import AnnotationError, CredentialsError, NameTakenError, ServerError
from rm_studio.workspace import Project, Workspace, write_frame

MAPPING = ColumnMapping(prompt="prompt", answers=("good", "bad"))
STOCK = Path(__file__).with_name("stock_server.py")


def make_project(workspace: Workspace, name: str, n: int = 30) -> Project:
    project = workspace.create(name)
    rows = [(f"Question {i}?", f"Good answer {i}", f"Bad answer {i}") for i in range(n)]
    comparisons, *_ = data.build_comparisons(pd.DataFrame(rows, columns=["prompt", "good", "bad"]), MAPPING, seed=7)
    write_frame(project.comparisons, comparisons)
    return project


def publish(connection: Connection, project: Project, **options: Any) -> Any:
    return annotation.publish(connection, project, flow.require_comparisons(project), **options)


@pytest.fixture
def connection(argilla: Workspace) -> Iterator[Connection]:
    server.start(argilla)
    with annotation.connect(argilla) as found:
        yield found


def can_log_in(owner: server.Credentials, username: str, password: str) -> bool:
    body = {"username": username, "password": password}
    return httpx.post(f"{owner.api_url}/api/v1/token", data=body).status_code < 300


def test_adding_people_resetting_passwords_and_removing_without_losing_answers(
    argilla: Workspace, connection: Connection
) -> None:
    owner = server.credentials(argilla)
    assert owner is not None
    password = people.add(connection, " Zoë Müller ")
    assert people.Person("Zoë Müller", "annotator") in people.people(connection)
    assert can_log_in(owner, "Zoë Müller", password)
    with pytest.raises(AnnotationError, match="already in the team"):
        people.add(connection, "Zoë Müller")

    second = people.reset_password(connection, "Zoë Müller")
    assert can_log_in(owner, "Zoë Müller", second) and not can_log_in(owner, "Zoë Müller", password)

    project = make_project(argilla, "People")
    reference = publish(connection, project)
    user = next(one for one in connection.http.get("/api/v1/users").json()["items"] if one["username"] == "Zoë Müller")
    with closing(Api(owner.api_url, user["api_key"])) as zoe:
        found = zoe("POST", f"me/datasets/{reference.id}/records/search", {})["items"][0]["record"]["id"]
        body = {"status": "submitted", "values": {"choose-best": {"value": 1}}}
        zoe("POST", f"records/{found}/responses", body)
        people.remove(connection, "Zoë Müller")
        assert zoe.http.post(f"/api/v1/me/datasets/{reference.id}/records/search", json={}).status_code == 403
    assert not can_log_in(owner, "Zoë Müller", second)
    assert "Zoë Müller" not in {person.username for person in people.people(connection)}
    feedback = annotation.pull(connection, reference, flow.require_comparisons(project), project.info.question)
    assert list(feedback["annotator"]) == ["Zoë Müller"], "the answer is still there, and whose it is"
    third = people.add(connection, "Zoë Müller")
    assert can_log_in(owner, "Zoë Müller", third), "who was removed can come back"


@pytest.mark.parametrize("name", ["", "   ", "-dash", "<b>", "x" * 61, "owner"])
def test_names_that_do_not_do(connection: Connection, name: str) -> None:
    with pytest.raises(AnnotationError, match=r"A name has up to|already"):
        people.add(connection, name)


def test_only_the_owner_manages_people_and_the_owner_stays(argilla: Workspace, connection: Connection) -> None:
    with pytest.raises(AnnotationError, match="owners and admins stay"):
        people.remove(connection, "owner")
    owner = server.credentials(argilla)
    assert owner is not None
    with closing(Api.of(argilla)) as api:
        key = api.person().http.headers["X-Argilla-Api-Key"]
    with annotation.connect_to(owner.api_url, key) as annotator:
        assert [person.role for person in people.people(annotator)] == ["annotator"]
        with pytest.raises(AnnotationError, match="Only the owner"):
            people.add(annotator, "friend")


def test_a_taken_name_is_offered_to_go_on_with_or_to_rename(argilla: Workspace, connection: Connection) -> None:
    project = make_project(argilla, "Taken")
    first = publish(connection, project)
    assert annotation.name_is_taken(connection, project, first.name) is None, "its own is not taken"
    project.update(argilla=None)
    assert annotation.name_is_taken(connection, project, first.name) == "taken-2"
    with pytest.raises(NameTakenError, match="already a dataset") as caught:
        publish(connection, project)
    assert caught.value.free == "taken-2"
    assert project.info.argilla is None, "nothing was begun"
    assert publish(connection, project, name="Another name").name == "Another name"
    project.update(argilla=None)
    joined = publish(connection, project, go_on=True)
    assert (joined.id, joined.n_records) == (first.id, 30)


def test_going_on_with_a_dataset_that_asks_something_else_is_refused(
    argilla: Workspace, connection: Connection
) -> None:
    with closing(Api.of(argilla)) as api:
        other = api.dataset()
        name = api("GET", f"datasets/{other.id}")["name"]
        with pytest.raises(AnnotationError, match="asks something else"):
            publish(connection, make_project(argilla, "Other"), name=name, go_on=True)
        assert other.total() == 0
        publish(connection, make_project(argilla, "Plain"))
        marked = make_project(argilla, "Marked")
        marked.update(question=Question(use_markdown=True))
        with pytest.raises(AnnotationError, match="asks something else"):
            publish(connection, marked, name="plain", go_on=True)
        body = {"name": "Another draft", "workspace_id": api.workspace_id()}
        draft = api("POST", "datasets", body)["id"]
        with pytest.raises(AnnotationError, match="asks something else"):
            publish(connection, make_project(argilla, "Draft taker"), name="Another draft", go_on=True)
        assert api("GET", f"datasets/{draft}")["status"] == "draft", "it is not ours to clear away"
    with pytest.raises(AnnotationError, match="needs a letter"):
        annotation.name_is_taken(connection, make_project(argilla, "Odd name"), "<b>")


def test_killed_at_half_of_a_publish_then_pressed_again_gives_the_exact_count(argilla: Workspace) -> None:
    """FAULTS 25."""
    project = make_project(argilla, "Half", n=400)
    file = project.folder / "publish.json"
    server.start(argilla)
    pid = server.status(argilla).pid
    thread = jobs.start(file, "Publishing", lambda job: flow.publish(argilla, project, job))
    while jobs.read(file).done < 100:
        time.sleep(0.01)
    psutil.Process(pid).kill()
    thread.join(60)
    assert jobs.read(file).state == "failed"
    assert "stopped answering" in jobs.read(file).message
    server.start(argilla)
    for _ in range(2):
        jobs.start(file, "Publishing", lambda job: flow.publish(argilla, project, job)).join(120)
        assert jobs.read(file).message == "400 comparisons are in Argilla, ready to annotate."
    reference = project.info.argilla
    assert reference is not None
    with closing(Api.of(argilla)) as api:
        listed = api("GET", f"datasets/{reference.id}/records", limit=1000)["items"]
    assert len({item["external_id"] for item in listed}) == len(listed) == 400


def test_killed_while_the_dataset_is_made_the_draft_is_found_and_finished(argilla: Workspace) -> None:
    """FAULTS 26."""
    project = make_project(argilla, "Draft")
    server.start(argilla)
    with annotation.connect(argilla) as connection:
        pid = server.status(argilla).pid
        sent = []

        def kill_at_the_third_call(request: httpx.Request) -> None:
            if request.method == "POST":
                sent.append(request.url.path)
            if len(sent) == 3 and psutil.pid_exists(pid):  # the dataset and one field are there
                psutil.Process(pid).kill()

        connection.http.event_hooks["request"].append(kill_at_the_third_call)
        with pytest.raises(ServerError, match="stopped answering"):
            publish(connection, project)
    server.start(argilla)
    with annotation.connect(argilla) as connection:
        drafts = [item for item in connection.client.api.datasets.list() if item.name == "draft"]
        assert [draft.status for draft in drafts] == ["draft"]
        assert publish(connection, project).n_records == 30
        assert [item.status for item in connection.client.api.datasets.list() if item.name == "draft"] == ["ready"]


def test_twenty_annotators_during_a_publish_lose_no_answer(argilla: Workspace, connection: Connection) -> None:
    """FAULTS 29."""
    project = make_project(argilla, "Twenty", n=2000)
    project.update(question=Question(annotators=2))
    reference = publish(connection, project, should_stop=stop_after(6))
    with closing(Api.of(argilla)) as api:
        crew = [api.person() for _ in range(20)]
        answered: list[tuple[str, str]] = []
        wrong: list[str] = []
        publishing = threading.Event()

        def work(person: Api, number: int) -> None:
            while not publishing.is_set():
                time.sleep(0.05)
            search = f"/api/v1/me/datasets/{reference.id}/records/search?limit=10"
            page = person.http.post(search, json={}).json()["items"]
            for item in page[:6]:
                body = {"status": "submitted", "values": {"choose-best": {"value": 1}}}
                answer = person.http.post(f"/api/v1/records/{item['record']['id']}/responses", json=body)
                if answer.status_code == 201:
                    answered.append((item["record"]["id"], str(number)))
                else:
                    wrong.append(f"{answer.status_code} {answer.text}")

        threads = [threading.Thread(target=work, args=(person, number)) for number, person in enumerate(crew)]
        for thread in threads:
            thread.start()
        publishing.set()
        assert publish(connection, project).n_records == 2000
        for thread in threads:
            thread.join()
    assert not wrong
    feedback = annotation.pull(connection, reference, flow.require_comparisons(project), project.info.question)
    assert len(feedback) == len(answered) == 120
    assert feedback["annotator"].nunique() == 20


def stop_after(batches: int) -> Any:
    calls = iter(range(10_000))
    return lambda: next(calls) >= batches


def test_a_dataset_deleted_during_a_pull_is_an_error_never_a_short_result(
    argilla: Workspace, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 27."""
    monkeypatch.setattr("rm_studio.annotation.dataset.PAGE", 10)
    project = make_project(argilla, "Deleted")
    reference = publish(connection, project)
    comparisons = flow.require_comparisons(project)

    def delete_at_half(done: int, total: int) -> None:
        connection.http.delete(f"/api/v1/datasets/{reference.id}")

    with pytest.raises(AnnotationError, match=r"no longer in Argilla|records came back"):
        annotation.pull(connection, reference, comparisons, project.info.question, delete_at_half)


@pytest.fixture(scope="module")
def stock(argilla: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """The stock server code, without any of our changes, as a team of its own would run it."""
    folder = tmp_path_factory.mktemp("stock") / "argilla"
    server.ensure_credentials(Workspace(folder.parent))
    python = environment.interpreter(argilla.argilla_folder / "env")
    port = server._free_port(0)
    with (folder / "stock.log").open("wb") as log:
        process = subprocess.Popen([python, str(STOCK), str(folder), str(port)], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while not server._answers(url):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    owner = server.credentials(Workspace(folder.parent))
    assert owner is not None
    yield OwnServer(api_url=url, api_key=owner.api_key)
    process.terminate()
    process.wait()


def test_the_stock_server_serves_just_as_well(stock: OwnServer, workspace: Workspace) -> None:
    assert annotation.use_own_server(workspace, stock).workspace == "rm-studio"
    assert annotation.uses_own_server(workspace)
    project = make_project(workspace, "Stock")
    job = jobs.Job(project.folder / "x.json", "Publishing")
    assert flow.publish(workspace, project, job) == "30 comparisons are in Argilla, ready to annotate."
    reference = project.info.argilla
    assert reference is not None and reference.server == stock.api_url
    with closing(Api(stock.api_url, stock.api_key)) as api:
        for item in api("POST", f"me/datasets/{reference.id}/records/search", {}, limit=100)["items"][:7]:
            body = {"status": "submitted", "values": {"choose-best": {"value": 1}}}
            api("POST", f"records/{item['record']['id']}/responses", body)
    with annotation.connect(workspace) as connection:
        progress = annotation.progress(connection, reference)
        assert (progress.total, progress.completed) == (30, 7)
        assert people.add(connection, "anna")
        assert people.reset_password(connection, "anna")
        people.remove(connection, "anna")
        assert people.add(connection, "anna") is None, "on a server of the team's own a password is left alone"
    assert flow.pull(workspace, project, job) == "7 answers pulled; there are 7 preference pairs."


def test_a_server_of_one_s_own_is_remembered_privately_and_forgotten(stock: OwnServer, workspace: Workspace) -> None:
    annotation.use_own_server(workspace, stock)
    file = workspace.argilla_folder / "own_server.json"
    assert file.stat().st_mode & 0o777 == 0o600 or sys.platform == "win32"
    assert stock.api_key not in repr(annotation.own_server(workspace))
    login = annotation.login(workspace)
    assert login is not None and login.url == stock.api_url and not login.password
    annotation.forget_own_server(workspace)
    assert not annotation.uses_own_server(workspace) and not file.exists()


def test_what_is_wrong_with_one_s_own_server_is_said(stock: OwnServer, workspace: Workspace) -> None:
    """FAULTS 22, 23 and 28."""
    wrong: list[tuple[dict[str, str], type[Exception], str]] = [
        ({"api_url": "http://127.0.0.1:9"}, ServerError, "Check the address"),
        ({"api_url": stock.api_url + "/wrong"}, ServerError, "Check the address"),
        ({"api_url": "argilla.example"}, ServerError, "begins with http"),
        ({"api_key": "planted-key"}, CredentialsError, "does not accept this API key"),
        ({"workspace": "elsewhere"}, AnnotationError, "no workspace “elsewhere”.*rm-studio"),
    ]
    for changes, kind, message in wrong:
        begun = time.monotonic()
        with pytest.raises(kind, match=message) as caught:
            annotation.use_own_server(workspace, stock.model_copy(update=changes))
        assert time.monotonic() - begun < 10
        assert "planted-key" not in str(caught.value)
        assert not annotation.uses_own_server(workspace), "nothing was remembered"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, '{"version": "1.29.1"}', "version 1.29.1; RM Studio needs"),
        (404, "<html>404</html>", "No Argilla server answers"),
        (200, "<html>Something else</html>", "No Argilla server answers"),
        (200, "[]", "No Argilla server answers"),
    ],
)
def test_an_address_that_is_something_else(status: int, body: str, message: str, workspace: Workspace) -> None:
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        wanted = OwnServer(api_url=f"http://127.0.0.1:{other.server_port}", api_key="key")
        with pytest.raises(ServerError, match=message):
            annotation.use_own_server(workspace, wanted)
        other.shutdown()


def test_an_address_that_never_answers_is_given_up_within_ten_seconds(workspace: Workspace) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        with pytest.raises(ServerError, match="did not answer within"):
            annotation.use_own_server(
                workspace, OwnServer(api_url=f"http://127.0.0.1:{silent.getsockname()[1]}", api_key="key")
            )
        assert time.monotonic() - begun < 10
