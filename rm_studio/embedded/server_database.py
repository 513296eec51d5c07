"""The server's database: brought to the version that is needed, with a copy made before; ready to be searched.

Only the server's own interpreter imports this module.
"""

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import search_text
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

COPIES_KEPT = 3


def prepare(folder: Path) -> None:
    """Migrate the database in ``folder`` (or make it), and make sure that its text index can be trusted."""
    from argilla_server.database import ALEMBIC_CONFIG_FILE, sync_engine

    logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)  # two lines at each start say nothing
    file = folder / "argilla.db"
    config = Config(ALEMBIC_CONFIG_FILE)
    wanted = ScriptDirectory.from_config(config).get_current_head()
    with sync_engine.connect() as connection:
        version = MigrationContext.configure(connection).get_current_revision()
    sync_engine.dispose()
    if version != wanted:
        if version is not None:
            _copy(file, folder / "backups")
            print(f"The database has version {version} and is migrated to {wanted}.", flush=True)
        command.upgrade(config, "head")
    file.chmod(0o600)
    with closing(sqlite3.connect(file, timeout=30)) as database:
        # Readers never wait for a writer; set for good in the file itself.
        database.execute("PRAGMA journal_mode=WAL")
        if search_text.prepare(database):
            print("The text index was built.", flush=True)
        count_anew(database)


def count_anew(database: sqlite3.Connection) -> None:
    """Give every record the status that its answers make it have.

    The server does this in the background when the number of wanted answers changes; a kill may have come between.
    """
    enough = """(SELECT count(*) FROM responses WHERE record_id = records.id AND status = 'submitted')
                >= (SELECT json_extract(distribution, '$.min_submitted') FROM datasets WHERE id = records.dataset_id)"""
    # Only what has answers, or is completed, can be wrong: a start must not look at every record.
    answered = "id IN (SELECT record_id FROM responses WHERE status = 'submitted')"
    wrongs = [
        ("completed", f"status = 'pending' AND {answered} AND {enough}"),
        ("pending", f"status = 'completed' AND NOT {enough}"),
    ]
    with database:
        for status, wrong in wrongs:
            database.execute(
                f"UPDATE records SET status = ? WHERE {wrong} "
                "AND dataset_id IN (SELECT id FROM datasets WHERE status = 'ready')",
                [status],
            )


def _copy(file: Path, folder: Path) -> None:
    """A whole copy beside the database, whatever is written meanwhile; only the newest few are kept."""
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"before-migration-{time.strftime('%Y%m%d-%H%M%S')}.db"
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    target.chmod(0o600)
    for old in sorted(folder.glob("before-migration-*.db"))[:-COPIES_KEPT]:
        old.unlink()
