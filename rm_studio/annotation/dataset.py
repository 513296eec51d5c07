"""A project's dataset on an Argilla server: publish it, count who has done what, pull the feedback."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast
from uuid import UUID

import pandas as pd

from rm_studio import questions
from rm_studio.annotation.connection import GONE, Connection, translated
from rm_studio.annotation.texts import shown
from rm_studio.config import ArgillaDataset, Question
from rm_studio.errors import AnnotationError, DatasetGoneError, NameTakenError
from rm_studio.preferences import FEEDBACK_COLUMNS
from rm_studio.workspace import Project, now, rows

BATCH = 50  # records a request: few enough that people who annotate meanwhile do not notice
PAGE = 1000  # the most that Argilla gives at once


class PersonProgress(NamedTuple):
    """Where one annotator stands, in comparisons."""

    annotator: str
    submitted: int
    discarded: int
    draft: int
    pending: int


class Progress(NamedTuple):
    """Where everybody stands, in comparisons; a completed one has as many answers as were wanted."""

    total: int
    completed: int
    people: tuple[PersonProgress, ...]


OnProgress = Callable[[int, int], None]


def name_is_taken(connection: Connection, project: Project, name: str) -> str | None:
    """The first free name like ``name`` if another dataset of the workspace has it, else None.

    A dataset that this project was published to, or began to be, is its own.

    Raises:
        AnnotationError: the name does not do, or the server refused.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w -]{0,199}", name):
        raise AnnotationError(
            "The name in Argilla needs a letter or digit first, then letters, digits, spaces, - or _."
        )
    if _is_own(project.info.argilla, connection):
        return None
    with translated():
        if _find(connection, name, connection.workspace) is None:
            return None
        number = 2
        while _find(connection, f"{name}-{number}", connection.workspace) is not None:
            number += 1
    return f"{name}-{number}"


def publish(
    connection: Connection,
    project: Project,
    comparisons: pd.DataFrame,
    on_progress: OnProgress = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
    name: str | None = None,
    go_on: bool = False,
) -> ArgillaDataset:
    """Put the project's comparisons on the server, or go on with what an earlier call left unfinished.

    Each record carries the comparison's content hash as its id, so that publishing again changes nothing. ``name`` is
    the dataset's, the project's slug by default. A dataset that is there already is written into only with ``go_on``,
    and only if it asks the same question of the same fields.

    Raises:
        NameTakenError: there is another dataset of this name, and not ``go_on``.
        AnnotationError: the server refused.
    """
    info = project.info
    n_answers = len(comparisons["responses"].iloc[0])
    questions.check(info.question, n_answers)
    reference = info.argilla
    if reference is None or not _is_own(reference, connection):
        name = name or project.slug
        free = name_is_taken(connection, project, name)
        if free and not go_on:
            raise NameTakenError(f"There is already a dataset “{name}” in Argilla.", free)
        if free:
            with translated():
                _must_ask_the_same(connection, name, info.question, n_answers)
        reference = ArgillaDataset(
            server=connection.server,
            workspace=connection.workspace,
            name=name,
            n_records=0,
            published_at=now(),
        )
        # Written before anything is sent: if we are cut off, the next call knows that the dataset is ours.
        project.update(argilla=reference)
    with translated():
        dataset_id = _finished(connection, reference.name) or _create(
            connection, reference.name, info.question, n_answers
        )
        # From here on annotators may see the question: it is fixed, also if we are cut off.
        reference = project.update(argilla=reference.model_copy(update={"id": str(dataset_id)})).argilla or reference
        for start in range(0, len(comparisons), BATCH):
            if should_stop():
                break
            batch = rows(comparisons.iloc[start : start + BATCH])
            items = [_record(row, info.question.use_markdown) for row in batch]
            connection.http.put(f"/api/v1/datasets/{dataset_id}/records/bulk", json={"items": items}).raise_for_status()
            on_progress(start + len(batch), len(comparisons))
        total = connection.client.api.datasets.get_progress(dataset_id).total
    reference = reference.model_copy(update={"n_records": total, "published_at": now(), "id": str(dataset_id)})
    project.update(argilla=reference)
    return reference


