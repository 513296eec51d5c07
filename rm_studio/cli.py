"""The command line: parse, call, print."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rm_studio import __version__
from rm_studio.errors import DataError, StudioError
from rm_studio.ledger import harmless
from rm_studio.models import BUILTIN_MODEL
from rm_studio.training.config import TrainConfig
from rm_studio.workspace import Workspace, write_json

app = typer.Typer(
    help="From prompts and answers to a reward model you can trust.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
)
argilla_app = typer.Typer(help="The embedded annotation server.", no_args_is_help=True)
app.add_typer(argilla_app, name="argilla")

Host = Annotated[str, typer.Option(help="The address to listen on. Others can only reach one that is not 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(help="The port; by default the first free one from 7860.")]
AllowHost = Annotated[
    list[str],
    typer.Option("--allow-host", help="Another name that browsers may reach this machine by. May be given repeatedly."),
]
OpenBrowser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")]


def main() -> None:
    """The ``rm-studio`` command: 0 when done, 1 with one plain line on a StudioError, 2 on wrong usage."""
    try:
        app()
    except StudioError as error:
        print(f"rm-studio: {error}", file=sys.stderr)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = None,
    browser: OpenBrowser = True,
    allow_host: AllowHost = [],  # noqa: B006
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """Open the app. Without a command, this is what `rm-studio` does."""
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        _serve(Workspace.default(), host, port, browser, allow_host)


@app.command()
def demo(
    host: Host = "127.0.0.1",
    port: Port = None,
    browser: OpenBrowser = True,
    allow_host: AllowHost = [],  # noqa: B006
) -> None:
    """Open the app on the sample project, with every tab filled."""
    from rm_studio import flow

    workspace = Workspace.default()
    flow.demo(workspace)
    _serve(workspace, host, port, browser, allow_host)


@app.command()
def train(
    pairs: Annotated[
        Path, typer.Argument(help="Preference pairs: prompt, chosen, rejected (parquet, jsonl, json or csv).")
    ],
    output: Annotated[Path, typer.Option(help="A new folder; the model will be in its “model”.")],
    base_model: Annotated[str, typer.Option(help="A name on the Hub, a folder, or “builtin”.")] = BUILTIN_MODEL,
    set_: Annotated[
        list[str],
        typer.Option("--set", help=f"A setting as field=value. Fields: {', '.join(TrainConfig.model_fields)}."),
    ] = [],  # noqa: B006
) -> None:
    """Train a reward model."""
    from rm_studio import evaluation, judged
    from rm_studio.training import queue, runs

    settings: dict[str, Any] = {"base_model": base_model}
    for item in set_:
        field, separator, value = item.partition("=")
        if not separator:
            raise typer.BadParameter(f"“{item}” is not of the form field=value.")
        settings[field] = value
    found = judged.pairs_of(_read(pairs))
    left_out = found.ledger["read"] - found.ledger["kept"]
    print(f"{len(found.frame):,} preference pairs" + (f" ({left_out:,} rows left out)" if left_out else ""))
    seen = ""

    def show(status: runs.Status) -> None:
        nonlocal seen
        line = status.message
        if status.state == "training" and status.total_steps and status.eta_s is not None:
            line = (
                f"Step {status.step} of {status.total_steps} · {status.rate} pairs a second · {status.eta_s:.0f} s left"
            )
        if line != seen:
            print(line, flush=True)
            seen = line

    run = queue.train(found.frame, output, show, **settings)
    if run.report:
        print(evaluation.reading(run.report))
    print(f"The model is in {output / 'model'}")


@app.command()
def score(
    model: Annotated[str, typer.Argument(help="A model folder, or a name on the Hub.")],
    file: Annotated[Path, typer.Argument(help="A table with the columns prompt and response.")],
    out: Annotated[Path, typer.Option(help="Where to write the table with its scores (parquet, jsonl or csv).")],
) -> None:
    """Add a `score` to each (prompt, response) row."""
    from rm_studio import scoring, tables

    _check_output(out)
    frame = _with_columns(_read(file), ["prompt", "response"])
    result = scoring.load_reward_model(model).score(frame["prompt"].tolist(), frame["response"].tolist())
    frame = frame.drop(columns=tables.NOT_TEXT).assign(score=result.values)
    _write(frame, out)
    cut = sum(result.shortened)
    print(
        f"{len(frame):,} rows scored"
        + (f"; {cut:,} were longer than the model reads and were shortened" if cut else "")
    )


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder, or a name on the Hub.")],
    file: Annotated[Path, typer.Argument(help="A table with prompt, chosen, rejected and optionally subset.")],
    out: Annotated[Path, typer.Option(help="Where to write the report, as JSON.")],
) -> None:
    """Measure a reward model on pairs whose better answer is known."""
    from rm_studio import evaluation, tables

    frame = _with_columns(_read(file), ["prompt", "chosen", "rejected"])
    result = evaluation.evaluate_model(model, frame.drop(columns=tables.NOT_TEXT))
    write_json(out, result)
    accuracy, longer = result["accuracy"], result["longer_wins"]
    print(
        f"Accuracy {accuracy['value']:.1%} on {accuracy['n']:,} pairs (95 % interval {accuracy['low']:.0%} to "
        f"{accuracy['high']:.0%}). Always choosing the longer answer: {longer['value']:.1%}."
    )


@app.command()
def login() -> None:
    """Show the owner's name and password, for the app on a network and for Argilla."""
    from rm_studio.embedded import server

    owner = server.ensure_credentials(Workspace.default())
    print(f"Name: {owner.username}\nPassword: {owner.password}")


