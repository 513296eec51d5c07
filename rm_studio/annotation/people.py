"""Who may annotate: adding a person to the team's workspace in Argilla, a new password, taking a person out."""

import re
import secrets
from typing import Any, NamedTuple

from rm_studio.annotation.connection import Connection, translated
from rm_studio.errors import AnnotationError

ANNOTATOR = "annotator"
NO_PERSON = "Argilla does not know this person any more, or is too old to do this. Load the page again."
NOT_OWNER = "Only the owner of this Argilla server may add or remove people. Ask them, or connect with their API key."


class Person(NamedTuple):
    """Somebody who may annotate, with Argilla's own roles: owner, admin or annotator."""

    username: str
    role: str


def people(connection: Connection) -> tuple[Person, ...]:
    """Everybody in the workspace, and the owners, who are in all of them; just oneself for who may not see the others.

    Raises:
        AnnotationError: the server refused.
    """
    with translated():
        me = connection.client.me
        if not _is_owner(connection):
            return (Person(me.username, me.role.value),)
        found = {Person(user["username"], user["role"]) for user in _members(connection)}
        found |= {Person(user["username"], user["role"]) for user in _users(connection) if user["role"] == "owner"}
    return tuple(sorted(found))


def add(connection: Connection, username: str) -> str | None:
    """Add an annotator to the workspace and return the password, which is told nowhere else.

    None for somebody whom a server of the team's own knows already: the password that they have is left alone.

    Raises:
        AnnotationError: the name does not do or is taken, or we are not the owner.
    """
    username = username.strip()
    if not re.fullmatch(r"[^\W_][\w.@' -]{0,59}", username):
        raise AnnotationError("A name has up to 60 letters, digits, spaces or . - _ @ ', and begins with a letter.")
    _must_be_owner(connection)
    with translated(NO_PERSON):
        if any(user["username"] == username for user in _members(connection)):
            raise AnnotationError(f"“{username}” is already in the team. A forgotten password can be made anew.")
        known = next((user for user in _users(connection) if user["username"] == username), None)
        password: str | None = _new_password()
        if known is not None and known["role"] != ANNOTATOR:
            raise AnnotationError(f"There is already somebody called “{username}”. Choose another name.")
        if known is None:
            body = {"first_name": username, "username": username, "password": password, "role": ANNOTATOR}
            known = _call(connection, "POST", "/api/v1/users", body)
        elif _is_ours(connection):  # was here before: the answers are still theirs
            _call(connection, "PATCH", f"/api/v1/users/{known['id']}", {"password": password})
        else:
            password = None
        path = f"/api/v1/workspaces/{_workspace_id(connection)}/users"
        _call(connection, "POST", path, {"user_id": known["id"]})
    return password


def reset_password(connection: Connection, username: str) -> str:
    """Give an annotator a new password and return it.

    Raises:
        AnnotationError: there is nobody of this name in the team, or we are not the owner.
    """
    user = _annotator(connection, username)
    password = _new_password()
    with translated(NO_PERSON):
        _call(connection, "PATCH", f"/api/v1/users/{user['id']}", {"password": password})
    return password


def remove(connection: Connection, username: str) -> None:
    """Take an annotator out of the team: they see none of its datasets any more. What they answered stays.

    Argilla would delete all their answers together with a user, so the user is kept, without the workspace; on the
    embedded server, where there is no other, without a password too.

    Raises:
        AnnotationError: there is nobody of this name in the team, or we are not the owner.
    """
    user = _annotator(connection, username)
    with translated(NO_PERSON):
        _call(connection, "DELETE", f"/api/v1/workspaces/{_workspace_id(connection)}/users/{user['id']}")
        if _is_ours(connection):
            _call(connection, "PATCH", f"/api/v1/users/{user['id']}", {"password": secrets.token_urlsafe(30)})


def _annotator(connection: Connection, username: str) -> dict[str, Any]:
    _must_be_owner(connection)
    with translated():
        found = next((user for user in _members(connection) if user["username"] == username), None)
    if found is None or found["role"] != ANNOTATOR:
        raise AnnotationError("Choose one of the annotators first; owners and admins stay as they are.")
    return found


def _must_be_owner(connection: Connection) -> None:
    with translated():
        if not _is_owner(connection):
            raise AnnotationError(NOT_OWNER)


def _is_owner(connection: Connection) -> bool:
    return bool(connection.client.me.role.value == "owner")


def _is_ours(connection: Connection) -> bool:
    return connection.server == "embedded"


def _members(connection: Connection) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _call(connection, "GET", f"/api/v1/workspaces/{_workspace_id(connection)}/users")
    return found


def _users(connection: Connection) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _call(connection, "GET", "/api/v1/users")
    return found


def _workspace_id(connection: Connection) -> str:
    return next(str(found.id) for found in connection.client.workspaces if found.name == connection.workspace)


def _new_password() -> str:
    return secrets.token_urlsafe(9)


def _call(connection: Connection, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    answer = connection.http.request(method, path, json=body)
    answer.raise_for_status()
    content = answer.json() if answer.content else None
    return content["items"] if isinstance(content, dict) and "items" in content else content