def progress(connection: Connection, reference: ArgillaDataset) -> Progress:
    """How many comparisons each person has submitted, discarded, begun, and still before them.

    Raises:
        AnnotationError: the dataset is gone.
    """
    with translated():
        dataset_id = _required(connection, reference)
        counts = connection.client.api.datasets.get_progress(dataset_id)
        users = connection.client.api.datasets.list_users_progress(dataset_id)
    people = []
    for user in users:
        done, open_ = user.completed, user.pending
        people.append(
            PersonProgress(
                user.username,
                submitted=done.submitted + open_.submitted,
                discarded=done.discarded + open_.discarded,
                draft=done.draft + open_.draft,
                # Completed comparisons leave everybody's queue; the others wait for those who have not answered.
                pending=counts.pending - open_.submitted - open_.discarded - open_.draft,
            )
        )
    return Progress(counts.total, counts.completed, tuple(sorted(people)))


def pull(
    connection: Connection,
    reference: ArgillaDataset,
    comparisons: pd.DataFrame,
    question: Question,
    on_progress: OnProgress = lambda done, total: None,
) -> pd.DataFrame:
    """Everybody's feedback, un-shuffled (`preferences.FEEDBACK_COLUMNS`), on all that was published.

    Raises:
        DatasetGoneError: the dataset is gone.
        AnnotationError: it is on another server, or fewer records came than it holds.
    """
    orders = dict(zip(comparisons["id"], comparisons["order"], strict=True))
    feedback: list[dict[str, Any]] = []
    seen: set[str] = set()
    with translated():
        dataset_id = _required(connection, reference)
        names = _names(connection)
        total = connection.client.api.datasets.get_progress(dataset_id).total
        for record in _records(connection, dataset_id):
            seen.add(record["id"])
            order = orders.get(record["external_id"])
            if order is None:  # the project has chosen other comparisons since; it may come back to this one
                order = filter(None, str((record.get("metadata") or {}).get("order") or "").split(","))
            if places := [int(place) for place in order]:
                feedback.extend(_feedback(record, question, places, names))
            if len(seen) % PAGE == 0:
                on_progress(len(seen), total)
        total = connection.client.api.datasets.get_progress(dataset_id).total
    if len(seen) < total:
        raise AnnotationError(
            f"Only {len(seen):,} of {total:,} records came back from Argilla. Nothing was changed here; pull again."
        )
    on_progress(len(seen), total)
    return pd.DataFrame(feedback, columns=FEEDBACK_COLUMNS)


def _is_own(reference: ArgillaDataset | None, connection: Connection) -> bool:
    here = (connection.server, connection.workspace)
    return reference is not None and (reference.server, reference.workspace) == here


def _must_ask_the_same(connection: Connection, name: str, question: Question, n: int) -> None:
    """Raise AnnotationError unless the dataset asks this very question of the same fields."""
    dataset = _find(connection, name, connection.workspace)
    fields = _items(connection, f"/api/v1/datasets/{dataset.id}/fields")
    there_asked = _items(connection, f"/api/v1/datasets/{dataset.id}/questions")
    there = (
        dataset.status,
        dataset.distribution.min_submitted,
        {field["name"]: field["settings"].get("use_markdown") for field in fields},
        [(item["name"], item["title"], _values(item["settings"])) for item in there_asked],
    )
    wanted = (
        "ready",
        question.annotators,
        dict.fromkeys(_fields(n), question.use_markdown),
        [(asked.name, asked.title, list(asked.options)) for asked in questions.asked(question, n)],
    )
    if there != wanted:
        raise AnnotationError(
            f"The dataset “{name}” in Argilla asks something else, so nothing was added. Rename yours."
        )


def _values(settings: dict[str, Any]) -> list[str]:
    return [str(option["value"]) for option in settings.get("options", ())]


def _items(connection: Connection, path: str) -> list[dict[str, Any]]:
    answer = connection.http.get(path)
    answer.raise_for_status()
    return cast(list[dict[str, Any]], answer.json()["items"])


def _create(connection: Connection, name: str, question: Question, n: int) -> UUID:
    import argilla as rg

    settings = rg.Settings(
        guidelines=question.guidelines,
        fields=[
            rg.TextField(name=name, title=title, use_markdown=question.use_markdown)
            for name, title in _fields(n).items()
        ],
        questions=[_control(asked) for asked in questions.asked(question, n)],
        distribution=rg.TaskDistribution(min_submitted=question.annotators),
        allow_extra_metadata=True,
    )
    dataset = rg.Dataset(name=name, workspace=connection.workspace, settings=settings, client=connection.client)
    return cast(UUID, dataset.create().id)


