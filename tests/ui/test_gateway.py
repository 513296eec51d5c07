"""One address for the app and Argilla: who is let in, and that the way through leaks nothing (FAULTS 45 and 47)."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import expect

from rm_studio.embedded import server
from rm_studio.ui import gateway
from rm_studio.ui.app import needs_login
from rm_studio.workspace import Workspace

FOREIGN = ["evil.example", "169.254.169.254", "127.0.0.1.evil.example", "evil.example:7860", "", "[::", "localhost."]


@pytest.mark.parametrize("path", ["/", "/gradio_api/info", "/argilla/", "/argilla/api/v1/version"])
@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_host_header_is_refused(studio: Any, host: str, path: str) -> None:
    answer = httpx.get(studio.url + path, headers={"Host": host})
    assert answer.status_code in (400, 403)
    assert "Argilla" not in answer.text


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1.evil.example"]
)
def test_a_foreign_origin_is_refused(studio: Any, origin: str) -> None:
    for method, path in (("GET", "/"), ("POST", "/gradio_api/queue/join"), ("POST", "/argilla/api/v1/token")):
        assert httpx.request(method, studio.url + path, headers={"Origin": origin}, json={}).status_code == 403
    assert httpx.get(studio.url, headers={"Origin": studio.url}).status_code == 200


def test_argilla_s_own_port_answers_to_no_foreign_name_either(argilla: Workspace) -> None:
    owner = server.start(argilla)
    assert httpx.get(f"{owner.api_url}/api/v1/version", headers={"Host": "evil.example"}).status_code == 400


def test_a_machine_s_own_names_are_known() -> None:
    assert "192.0.2.7" not in gateway.own_names("0.0.0.0")
    assert "studio.example" in gateway.own_names("127.0.0.1", ("Studio.Example",))
    addresses = {address.address for each in psutil.net_if_addrs().values() for address in each}
    assert addresses & gateway.own_names("0.0.0.0")
    assert gateway.is_loopback("127.0.0.1") and not gateway.is_loopback("0.0.0.0")


def test_a_login_is_asked_for_wherever_others_may_come_from() -> None:
    assert not needs_login("127.0.0.1", ())
    assert needs_login("0.0.0.0", ())
    assert needs_login("127.0.0.1", ("studio.example",)), "a web server on this machine lets others in"


def test_a_wrong_login_holds_up_nobody_else(office: Any) -> None:
    form = {"username": "owner", "password": "wrong"}
    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(httpx.post, f"{office.url}/login", data=form, timeout=30) for _ in range(8)]
        time.sleep(0.2)
        begun = time.monotonic()
        assert httpx.get(f"{office.url}/argilla/", timeout=30).status_code in (200, 503)
        assert time.monotonic() - begun < 0.9
        assert {each.result().status_code for each in tries} <= {400, 401}


def test_argilla_is_there_under_the_app_s_address(studio: Any, argilla: Workspace) -> None:
    owner = server.start(argilla)
    base = studio.url + "/argilla"
    assert httpx.get(base).headers["location"] == "/argilla/"
    assert httpx.get(f"{base}/api/v1/version").json()["version"].startswith("2.8")
    assert httpx.get(f"{base}/api/v1/me").status_code == 401
    me = httpx.get(f"{base}/api/v1/me", headers={"X-Argilla-Api-Key": owner.api_key})
    assert me.json()["username"] == "owner"
    page = httpx.get(f"{base}/").text
    assets = re.findall(r'(?:src|href)="([^"]+\.(?:js|css))"', page)
    assert assets and all(asset.startswith("/argilla/") for asset in assets)
    assert all(httpx.get(studio.url + asset).status_code == 200 for asset in assets[:5])
    assert httpx.get(f"{base}/../../etc/passwd").status_code in (200, 404)
    assert "root:" not in httpx.get(f"{base}/..%2f..%2fetc/passwd").text


def test_without_a_server_the_way_says_so_and_a_broken_one_logs_no_key(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    with TestClient(Starlette(routes=[*gateway.argilla_routes(workspace)])) as client:
        answer = client.get("/argilla/")
        assert answer.status_code == 503 and "Annotate tab" in answer.text
        broken = server.ServerStatus(state="running", api_url="http://127.0.0.1:9/argilla")
        monkeypatch.setattr(server, "status", lambda _: broken)
        with caplog.at_level(logging.DEBUG):
            answer = client.get("/argilla/api/v1/me", headers={"X-Argilla-Api-Key": "planted.secret"})
    assert answer.status_code == 502
    assert "planted.secret" not in caplog.text + answer.text


@pytest.fixture(scope="module")
def office(argilla: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The app as a team in an office opens it: on every address, so that people must log in."""
    from conftest import RunningApp

    workspace = Workspace(tmp_path_factory.mktemp("office"))
    workspace.argilla_folder.mkdir()
    (workspace.argilla_folder / "env").symlink_to(argilla.argilla_folder / "env", target_is_directory=True)
    app = RunningApp(workspace, options=("--host", "0.0.0.0"))
    yield app
    app.end()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/config"),
        ("GET", "/gradio_api/info"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/argilla/api/v1/users"),
        ("POST", "/argilla/api/v1/datasets"),
    ],
)
def test_on_a_network_nothing_is_done_without_a_login(office: Any, method: str, path: str) -> None:
    deadline = time.monotonic() + 60
    while server.status(office.workspace).state != "running":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert httpx.request(method, office.url + path, json={}).status_code in (401, 403)


def test_the_owner_logs_in_and_nobody_else(office: Any, browser: Any) -> None:
    owner = server.credentials(office.workspace)
    assert owner is not None
    for name, password in (("owner", "wrong"), ("argilla", "12345678"), ("", "")):
        form = {"username": name, "password": password}
        assert httpx.post(f"{office.url}/login", data=form).status_code in (400, 401, 422)
    context = browser.new_context()
    page = context.new_page()
    page.goto(office.url)
    page.get_by_label("username").fill(owner.username)
    page.get_by_label("password").fill(owner.password)
    page.get_by_role("button", name="Login").click()
    expect(page.get_by_text("RM Studio").first).to_be_visible()
    expect(page.get_by_role("button", name="Create the project")).to_be_visible(timeout=20_000)
    context.close()
    assert owner.password not in Path(office.workspace.root / "studio.log").read_text()


def test_the_password_may_come_from_the_environment(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server.PASSWORD_VARIABLE, "a-space-secret")
    monkeypatch.setattr(gateway, "WRONG_LOGIN_PAUSE_S", 0)
    is_owner = gateway.login(workspace)
    logins = [("owner", "a-space-secret"), ("owner", "a-space-secre"), ("öwner", "ä")]
    with ThreadPoolExecutor(1) as elsewhere:  # Playwright keeps a loop of its own in this thread
        answers = [elsewhere.submit(asyncio.run, is_owner(*each)).result() for each in logins]
    assert answers == [True, False, False]
    assert os.environ[server.PASSWORD_VARIABLE] == "a-space-secret"
