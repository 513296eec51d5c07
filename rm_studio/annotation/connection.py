"""Connect to an Argilla server, ours or the user's own, and say in our own words what is wrong when that fails."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import httpx
from pydantic import Field

from rm_studio.embedded import server as embedded
from rm_studio.errors import AnnotationError, CredentialsError, ServerError
from rm_studio.settings import Frozen
from rm_studio.workspace import Workspace, read_json, write_json

if TYPE_CHECKING:
    import argilla as rg

CONNECT_LIMIT_S = 8.0  # for each of the questions below; the first that fails ends it
STARTING_LIMIT_S = 20.0  # how long a click may wait for the embedded server while it starts
OLDEST_SERVER = (2, 0)
GONE = "The dataset is no longer in Argilla. Publish it again from the Question tab."
WRONG_KEY = "Argilla does not accept this API key. Copy it again from “My settings” there."
URL_VARIABLE, KEY_VARIABLE, TOKEN_VARIABLE = "ARGILLA_API_URL", "ARGILLA_API_KEY", "HF_TOKEN"


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


class OwnServer(Frozen):
    """An Argilla server of the team's own, and how to get in; kept where only this user can read it."""

    api_url: str
    api_key: str = Field(repr=False)
    workspace: str = ""
    hub_token: str = Field("", repr=False)


class Login(NamedTuple):
    """How a person logs in to the labelling page; no user name and password for a server of their own."""

    url: str
    username: str = ""
    password: str = ""


def own_server(workspace: Workspace) -> OwnServer | None:
    """The team's own Argilla server, if the environment or the Annotate tab named one: then none is started."""
    if url := os.environ.get(URL_VARIABLE):
        return OwnServer(
            api_url=url.rstrip("/"),
            api_key=os.environ.get(KEY_VARIABLE, ""),
            hub_token=os.environ.get(TOKEN_VARIABLE, "") if _is_space(url) else "",
        )
    content = read_json(_own_file(workspace))
    return OwnServer.model_validate(content) if content else None


def named_by_environment() -> bool:
    """Whether the environment names the server, which goes before what was chosen on the page."""
    return bool(os.environ.get(URL_VARIABLE))


def uses_own_server(workspace: Workspace) -> bool:
    """Whether an Argilla server of the team's own is used, so that none is started."""
    return own_server(workspace) is not None


def use_own_server(workspace: Workspace, wanted: OwnServer) -> OwnServer:
    """Check that we get in to this server and remember it; returns it with the workspace that is used there.

    Raises as `connect_to` does, and changes nothing then.
    """
    with connect_to(**wanted.model_dump()) as connection:
        found = wanted.model_copy(update={"api_url": connection.server, "workspace": connection.workspace})
    write_json(_own_file(workspace), found.model_dump(), mode=0o600)
    return found


def forget_own_server(workspace: Workspace) -> None:
    """Go back to the embedded server, and forget the key."""
    _own_file(workspace).unlink(missing_ok=True)


def connect(workspace: Workspace) -> Connection:
    """Connect to the team's own Argilla where one is configured, else to the embedded one, which must run.

    Raises:
        ServerError: nothing answers, or not as an Argilla server does, within ``CONNECT_LIMIT_S``.
        CredentialsError: the key is not accepted.
        AnnotationError: the user has no workspace, or not this one.
    """
    if own := own_server(workspace):
        return connect_to(**own.model_dump())
    if (
        not embedded.wait_until_running(workspace, STARTING_LIMIT_S)
        or (owner := embedded.credentials(workspace)) is None
    ):
        raise ServerError("The annotation server is not running yet. Start it on the Annotate tab, then try again.")
    return connect_to(owner.api_url, owner.api_key, owner.workspace)._replace(server="embedded")


