"""A really running Argilla, asked as its owner or as somebody else, for tests that need more than the product asks."""

import itertools
from typing import Any

import httpx

from rm_studio.embedded import server
from rm_studio.workspace import Workspace

_numbers = itertools.count()


class Api:
    """The server's API; ``as_user`` gives the same for another person."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, headers={"X-Argilla-Api-Key": api_key}, timeout=60)
        self.people: list[Api] = []

    def close(self) -> None:
        for each in (self, *self.people):
            each.http.close()

    @classmethod
    def of(cls, workspace: Workspace) -> "Api":
        owner = server.credentials(workspace)
        assert owner is not None
        return cls(owner.api_url, owner.api_key)

    def __call__(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        answer = self.http.request(method, f"/api/v1/{path}", json=body, params=params)
        assert answer.status_code < 300, f"{answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def person(self) -> "Api":
        """A new annotator of the owner's workspace."""
        name = f"person{next(_numbers)}x{id(self)}"
        body = {"first_name": name, "username": name, "password": "password-123", "role": "annotator"}
        user = self("POST", "users", body)
        self("POST", f"workspaces/{self.workspace_id()}/users", {"user_id": user["id"]})
        self.people.append(Api(self.url, user["api_key"]))
        return self.people[-1]

    def workspace_id(self) -> str:
        return str(self("GET", "me/workspaces")["items"][0]["id"])

    def dataset(
        self,
        fields: dict[str, str] | None = None,
        questions: dict[str, dict[str, Any]] | None = None,
        metadata: dict[str, str] | None = None,
        vectors: dict[str, int] | None = None,
        min_submitted: int = 1,
    ) -> "Dataset":
        """A published dataset: fields and metadata by type, questions by settings, vectors by dimensions."""
        body: dict[str, Any] = {"name": f"dataset {next(_numbers)}", "workspace_id": self.workspace_id()}
        body["distribution"] = {"strategy": "overlap", "min_submitted": min_submitted}
        made = self("POST", "datasets", body)["id"]
        path = f"datasets/{made}"
        # Argilla publishes only what has a required field and a required question: the first of each.
        for place, (name, kind) in enumerate((fields or {"text": "text"}).items()):
            settings = {"type": kind, **({"template": "{{record.fields}}"} if kind == "custom" else {})}
            self("POST", f"{path}/fields", {"name": name, "title": name, "required": not place, "settings": settings})
        rating = {"type": "rating", "options": [{"value": value} for value in range(1, 6)]}
        for name, settings in (questions or {"rating": rating}).items():
            self("POST", f"{path}/questions", {"name": name, "title": name, "required": True, "settings": settings})
        for name, kind in (metadata or {}).items():
            body = {"name": name, "title": name, "settings": {"type": kind}, "visible_for_annotators": True}
            self("POST", f"{path}/metadata-properties", body)
        for name, dimensions in (vectors or {}).items():
            self("POST", f"{path}/vectors-settings", {"name": name, "title": name, "dimensions": dimensions})
        self("PUT", f"{path}/publish")
        return Dataset(self, made)


class Dataset:
    """A dataset on the server, by its id."""

    def __init__(self, api: Api, id: str) -> None:
        self.api = api
        self.id = id

    def add(self, *records: dict[str, Any]) -> list[str]:
        """Add records; returns their ids."""
        made = self.api("PUT", f"datasets/{self.id}/records/bulk", {"items": list(records)})
        return [item["id"] for item in made["items"]]

    def search(
        self,
        text: str | None = None,
        field: str | None = None,
        *filters: dict[str, Any],
        user: Api | None = None,
        sort: list[dict[str, Any]] | None = None,
        vector: dict[str, Any] | None = None,
        **params: Any,
    ) -> Any:
        """What the server finds, as nobody in particular or as ``user`` on the labelling page."""
        body: dict[str, Any] = {}
        if text is not None:
            body.setdefault("query", {})["text"] = {"q": text, **({"field": field} if field else {})}
        if vector is not None:
            body.setdefault("query", {})["vector"] = vector
        if filters:
            body["filters"] = {"and": list(filters)}
        if sort:
            body["sort"] = sort
        path = f"datasets/{self.id}/records/search"
        return user("POST", f"me/{path}", body, **params) if user else self.api("POST", path, body, **params)

    def total(self, text: str | None = None, field: str | None = None, *filters: dict[str, Any], **more: Any) -> int:
        return int(self.search(text, field, *filters, **more)["total"])

    def answer(self, user: Api, record: str, status: str, value: int | None = None) -> None:
        body: dict[str, Any] = {"status": status, "values": {"rating": {"value": value}} if value else None}
        user("POST", f"records/{record}/responses", body)


def terms(scope: dict[str, Any], *values: str) -> dict[str, Any]:
    return {"type": "terms", "scope": scope, "values": list(values)}


def between(scope: dict[str, Any], ge: float | str | None = None, le: float | str | None = None) -> dict[str, Any]:
    return {"type": "range", "scope": scope, "ge": ge, "le": le}


def response(question: str | None = None, property: str | None = None) -> dict[str, Any]:
    return {"entity": "response", **({"question": question} if question else {"property": property})}


def suggestion(question: str, property: str) -> dict[str, Any]:
    return {"entity": "suggestion", "question": question, "property": property}


def metadata(name: str) -> dict[str, Any]:
    return {"entity": "metadata", "metadata_property": name}


def record(property: str) -> dict[str, Any]:
    return {"entity": "record", "property": property}