def _fields(n: int) -> dict[str, str]:
    """The texts of a record with ``n`` answers: their names and titles."""
    return {"instruction": "Instruction", **{f"response-{place}": f"Answer {place}" for place in range(1, n + 1)}}


def _control(asked: questions.Asked) -> Any:
    """A control of the page as one of Argilla's questions."""
    import argilla as rg

    common = {"name": asked.name, "title": asked.title, "description": asked.hint, "required": asked.required}
    if asked.control == "rating":
        return rg.RatingQuestion(values=[int(value) for value in asked.options], **common)
    if asked.control == "ranking":
        return rg.RankingQuestion(values=asked.options, **common)
    if asked.control == "labels":
        return rg.MultiLabelQuestion(labels=asked.options, **common)
    if asked.control == "label":
        return rg.LabelQuestion(labels=asked.options, visible_labels=None, **common)
    return rg.TextQuestion(**common)


def _names(connection: Connection) -> dict[str, str]:
    """User names by id; only an owner may list them, anybody else knows their own."""
    answer = connection.http.get("/api/v1/users")
    if answer.status_code == 403:
        return {str(connection.client.me.id): connection.client.me.username}
    answer.raise_for_status()
    return {user["id"]: user["username"] for user in answer.json()["items"]}


def _find(connection: Connection, name: str, workspace: str) -> Any:
    """The model of the dataset of this name, or None."""
    ids = {found.name: found.id for found in connection.client.workspaces}
    if workspace not in ids:
        return None
    return connection.client.api.datasets.get_by_name_and_workspace_id(name, ids[workspace])


def _finished(connection: Connection, name: str) -> UUID | None:
    """The id of the dataset if it is there and whole; one left as a draft by a broken call is cleared away."""
    dataset = _find(connection, name, connection.workspace)
    if dataset is not None and dataset.status == "draft":
        connection.client.api.datasets.delete(dataset.id)
        return None
    return dataset.id if dataset is not None else None


def _required(connection: Connection, reference: ArgillaDataset) -> UUID:
    if connection.server != reference.server:
        raise AnnotationError("This project was published to another Argilla server. Publish it to this one first.")
    dataset = _find(connection, reference.name, reference.workspace)
    if dataset is None:
        raise DatasetGoneError(GONE)
    return cast(UUID, dataset.id)


def _record(comparison: dict[str, Any], use_markdown: bool) -> dict[str, Any]:
    order = [int(place) for place in comparison["order"]]
    texts = [comparison["prompt"], *(comparison["responses"][index] for index in order)]
    return {
        "external_id": comparison["id"],
        "fields": {name: shown(text, use_markdown) for name, text in zip(_fields(len(order)), texts, strict=True)},
        "metadata": {"order": ",".join(map(str, order))},
    }


def _records(connection: Connection, dataset_id: UUID) -> Iterator[dict[str, Any]]:
    """Every record with its responses, as the server sends it; asks as a new call until a page comes back short."""
    offset = 0
    while True:
        answer = connection.http.get(
            f"/api/v1/datasets/{dataset_id}/records",
            params={"offset": offset, "limit": PAGE, "include": ["responses"]},
        )
        answer.raise_for_status()
        page = answer.json()["items"]
        yield from page
        offset += len(page)
        if len(page) < PAGE:
            return


def _feedback(
    record: dict[str, Any], question: Question, order: list[int], names: dict[str, str]
) -> Iterator[dict[str, Any]]:
    for response in record.get("responses") or []:
        row: dict[str, Any] = {
            "id": record["external_id"],
            "annotator": names.get(response["user_id"], f"user {response['user_id'][:8]}"),
            "status": response["status"],
            "ranks": [],
        }
        if response["status"] == "submitted" and (
            given := questions.given(question, response.get("values") or {}, order)
        ):
            row |= {**given._asdict(), "submitted_at": response["updated_at"]}
        elif response["status"] == "submitted":  # to a question that was changed in Argilla itself
            continue
        yield row