def connect_to(api_url: str, api_key: str, workspace: str = "", hub_token: str = "") -> Connection:
    """Connect to the Argilla server at ``api_url``, in ``workspace`` or else the first one there is.

    ``hub_token`` opens a private Hugging Face Space. Raises as `connect` does, naming what is wrong: the address, the
    server's version, the key or the workspace.
    """
    api_url = api_url.strip().rstrip("/")
    if not api_url.startswith(("http://", "https://")):
        raise ServerError("The address of an Argilla server begins with http:// or https://. Check it.")
    if not api_key:
        raise CredentialsError("An API key is needed. You find yours in Argilla under “My settings”.")
    headers = {"Authorization": f"Bearer {hub_token}"} if hub_token else {}
    try:
        with httpx.Client(base_url=api_url, timeout=CONNECT_LIMIT_S, headers=headers) as http:
            found = http.get("/api/v1/version")
            if found.has_redirect_location:  # which the key must not follow
                raise ServerError(f"{api_url} leads on to {found.headers['location']}. Write that address instead.")
            _check_version(str(found.raise_for_status().json()["version"]))
            me = http.get("/api/v1/me", headers={"X-Argilla-Api-Key": api_key})
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise ServerError(_no_answer(api_url, error, bool(hub_token))) from error
    if me.status_code == 401:
        raise CredentialsError(WRONG_KEY)
    import argilla as rg

    with translated():
        client = rg.Argilla(api_url=api_url, api_key=api_key, timeout=60, retries=2, headers=headers)
        names = [found.name for found in client.workspaces]
    connection = Connection(client, api_url, workspace)
    if workspace in names:
        return connection
    if names and not workspace:
        return connection._replace(workspace=names[0])
    connection.close()
    if not names:
        raise AnnotationError("You have no workspace in Argilla yet. Ask its owner to add you to one.")
    raise AnnotationError(f"There is no workspace “{workspace}” in this Argilla. There is: {', '.join(sorted(names))}.")


def login(workspace: Workspace) -> Login | None:
    """What to tell a person who wants to annotate, or None before the embedded server's first start."""
    if own := own_server(workspace):
        return Login(own.api_url)
    owner = embedded.credentials(workspace)
    return Login(owner.api_url, owner.username, owner.password) if owner else None


def _own_file(workspace: Workspace) -> Path:
    return workspace.argilla_folder / "own_server.json"


def _is_space(url: str) -> bool:
    return (httpx.URL(url).host or "").endswith(".hf.space")


def _check_version(version: str) -> None:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_SERVER:
        raise ServerError(
            f"This Argilla server has version {version}; RM Studio needs 2.0 or newer. Ask its owner to update it."
        )


def _no_answer(api_url: str, error: Exception, with_token: bool) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"{api_url} did not answer within {CONNECT_LIMIT_S:.0f} s. Check the address and your connection."
    refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (401, 403, 404)
    if refused and _is_space(api_url):
        hint = "the access token may not open it" if with_token else "a private one needs your Hugging Face token"
        return f"No Argilla server answers at this Space. Check that the address is right and that it runs; {hint}."
    return (
        f"No Argilla server answers at {api_url}. Check the address, without anything after the name of the server, "
        "and that the server is running."
    )


@contextmanager
def translated(gone: str = GONE) -> Iterator[None]:
    """Turn what the Argilla client raises into our own errors; ``gone`` is said where it knows no such thing."""
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
        raise CredentialsError(WRONG_KEY) from error
    except ForbiddenError as error:
        raise AnnotationError(
            "Your role in Argilla does not allow this. Ask its owner to make you an admin."
        ) from error
    except NotFoundError as error:
        raise AnnotationError(gone) from error
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        missing = status in (404, 405)
        raise AnnotationError(gone if missing else f"Argilla answered with an error ({status}). Try again.") from error
    except httpx.HTTPError as error:
        raise ServerError(
            "The annotation server stopped answering. Check that it is running, then try again."
        ) from error
    except (ArgillaAPIError, ArgillaError) as error:
        raise AnnotationError(f"Argilla refused: {str(error).splitlines()[0][:200]}") from error
