"""One address for the app and for Argilla: who may ask here, the way through to the labelling page, and the login."""

import asyncio
import hmac
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx
import psutil
from fastapi_proxy_lib.core.http import ReverseHttpProxy
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from rm_studio.embedded import server
from rm_studio.workspace import Workspace

ARGILLA_PATH = "/argilla/"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")
WRONG_LOGIN_PAUSE_S = 1.0

# On a broken connection it would log the request's headers, and with them the key that somebody logged in with.
logging.getLogger("fastapi_proxy_lib").disabled = True
logging.getLogger("fastapi_proxy_lib.core.http").disabled = True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    return host in ("127.0.0.1", "localhost", "::1")


def network_name() -> str:
    """The address by which others on the network most likely reach this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: only the way there is looked up
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def own_names(host: str, more: tuple[str, ...] = ()) -> frozenset[str]:
    """The names and addresses that a browser may know this app by."""
    names = {"127.0.0.1", "localhost", "::1", host.lower(), *(name.lower() for name in more)}
    if not is_loopback(host):
        name = socket.gethostname().lower()
        names |= {name, f"{name}.local", socket.getfqdn().lower()}
        names |= {address.address.split("%")[0] for each in psutil.net_if_addrs().values() for address in each}
    if space := os.environ.get("SPACE_HOST"):  # set by Hugging Face in a Space
        names.add(space.lower())
    return frozenset(names)


class OwnSiteOnly:
    """Refuses requests that come by a foreign name, or from another site's page.

    The first is how a page elsewhere reaches a server on this machine by a name of its own (DNS rebinding), the second
    how it makes a visitor's browser act here (cross-site requests).
    """

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self.app = app
        self.names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = dict(scope["headers"])
            host = headers.get(b"host", b"").decode("latin-1")
            origin = headers.get(b"origin", b"").decode("latin-1")
            if _hostname(f"//{host}") not in self.names:
                text = "RM Studio does not answer to this name. Start it with --allow-host and the name to let it."
                return await _refuse(text, scope, receive, send)
            if origin and urlsplit(origin).netloc.lower() != host.lower():
                return await _refuse("RM Studio takes no requests from other sites.", scope, receive, send)
        return await self.app(scope, receive, send)


async def _refuse(text: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    return await PlainTextResponse(text, 403)(scope, receive, send)


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def guard(host: str, more: tuple[str, ...]) -> Middleware:
    """What every request passes first."""
    return Middleware(OwnSiteOnly, names=own_names(host, more))


def argilla_routes(workspace: Workspace) -> list[Route]:
    """The embedded Argilla under ``/argilla/`` of this app: the same server, wherever its own port is."""
    client = httpx.AsyncClient(
        trust_env=False, timeout=120, limits=httpx.Limits(max_connections=200, keepalive_expiry=30)
    )
    proxy: ReverseHttpProxy | None = None

    async def forward(request: Request) -> Response:
        nonlocal proxy
        found = server.status(workspace)
        if found.state != "running":
            text = (
                "The annotation page is not running. Start it on the Annotate tab of RM Studio, then load this again."
            )
            return PlainTextResponse(text, 503)
        if request.method in WITHOUT_BODY:  # the proxy passes none on, so their length must not be passed on either
            lengths = (b"content-length", b"transfer-encoding")
            request.scope["headers"] = [item for item in request.scope["headers"] if item[0] not in lengths]
        target = httpx.URL(found.api_url + "/")
        if proxy is None or proxy.base_url != target:
            proxy = ReverseHttpProxy(client, base_url=target)
        return await proxy.proxy(request=request, path=request.path_params["path"])

    async def with_slash(request: Request) -> Response:
        return RedirectResponse(ARGILLA_PATH)

    return [
        Route(ARGILLA_PATH.rstrip("/"), with_slash, methods=["GET"]),
        Route(ARGILLA_PATH + "{path:path}", forward, methods=METHODS),
    ]


def login(workspace: Workspace) -> Callable[[str, str], Awaitable[bool]]:
    """Checks a name and a password against the owner's, which are the same as in Argilla."""

    async def is_owner(username: str, password: str) -> bool:
        owner = await asyncio.to_thread(server.ensure_credentials, workspace)
        right = hmac.compare_digest(username.encode(), owner.username.encode())
        right &= hmac.compare_digest(password.encode(), owner.password.encode())
        if not right:
            await asyncio.sleep(WRONG_LOGIN_PAUSE_S)  # guessing gets slow; nobody else waits
        return right

    return is_owner
