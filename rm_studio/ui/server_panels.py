"""What the owner of the annotation server needs now and then, below the Annotate tab: people, a server of one's own,
backups and the log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from rm_studio import annotation
from rm_studio.annotation import people
from rm_studio.embedded import backup, server
from rm_studio.errors import AnnotationError
from rm_studio.ui import gateway, widgets
from rm_studio.ui.session import Session, Studio, friendly
from rm_studio.workspace import Workspace

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
BY_ENVIRONMENT = "The environment variable ARGILLA_API_URL names the server. Remove it to choose one here."


def labelling_url(studio: Studio, session: Session | None, request: gr.Request | None = None) -> str | None:
    """Where people label: this project's dataset if it is published, else the server's first page.

    Below this app's own address, written out in full where ``request`` tells how the browser knows it. None while the
    server does not run.
    """
    project = studio.project(session) if session else None
    reference = project.info.argilla if project else None
    path = annotation.page_of(reference) if reference and reference.id else ""
    if own := annotation.own_server(studio.workspace):
        return f"{own.api_url}/{path if reference and reference.server == own.api_url else ''}"
    if server.status(studio.workspace).state != "running":
        return None
    path = path if reference and reference.server == "embedded" else ""
    base = ""
    if request is not None and request.request is not None:
        address = request.request.base_url
        if gateway.is_loopback(address.hostname or "") and not gateway.is_loopback(studio.host):
            address = address.replace(hostname=gateway.network_name())  # the link is for others
        base = str(address).rstrip("/")
    return f"{base}{gateway.ARGILLA_PATH}{path}"


def people_panel(studio: Studio) -> None:
    """Add annotators, give new passwords, take people out."""
    with gr.Accordion("People", open=False) as panel:
        gr.HTML(
            widgets.note(
                "Each person who annotates gets a name and a password of their own, so that it is known whose answer "
                "is whose."
            )
        )
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                table = gr.Dataframe(headers=["Name", "Role"], label="Who may annotate", interactive=False)
            with gr.Column(min_width=320):
                name = gr.Textbox(label="Name of a new annotator", info="Letters and digits; how they will log in.")
                add = gr.Button("Add", size="sm")
                person = gr.Dropdown([], label="Somebody in the team")
                with gr.Row():
                    reset = gr.Button("New password", size="sm")
                    remove = gr.Button("Remove", size="sm", variant="stop")
                gr.HTML(widgets.small("Who is removed sees nothing of the team any more. Their answers stay."))
        told = gr.HTML()

    def listed() -> list[Any]:
        with annotation.connect(studio.workspace) as connection:
            found = people.people(connection)
        others = [one.username for one in found if one.role != "owner"]
        return [
            [[one.username, one.role] for one in found],
            gr.update(choices=others, value=others[0] if others else None),
        ]

    def handed_out(session: Session, request: gr.Request, username: str, password: str | None) -> str:
        url = labelling_url(studio, session, request) or ""
        if password is None:
            return widgets.facts([("user name", username), ("link", url)]) + widgets.note(
                f"{username} has a login on this server already and was added to the team with it.", "good"
            )
        only_here = url.startswith("http") and gateway.is_loopback(urlsplit(url).hostname or "")
        return (
            widgets.facts([("user name", username), ("password", password), ("link", url)])
            + widgets.note("Send these three. The password is shown only now; you can always make a new one.", "good")
            + widgets.note(
                "This link works on this computer only. To let others in, start RM Studio with --host 0.0.0.0."
                if only_here
                else "",
                "warn",
            )
        )

    @friendly
    def show() -> list[Any]:
        return listed()

    @friendly
    def add_one(session: Session, username: str, request: gr.Request) -> list[Any]:
        with annotation.connect(studio.workspace) as connection:
            password = people.add(connection, username)
        return [*listed(), handed_out(session, request, username.strip(), password), ""]

    @friendly
    def reset_one(session: Session, username: str | None, request: gr.Request) -> str:
        with annotation.connect(studio.workspace) as connection:
            password = people.reset_password(connection, username or "")
        return handed_out(session, request, username or "", password)

    @friendly
    def remove_one(username: str | None) -> list[Any]:
        with annotation.connect(studio.workspace) as connection:
            people.remove(connection, username or "")
        return [*listed(), widgets.note(f"{username} cannot annotate any more. The answers given so far stay.")]

    gr.on([panel.expand, studio.server_token.change], _if_answering(studio, show), None, [table, person], **QUIET)
    gr.on(
        [add.click, name.submit],
        add_one,
        [studio.session, name],
        [table, person, told, name],
        api_visibility="private",
    )
    reset.click(reset_one, [studio.session, person], told, api_visibility="private")
    remove.click(remove_one, person, [table, person, told], api_visibility="private")
    studio.session.change(lambda: "", None, told, **QUIET)


def own_server_panel(studio: Studio) -> None:
    """Use an Argilla server that the team already has."""
    with gr.Accordion("Use your own Argilla server instead", open=False):
        state = gr.HTML()
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                url = gr.Textbox(label="Address", placeholder="https://argilla.example.org")
                key = gr.Textbox(label="API key", type="password", info="In Argilla under “My settings”.")
            with gr.Column(min_width=320):
                space = gr.Textbox(label="Workspace (optional)", info="Argilla’s word for a team. Empty: the first.")
                token = gr.Textbox(
                    label="Hugging Face token (only for a private Space)",
                    type="password",
                    info="Key and token are kept on this computer, readable by you only.",
                )
        with gr.Row():
            use = gr.Button("Check and use", size="sm")
            leave = gr.Button("Go back to the built-in server", size="sm", visible=False)

    def show() -> list[Any]:
        own = annotation.own_server(studio.workspace)
        if own is None:
            told = widgets.note("The built-in server is used now. What is published there stays there.")
        else:
            told = widgets.note(f"Used now: {own.api_url}" + (f", workspace {own.workspace}" if own.workspace else ""))
        return [told, gr.update(visible=own is not None)]

    @friendly
    def check(url: str, key: str, space: str, token: str) -> list[Any]:
        if annotation.named_by_environment():
            raise AnnotationError(BY_ENVIRONMENT)
        wanted = annotation.OwnServer(
            api_url=url.strip(), api_key=key.strip(), workspace=space.strip(), hub_token=token.strip()
        )
        annotation.use_own_server(studio.workspace, wanted)
        gr.Info("Connected. This server is used from now on.", duration=5)
        return [*show(), "", ""]

    @friendly
    def go_back() -> list[Any]:
        if annotation.named_by_environment():
            raise AnnotationError(BY_ENVIRONMENT)
        annotation.forget_own_server(studio.workspace)
        return show()  # the app's keeper sees it and starts the built-in server

    use.click(check, [url, key, space, token], [state, leave, key, token], api_visibility="private")
    leave.click(go_back, None, [state, leave], api_visibility="private")
    gr.on([studio.session.change, studio.server_token.change], show, None, [state, leave], **QUIET)


def care_panel(studio: Studio) -> None:
    """Back the built-in server's database up, and read its log."""
    with gr.Accordion("Backups and log of the built-in server", open=False) as panel:
        copies = gr.HTML()
        with gr.Row():
            save = gr.Button("Back up now", size="sm")
            again = gr.Button("Refresh the log", size="sm")
        log = gr.Textbox(label="Log (newest first)", lines=12, max_lines=12, interactive=False, autoscroll=False)

    def show_copies() -> str:
        found = backup.backups(studio.workspace)[:5]
        listed = "".join(
            f"<li><strong>{made_at:%Y-%m-%d %H:%M}</strong> {size / 1e6:,.1f} MB · {widgets.escape(file.name)}</li>"
            for file, made_at, size in found
        )
        text = "All answers are in one database. A copy is made while people work, and before the server is updated."
        return widgets.note(text) + (f'<ul class="rm-reasons">{listed}</ul>' if listed else "")

    def show_log() -> str:
        return _without_paths(server.log_tail(studio.workspace), studio.workspace) or "Nothing was logged yet."

    @friendly
    def back_up() -> str:
        made = backup.back_up(studio.workspace)
        gr.Info(f"{made.size / 1e6:,.1f} MB copied. “rm-studio argilla restore” puts a copy back.", duration=6)
        return show_copies()

    panel.expand(lambda: [show_copies(), show_log()], None, [copies, log], **QUIET)
    again.click(show_log, None, log, **QUIET)
    save.click(back_up, None, copies, api_visibility="private")


def _if_answering(studio: Studio, handler: Callable[[], list[Any]]) -> Callable[[], Any]:
    """``handler`` while a server can be asked; before that the page is left as it is, without a warning."""

    def wrapped() -> Any:
        running = server.status(studio.workspace).state == "running"
        return handler() if running or annotation.uses_own_server(studio.workspace) else gr.skip()

    return wrapped


def _without_paths(text: str, workspace: Workspace) -> str:
    """The log without the folders of this machine."""
    return text.replace(str(workspace.root), "…").replace(str(Path.home()), "~")
