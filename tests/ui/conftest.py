"""A really running app in a process of its own, and a really running browser to drive it."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import CHROMIUM_FLAGS, chromium, needed

from rm_studio.embedded import server
from rm_studio.training import queue
from rm_studio.workspace import Workspace


class RunningApp:
    """``rm-studio`` on a workspace; ``url`` answers."""

    def __init__(self, workspace: Workspace, *command: str, options: tuple[str, ...] = ()) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.workspace = workspace
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rm_studio", *command, "--no-browser", "--port", str(port), *options],
            env={**os.environ, "RM_STUDIO_HOME": str(workspace.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 60
        while not self.answers():
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.started_in_s = time.monotonic() - self.begun

    def answers(self) -> bool:
        try:
            return httpx.get(self.url, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def studio(argilla: Workspace) -> Iterator[RunningApp]:
    app = RunningApp(argilla)
    yield app
    app.end()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """``rm-studio demo`` on an empty workspace, as a new user starts it; its first run is ended with it."""
    app = RunningApp(Workspace(tmp_path_factory.mktemp("demo-home")), "demo")
    yield app
    for run in queue.active(app.workspace):
        run.end()
    app.end()
    assert server.status(app.workspace).state in ("stopped", "failed"), "the app ends the server that it started"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    path = chromium()
    needed(path is not None, "Chromium (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield found
        found.close()


@pytest.fixture
def window(browser: Any) -> Iterator[Any]:
    """A new browser's empty page; at the end no script may have failed and nothing outside been asked for."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    outside: list[str] = []
    failures: list[str] = []
    page.on("request", lambda request: None if is_local(request.url) else outside.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    context.close()
    assert not outside
    assert not failures


@pytest.fixture
def page(window: Any, studio: RunningApp) -> Any:
    """A new browser on the app, which opens the newest project."""
    window.goto(studio.url)
    return window


@pytest.fixture
def labelling(browser: Any, studio: Any, argilla: Workspace) -> Iterator[Any]:
    """A page logged in to Argilla through the app's address; no script may fail, nothing outside be asked."""
    owner = server.start(argilla)
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    outside: list[str] = []
    failures: list[str] = []
    page.on(
        "request",
        lambda request: None if request.url.startswith((studio.url, "data:", "blob:")) else outside.append(request.url),
    )
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{studio.url}/argilla/")
    page.get_by_role("textbox").first.fill(owner.username)
    page.locator("input[type=password]").fill(owner.password)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"argilla/(\?.*)?$"))
    yield page
    context.close()
    assert not outside
    assert not failures


def is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Sixteen comparisons over eight prompts, the polite answer always the better; and two rows that are none."""
    lines = ["question,polite answer,rude answer,topic"]
    for row in range(16):
        lines.append(f"What about part {row % 8}?,Thank you. Please try step {row}.,No idea. Go away {row}.,t{row % 2}")
    lines += ["What is missing?,,No.,t0", "Same?,yes,yes,t0"]
    path = tmp_path / "answers.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