@argilla_app.command("start")
def argilla_start() -> None:
    """Start the embedded Argilla and let it stay; returns once it answers."""
    from rm_studio.embedded import keeper, server

    workspace = Workspace.default()
    owner = server.start(workspace, print)
    keeper.stay(workspace, True)
    print(f"Argilla answers at {owner.api_url}. “rm-studio login” shows the name and the password.")


@argilla_app.command("stop")
def argilla_stop() -> None:
    """Stop the embedded Argilla; its data stays."""
    from rm_studio.embedded import keeper, server

    workspace = Workspace.default()
    keeper.stay(workspace, False)
    print("Stopped." if server.stop(workspace) else "It was not running.")


@argilla_app.command("backup")
def argilla_backup() -> None:
    """Copy the database of the embedded Argilla, also while people work."""
    from rm_studio.embedded import backup

    made = backup.back_up(Workspace.default())
    print(f"{made.file.name}: {made.size / 1e6:,.1f} MB, in {made.file.parent}")


@argilla_app.command("backups")
def argilla_backups() -> None:
    """List the copies of the database."""
    from rm_studio.embedded import backup

    for file, made_at, size in backup.backups(Workspace.default()):
        print(f"{file.name}  {made_at:%Y-%m-%d %H:%M}  {size / 1e6:,.1f} MB")


@argilla_app.command("restore")
def argilla_restore(name: Annotated[str, typer.Argument(help="The copy’s name, as “backups” lists it.")]) -> None:
    """Put a copy in the place of the database; what is there now is copied first. Ends the server if it runs."""
    from rm_studio.embedded import backup

    backup.restore(Workspace.default(), name)
    print("Put back. Start the app, or “rm-studio argilla start”.")


@argilla_app.command("status")
def argilla_status() -> None:
    """Say whether the embedded Argilla runs, and where."""
    from rm_studio.embedded import server

    found = server.status(Workspace.default())
    print(found.message + (f" Address: {found.api_url}" if found.api_url else ""))


def _serve(workspace: Workspace, host: str, port: int | None, browser: bool, allow_hosts: list[str]) -> None:
    logging.basicConfig(
        level=logging.WARNING,
        filename=workspace.root / "studio.log",
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("rm_studio").setLevel(logging.INFO)
    from rm_studio.ui.app import serve

    serve(workspace, host, port, browser, tuple(allow_hosts))


def _with_columns(frame: Any, columns: list[str]) -> Any:
    """The rows that have text in all ``columns``; says how many have not."""
    missing = [column for column in columns if column not in frame]
    if missing:
        raise DataError(f"The table has no column “{missing[0]}”. It needs: {', '.join(columns)}.")
    whole = frame.dropna(subset=columns).reset_index(drop=True)
    if whole.empty:
        raise DataError(f"No row has all of: {', '.join(columns)}.")
    if len(whole) < len(frame):
        print(f"{len(frame) - len(whole):,} rows with an empty field were left out", file=sys.stderr)
    return whole


def _check_output(out: Path) -> None:
    """Before the work begins: can its result be written?"""
    if out.suffix.lower() not in (".parquet", ".jsonl", ".csv"):
        raise DataError("The output’s name must end in .parquet, .jsonl or .csv.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The output cannot be written there ({error.strerror}). Name another folder.") from error


def _write(frame: Any, out: Path) -> None:
    if out.suffix.lower() == ".parquet":
        frame.to_parquet(out, index=False)
    elif out.suffix.lower() == ".jsonl":
        frame.to_json(out, orient="records", lines=True, force_ascii=False)
    else:
        safe = frame.rename(columns=harmless).map(lambda cell: harmless(cell) if isinstance(cell, str) else cell)
        safe.to_csv(out, index=False)


def _read(file: Path) -> Any:
    """The table in a file; what was left out or changed while reading it is said."""
    from rm_studio import tables

    loaded = tables.read_file(file)
    for note in loaded.notes:
        print(note, file=sys.stderr)
    return loaded.frame
