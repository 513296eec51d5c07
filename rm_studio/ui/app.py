"""The page: the project bar, the five tabs, the one timer that keeps them fresh, and serving it all."""

import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from rm_studio import annotation, assets, tables
from rm_studio.embedded.keeper import Keeper
from rm_studio.training import device
from rm_studio.ui import gateway, projects
from rm_studio.ui.annotate import Counts, annotate_tab
from rm_studio.ui.data import data_tab
from rm_studio.ui.question import question_tab
from rm_studio.ui.session import Session, Studio, Tokens, friendly, tokens
from rm_studio.ui.theme import theme
from rm_studio.ui.train import train_tab
from rm_studio.ui.try_model import try_tab
from rm_studio.workspace import Workspace

PORT = 7860
POLL_S = 1.0
TABS = ["data", "question", "annotate", "train", "try"]


def build_app(workspace: Workspace, host: str = "127.0.0.1") -> gr.Blocks:
    """The app on one workspace, not yet served; ``host`` is the address that it will be served on."""
    counts = Counts(workspace)
    app: gr.Blocks
    with gr.Blocks(title="RM Studio", analytics_enabled=False, delete_cache=(3600, 3600)) as app:
        session = gr.State(None)  # set when the page has loaded; that it changes draws the page
        remembered = gr.BrowserState(None, storage_key="rm-studio-project", secret="rm-studio")
        tokens_now = [gr.State(None) for _ in Tokens._fields]
        counts_token = gr.State(None)
        bar = projects.project_bar(workspace, session)
        with gr.Tabs(selected="data", visible=False, elem_classes="rm-tabs") as tabs:
            studio = Studio(workspace, host, session, tabs, *tokens_now)
            with gr.Tab("1 Data", id="data"):
                data = data_tab(studio)
            with gr.Tab("2 Question", id="question"):
                question = question_tab(studio)
            with gr.Tab("3 Annotate", id="annotate"):
                annotate = annotate_tab(studio, counts, counts_token)
            with gr.Tab("4 Train", id="train"):
                train = train_tab(studio)
            with gr.Tab("5 Try", id="try"):
                attempt = try_tab(studio)

        def poll(session: Session | None) -> list[Any]:
            if session is None:
                return [gr.skip()] * (len(Tokens._fields) + 1)
            project = studio.project(session)
            return [*tokens(workspace, project), counts.of(project)]

        @friendly
        def open_page(slug: str | None) -> list[Any]:
            every = [project.slug for project in workspace.projects()]
            opened = slug if slug in every else (every[0] if every else None)
            return [Session(project=opened), projects.choices(workspace, opened)]

        def show(session: Session) -> list[Any]:
            opened = studio.project(session) is not None
            visible = gr.update(visible=opened)
            return [visible, visible, gr.update(visible=not opened), session.project]

        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        leads = [
            (data.next, "question"),
            (data.train, "train"),
            (question.back, "data"),
            (question.next, "annotate"),
            (annotate.back, "question"),
            (annotate.next, "train"),
            (train.back, "annotate"),
            (train.next, "try"),
            (attempt.back, "train"),
        ]
        for button, target in leads:
            button.click(lambda target=target: gr.Tabs(selected=target), None, tabs, **quiet)
        session.change(show, session, [tabs, bar.bar, bar.welcome, remembered], **quiet)
        gr.on([session.change, gr.Timer(POLL_S).tick], poll, session, [*tokens_now, counts_token], **quiet)
        app.load(open_page, remembered, [session, bar.chosen], **quiet)
    for event in app.fns.values():
        if event.show_progress == "hidden":
            # The page of Gradio 6.31 looks every component with a progress state up in its whole tree at every event,
            # each second's poll too: without this it keeps a processor core busy. What is hidden needs no such state.
            event.show_progress_on = []
    app.queue(max_size=200, api_open=False, default_concurrency_limit=8)
    return app


def serve(
    workspace: Workspace,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = True,
    allow_hosts: tuple[str, ...] = (),
) -> None:
    """Serve the app until it is interrupted, with the embedded Argilla beside it unless another is configured.

    The port is ``port``, or the first free one from ``PORT``. Browsers may use the machine's own names and addresses,
    and those in ``allow_hosts``. People must log in if others than this machine's user can reach it.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.root / "uploads")
    keeper = Keeper(workspace, lambda: not annotation.uses_own_server(workspace))
    app = build_app(workspace, host)
    # So that being ended tidies up too, and closing the terminal, except where that was to be survived (nohup).
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit(0))
    # Gradio serves files from the folder it is started in: an empty one holds none.
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="rm-studio-") as nothing:
        os.chdir(nothing)
        try:
            _, url, _ = app.launch(
                **launch_options(workspace, host, port, allow_hosts), inbrowser=open_browser, prevent_thread_lock=True
            )
            print(f"RM Studio is open at {url}", flush=True)  # noqa: T201
            if needs_login(host, allow_hosts):
                print("People must log in. “rm-studio login” shows the name and the password.", flush=True)  # noqa: T201
            print(f"Press Ctrl+C to end it. Everything is kept in {workspace.root}", flush=True)  # noqa: T201
            # Only now: the page comes first, what takes seconds follows.
            keeper.open()
            threading.Thread(target=device.describe, daemon=True, name="device").start()
            app.block_thread()
        finally:
            os.chdir(here)
            keeper.close()


def needs_login(host: str, allow_hosts: tuple[str, ...]) -> bool:
    """Whether somebody else than this machine's user may reach the app: over the network, or by a name of its own."""
    return not gateway.is_loopback(host) or bool(allow_hosts)


def launch_options(
    workspace: Workspace, host: str, port: int | None, allow_hosts: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What `gr.Blocks.launch` is given: our look, and nothing open that need not be."""
    return {
        "server_name": host,
        "server_port": port,
        "theme": theme(),
        "css_paths": [assets.path("studio.css")],
        "favicon_path": assets.path("logo.svg"),
        "footer_links": [],
        "show_error": False,
        "quiet": True,
        "share": False,
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": tables.MAX_FILE_BYTES,
        "blocked_paths": [str(workspace.projects_folder), str(workspace.argilla_folder)],
        "allowed_paths": [],
        "auth": gateway.login(workspace) if needs_login(host, allow_hosts) else None,
        "auth_message": "The name and the password are those of the owner: “rm-studio login” shows them.",
        "app_kwargs": {
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
            "middleware": [gateway.guard(host, allow_hosts)],
            "routes": gateway.argilla_routes(workspace),
        },
    }
