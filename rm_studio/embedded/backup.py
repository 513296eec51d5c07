"""Copies of the annotation server's database, made while it works, and putting one back."""

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from rm_studio.embedded import server
from rm_studio.errors import ServerError
from rm_studio.workspace import Workspace


class Backup(NamedTuple):
    """One copy: its file, when it was made (local time) and its size in bytes."""

    file: Path
    made_at: datetime
    size: int


def back_up(workspace: Workspace) -> Backup:
    """Copy the database, whole and consistent, whatever people do meanwhile (SQLite's online backup).

    Raises:
        ServerError: there is no database yet, or the copy could not be written.
    """
    source = workspace.argilla_folder / "argilla.db"
    if not source.exists():
        raise ServerError("There is nothing to back up yet: the annotation server has not been started.")
    folder = workspace.argilla_folder / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"argilla-{datetime.now():%Y%m%d-%H%M%S-%f}.db"
    unfinished = target.with_suffix(".part")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_WRONLY, 0o600))  # it holds keys: never readable by others
        with closing(sqlite3.connect(source, timeout=30)) as database, closing(sqlite3.connect(unfinished)) as copy:
            database.backup(copy)
        unfinished.replace(target)
    except (OSError, sqlite3.Error) as error:
        unfinished.unlink(missing_ok=True)
        raise ServerError("The copy could not be written. Check that the disk has room, then try again.") from error
    return _describe(target)


def backups(workspace: Workspace) -> list[Backup]:
    """The copies there are, the newest first; those made before a migration too."""
    found = [_describe(file) for file in (workspace.argilla_folder / "backups").glob("*.db")]
    return sorted(found, key=lambda backup: backup.made_at, reverse=True)


def restore(workspace: Workspace, name: str) -> None:
    """Put a copy in the place of the database; what is there now is backed up first. Ends the server if it runs.

    Raises:
        ServerError: there is no copy of this name, or it is not a whole database.
    """
    file = next((backup.file for backup in backups(workspace) if backup.file.name == name), None)
    if file is None:
        raise ServerError("There is no copy of this name. “rm-studio argilla backups” lists them.")
    with closing(sqlite3.connect(file)) as copy:
        try:
            whole = copy.execute("PRAGMA quick_check").fetchone() == ("ok",)
        except sqlite3.DatabaseError:
            whole = False
    if not whole:
        raise ServerError("This copy is damaged and was not put back. Choose another one.")
    if server.status(workspace).state == "preparing":
        raise ServerError("The annotation server is just being prepared. Try again when it runs.")
    with server.held_still(workspace):  # nobody starts one on a database that is about to go
        database = workspace.argilla_folder / "argilla.db"
        if database.exists():
            back_up(workspace)
        fresh = database.with_suffix(".restored")
        shutil.copyfile(file, fresh)
        fresh.chmod(0o600)
        for beside in ("-wal", "-shm"):  # they belong to the database that goes
            database.with_name(database.name + beside).unlink(missing_ok=True)
        fresh.replace(database)


def _describe(file: Path) -> Backup:
    status = file.stat()
    return Backup(file, datetime.fromtimestamp(status.st_mtime), status.st_size)
