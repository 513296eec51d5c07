"""Argilla for real: published, labelled through its API, counted and pulled; and what goes wrong (FAULTS, Argilla)."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pandas as pd
import pytest

from rm_studio import annotation, data, flow, jobs, preferences
from rm_studio.annotation import Connection
from rm_studio.annotation.texts import shown
from rm_studio.config import ColumnMapping
from rm_studio.embedded import server
from rm_studio.errors import AnnotationError, CredentialsError, DataError, ServerError
from rm_studio.workspace import Project, Workspace, write_frame

MAPPING = ColumnMapping(prompt="prompt", answers=("good", "bad"))
NAMES = iter(range(1000))


@pytest.fixture
def connection(argilla: Workspace) -> Iterator[Connection]:
    with annotation.connect(argilla) as found:
        yield found


@pytest.fixture
def project(argilla: Workspace) -> Project:
    """A project of 30 comparisons, ready to publish."""
    project = argilla.create(f"Project {next(NAMES)}")
    rows = [(f"Question {i}: 1 < 2 & <b>bold</b>?", f"Good answer {i}", f"Bad answer {i}") for i in range(30)]
    frame = pd.DataFrame(rows, columns=["prompt", "good", "bad"])
    comparisons, *_ = data.build_comparisons(frame, MAPPING, seed=7)
    write_frame(project.comparisons, comparisons)
    return project


def publish(connection: Connection, project: Project, **options: Any) -> Any:
    return annotation.publish(connection, project, flow.require_comparisons(project), **options)


class Annotator:
    """A person at the API: sees the records as the page does, and answers them."""

    def __init__(self, connection: Connection, project: Project, api_key: str | None = None) -> None:
        self.http = connection.http
        self.headers = {"X-Argilla-Api-Key": api_key} if api_key else {}
        name = project.slug
        datasets = self.http.get("/api/v1/me/datasets", headers=self.headers).json()["items"]
        self.dataset = next(item["id"] for item in datasets if item["name"] == name)

    def search(self, body: dict[str, Any] | None = None, **params: Any) -> Any:
        answer = self.http.post(
            f"/api/v1/me/datasets/{self.dataset}/records/search",
            json=body or {},
            params={"limit": 100, **params},
            headers=self.headers,
        )
        answer.raise_for_status()
        return answer.json()

    def records(self) -> list[dict[str, Any]]:
        return [item["record"] for item in self.search()["items"]]

    def answer(self, record: dict[str, Any], status: str, value: int | None = None) -> None:
        body: dict[str, Any] = {"status": status}
        if value is not None:
            body["values"] = {"choose-best": {"value": value}}
        self.http.post(f"/api/v1/records/{record['id']}/responses", json=body, headers=self.headers).raise_for_status()


def test_what_was_meant_is_what_is_pulled_whatever_the_order_on_the_page(
    connection: Connection, project: Project
) -> None:
    reference = publish(connection, project)
    annotator = Annotator(connection, project)
    places = []
    for record in annotator.records():
        place = 1 if record["fields"]["response-1"].startswith("Good") else 2
        places.append(place)
        annotator.answer(record, "submitted", place)
    assert set(places) == {1, 2}, "the answers were shuffled"
    feedback = annotation.pull(connection, reference, flow.require_comparisons(project), project.info.question)
    assert len(feedback) == 30
    pairs, _ = preferences.make_pairs(flow.require_comparisons(project), feedback)
    assert len(pairs) == 30
    assert pairs["chosen"].str.startswith("Good").all()
    assert sorted(feedback["position_chosen"]) == sorted(places)
    assert set(feedback["annotator"]) == {"owner"}


def test_counts_tell_submitted_discarded_draft_and_pending(connection: Connection, project: Project) -> None:
    reference = publish(connection, project)
    annotator = Annotator(connection, project)
    for record, (status, value) in zip(
        annotator.records(), [("submitted", 1), ("submitted", 2), ("discarded", None), ("draft", 1)], strict=False
    ):
        annotator.answer(record, status, value)
    progress = annotation.progress(connection, reference)
    assert (progress.total, progress.completed) == (30, 2)
    assert progress.people == (annotation.PersonProgress("owner", submitted=2, discarded=1, draft=1, pending=26),)
    feedback = annotation.pull(connection, reference, flow.require_comparisons(project), project.info.question)
    assert sorted(feedback["status"]) == ["discarded", "draft", "submitted", "submitted"]
    assert feedback.loc[feedback["status"] != "submitted", "position_chosen"].isna().all()


def test_the_tutorial_s_names_are_there(connection: Connection, project: Project) -> None:
    reference = publish(connection, project)
    dataset = connection.client.datasets(name=reference.name, workspace=reference.workspace)
    assert dataset is not None
    assert [field.name for field in dataset.settings.fields] == ["instruction", "response-1", "response-2"]
    assert [question.name for question in dataset.settings.questions] == ["choose-best"]
    assert dataset.settings.questions[0].values == [1, 2]
    assert "Discard the record" in dataset.settings.guidelines


def test_publishing_again_or_after_a_stop_gives_the_exact_count(
    connection: Connection, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rm_studio.annotation.dataset.BATCH", 10)
    calls = iter([False, True])
    assert publish(connection, project, should_stop=lambda: next(calls)).n_records == 10
    assert publish(connection, project).n_records == 30
    assert publish(connection, project).n_records == 30
    assert Annotator(connection, project).search()["total"] == 30


def test_a_dataset_left_as_a_draft_is_cleared_and_made_again(connection: Connection, project: Project) -> None:
    reference = publish(connection, project)
    found = connection.client.datasets(name=reference.name, workspace=reference.workspace)
    assert found is not None
    workspace_id = str(found.workspace.id)
    found.delete()
    body = {"name": project.slug, "workspace_id": workspace_id}
    connection.http.post("/api/v1/datasets", json=body).raise_for_status()  # a draft, as a killed create leaves it
    assert publish(connection, project).n_records == 30


def test_a_dataset_that_was_deleted_is_an_error_never_a_short_result(connection: Connection, project: Project) -> None:
    reference = publish(connection, project)
    dataset = connection.client.datasets(name=reference.name, workspace=reference.workspace)
    assert dataset is not None
    dataset.delete()
    for ask in (
        lambda: annotation.progress(connection, reference),
        lambda: annotation.pull(connection, reference, flow.require_comparisons(project), project.info.question),
    ):
        with pytest.raises(AnnotationError, match="no longer in Argilla"):
            ask()


def test_markup_is_published_as_text(connection: Connection, project: Project) -> None:
    publish(connection, project)
    record = Annotator(connection, project).records()[0]
    assert "1 &lt; 2 &amp; &lt;b&gt;bold&lt;/b&gt;" in record["fields"]["instruction"]
    assert shown("<img src=x onerror=alert(1)>") == "&lt;img src=x onerror=alert(1)&gt;"


def test_a_wrong_key_says_so_and_is_repeated_nowhere(argilla: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    owner = server.credentials(argilla)
    assert owner is not None
    with pytest.raises(CredentialsError, match="does not accept this API key") as caught:
        annotation.connect_to(owner.api_url, "planted.secret.key")
    assert "planted" not in str(caught.value) + caplog.text
    with pytest.raises(CredentialsError, match="An API key is needed"):
        annotation.connect_to(owner.api_url, "")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:9/some/path/", "ftp://x", "nonsense"])
def test_a_wrong_address_is_said_within_ten_seconds(url: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ServerError):
        annotation.connect_to(url, "some.key")
    assert time.monotonic() - begun < 10


def test_a_user_without_a_workspace_is_told_what_to_fix(connection: Connection, argilla: Workspace) -> None:
    body = {"first_name": "New", "username": f"new{next(NAMES)}", "password": "password123", "role": "annotator"}
    user = connection.http.post("/api/v1/users", json=body).json()
    owner = server.credentials(argilla)
    assert owner is not None
    with pytest.raises(AnnotationError, match="no workspace"):
        annotation.connect_to(owner.api_url, user["api_key"])


def test_one_s_own_server_is_used_when_the_environment_names_it(
    argilla: Workspace, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = server.credentials(argilla)
    assert owner is not None
    monkeypatch.setenv("ARGILLA_API_URL", owner.api_url + "/")
    monkeypatch.setenv("ARGILLA_API_KEY", owner.api_key)
    with annotation.connect(workspace) as connection:
        assert connection.server == owner.api_url
    login = annotation.login(workspace)
    assert login is not None and login.url == owner.api_url and not login.password


def test_without_a_running_server_the_message_leads_to_the_annotate_tab(workspace: Workspace) -> None:
    with pytest.raises(ServerError, match="Annotate tab"):
        annotation.connect(workspace)
    assert annotation.login(workspace) is None


def test_the_jobs_of_the_tabs_publish_and_pull(argilla: Workspace, connection: Connection, project: Project) -> None:
    with pytest.raises(DataError, match="Publish on the Question tab"):
        flow.pull(argilla, project, jobs.Job(project.folder / "x.json", "Pulling"))
    jobs.start(project.folder / "publish.json", "Publishing", lambda job: flow.publish(argilla, project, job)).join()
    assert jobs.read(project.folder / "publish.json").message == "30 comparisons are in Argilla, ready to annotate."
    pulled = flow.pull(argilla, project, jobs.Job(project.folder / "x.json", "Pulling"))
    assert "Nobody has submitted" in pulled
    annotator = Annotator(connection, project)
    for record in annotator.records()[:5]:
        annotator.answer(record, "submitted", 1)
    pulled = flow.pull(argilla, project, jobs.Job(project.folder / "x.json", "Pulling"))
    assert pulled == "5 answers pulled; there are 5 preference pairs."
    assert len(flow.require_pairs(project)) == 5


# What the labelling page asks of the search engine.


def status_filter(*statuses: str) -> dict[str, Any]:
    scope = {"entity": "response", "property": "status"}
    return {"filters": {"and": [{"type": "terms", "scope": scope, "values": list(statuses)}]}}


def test_the_page_finds_pending_drafts_submitted_and_discarded(connection: Connection, project: Project) -> None:
    publish(connection, project)
    annotator = Annotator(connection, project)
    first, second, third, *_ = annotator.records()
    annotator.answer(first, "submitted", 1)
    annotator.answer(second, "discarded")
    annotator.answer(third, "draft", 2)
    totals = {
        status: annotator.search(status_filter(status))["total"]
        for status in ("pending", "draft", "submitted", "discarded")
    }
    assert totals == {"pending": 27, "draft": 1, "submitted": 1, "discarded": 1}
    assert annotator.search(status_filter("pending", "draft"))["total"] == 28


@pytest.mark.parametrize(
    ("text", "found"),
    [("Question 7", 1), ("good ANSWER", 30), ('"answer 7"', 1), ('"7 answer"', 0), ("100%", 0), ("nothing like it", 0)],
)
def test_the_page_searches_text_by_words_and_phrases(
    connection: Connection, project: Project, text: str, found: int
) -> None:
    publish(connection, project)
    total = Annotator(connection, project).search({"query": {"text": {"q": text}}})["total"]
    assert (total >= 1) if text == "Question 7" else (total == found)


def test_pages_are_disjoint_complete_and_stable(connection: Connection, project: Project) -> None:
    publish(connection, project)
    annotator = Annotator(connection, project)
    pages = [annotator.search(offset=offset, limit=7)["items"] for offset in range(0, 35, 7)]
    ids = [item["record"]["id"] for page in pages for item in page]
    assert len(ids) == len(set(ids)) == 30
    again = [item["record"]["id"] for item in annotator.search(limit=30)["items"]]
    assert ids == again


def test_sorting_by_when_records_came_goes_both_ways(connection: Connection, project: Project) -> None:
    publish(connection, project)
    annotator = Annotator(connection, project)
    scope = {"entity": "record", "property": "inserted_at"}
    there, back = (
        [
            item["record"]["inserted_at"]
            for item in annotator.search({"sort": [{"scope": scope, "order": order}]})["items"]
        ]
        for order in ("asc", "desc")
    )
    assert there == sorted(there)
    assert back == sorted(back, reverse=True)


def test_answers_are_filtered_by_the_value_chosen(connection: Connection, project: Project) -> None:
    publish(connection, project)
    annotator = Annotator(connection, project)
    for record, value in zip(annotator.records(), (1, 2, 2), strict=False):
        annotator.answer(record, "submitted", value)
    scope = {"entity": "response", "question": "choose-best"}
    terms = {"filters": {"and": [{"type": "terms", "scope": scope, "values": ["2"]}]}}
    between = {"filters": {"and": [{"type": "range", "scope": scope, "ge": 1, "le": 1}]}}
    assert annotator.search(terms)["total"] == 2
    assert annotator.search(between)["total"] == 1


def test_the_labelling_page_asks_nothing_of_the_outside_world(connection: Connection) -> None:
    page = connection.http.get("/").text
    sheets = [part.split('"')[0] for part in page.split('href="')[1:] if ".css" in part.split('"')[0]]
    assert sheets
    for sheet in sheets:
        assert "@import url(http" not in connection.http.get(sheet).text
    assert isinstance(connection.http, httpx.Client)


def test_a_key_never_follows_a_redirect() -> None:
    asked: list[tuple[str, str | None]] = []

    class Redirects(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("X-Argilla-Api-Key")))
            self.send_response(307)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Redirects) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        with pytest.raises(ServerError, match="leads on to"):
            annotation.connect_to(f"http://127.0.0.1:{http.server_port}", "planted-key")
        http.shutdown()
    assert asked == [("/api/v1/version", None)]
