"""Connect to an Argilla server, ours or the user's own, and say in our own words what is wrong when that fails."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

import httpx

from rm_studio.embedded import server as embedded
from rm_studio.errors import AnnotationError, CredentialsError, ServerError
from rm_studio.workspace import Workspace

if TYPE_CHECKING:
    import argilla as rg

CONNECT_LIMIT_S = 10.0
GONE = "The dataset is no longer in Argilla. Publish it again from the Question tab."
WRONG_KEY = "Argilla does not accept this API key. Copy it again from “My settings” there."
URL_VARIABLE, KEY_VARIABLE = "ARGILLA_API_URL", "ARGILLA_API_KEY"


class Connection(NamedTuple):
    """An Argilla server, and the workspace that we use there; closed at the end of a ``with`` block.

    ``server`` names it for good: its address, or "embedded" for ours, whose port may change from start to start.
    """

    client: "rg.Argilla"
    server: str
    workspace: str

    @property
    def http(self) -> httpx.Client:
        """The client's own HTTP connection, with the key in its headers."""
        return cast(httpx.Client, self.client.api.http_client)

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Login(NamedTuple):
    """How a person logs in to the labelling page; no user name and password for a server of their own."""

    url: str
    username: str = ""
    password: str = ""


def uses_own_server() -> bool:
    """Whether the environment names an Argilla server, so that none is started."""
    return bool(os.environ.get(URL_VARIABLE))


def connect(workspace: Workspace) -> Connection:
    """Connect to the user's own Argilla where one is configured, else to the embedded one, which must run.

    Raises:
        ServerError: nothing answers, or not as an Argilla server does, within ``CONNECT_LIMIT_S``.
        CredentialsError: the key is not accepted.
        AnnotationError: the user has no workspace.
    """
    if uses_own_server():
        return connect_to(os.environ[URL_VARIABLE], os.environ.get(KEY_VARIABLE, ""))
    owner = embedded.credentials(workspace)
    if owner is None or embedded.status(workspace).state != "running":
        raise ServerError("The annotation server is not running yet. Start it on the Annotate tab, then try again.")
    return connect_to(owner.api_url, owner.api_key, owner.workspace)._replace(server="embedded")


def connect_to(api_url: str, api_key: str, workspace: str | None = None) -> Connection:
    """Connect to the Argilla server at ``api_url``; raises as `connect` does."""
    api_url = api_url.rstrip("/")
    if not api_url.startswith(("http://", "https://")):
        raise ServerError("The address of an Argilla server begins with http:// or https://. Check it.")
    if not api_key:
        raise CredentialsError("An API key is needed. You find yours in Argilla under “My settings”.")
    try:
        with httpx.Client(base_url=api_url, timeout=CONNECT_LIMIT_S, follow_redirects=True) as http:
            http.get("/api/v1/version").raise_for_status().json()["version"]
            me = http.get("/api/v1/me", headers={"X-Argilla-Api-Key": api_key})
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise ServerError(
            f"No Argilla server answers at {api_url}. Check the address, and that the server is running; a private "
            "Space needs to be opened to you first."
        ) from error
    if me.status_code == 401:
        raise CredentialsError(WRONG_KEY)
    import argilla as rg

    with translated():
        client = rg.Argilla(api_url=api_url, api_key=api_key, timeout=60, retries=2)
        connection = Connection(client, api_url, workspace or "")
        names = [found.name for found in client.workspaces]
    if workspace in names:
        return connection
    if not names:
        connection.close()
        raise AnnotationError("You have no workspace in Argilla yet. Ask its owner to add you to one.")
    return connection._replace(workspace=names[0])


def login(workspace: Workspace) -> Login | None:
    """What to tell a person who wants to annotate, or None before the embedded server's first start."""
    if uses_own_server():
        return Login(os.environ[URL_VARIABLE].rstrip("/"))
    owner = embedded.credentials(workspace)
    return Login(owner.api_url, owner.username, owner.password) if owner else None


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the Argilla client raises into our own errors."""
    from argilla._exceptions import (
        ArgillaAPIError,
        ArgillaCredentialsError,
        ArgillaError,
        ForbiddenError,
        NotFoundError,
        UnauthorizedError,
    )

    try:
        yield
    except (ArgillaCredentialsError, UnauthorizedError) as error:
        raise CredentialsError(
            "Argilla does not accept this API key. Copy it again from “My settings” there."
        ) from error
    except ForbiddenError as error:
        raise AnnotationError(
            "Your role in Argilla does not allow this. Ask its owner to make you an admin."
        ) from error
    except NotFoundError as error:
        raise AnnotationError(GONE) from error
    except httpx.HTTPStatusError as error:
        gone = error.response.status_code == 404
        raise AnnotationError(
            GONE if gone else f"Argilla answered with an error ({error.response.status_code}). Try again."
        ) from error
    except httpx.HTTPError as error:
        raise ServerError(
            "The annotation server stopped answering. Check that it is running, then try again."
        ) from error
    except (ArgillaAPIError, ArgillaError) as error:
        raise AnnotationError(f"Argilla refused: {str(error).splitlines()[0][:200]}") from error
