"""The embedded Argilla server, as a program: ``python server_main.py FOLDER PORT``.

It runs in the server's own virtual environment, so it imports nothing of RM Studio but its neighbour
``search_engine.py``. FOLDER holds ``credentials.json`` and the database; no secret is an argument.
"""

import asyncio
import json
import os
import sys
from pathlib import Path


def configure(folder: Path, port: int, secret_key: str) -> None:
    """Set what argilla-server reads when it is imported, and keep out what a shell may have left."""
    for name in [name for name in os.environ if name.startswith("ARGILLA_")]:
        del os.environ[name]
    os.environ.update(
        ARGILLA_HOME_PATH=str(folder),
        ARGILLA_SEARCH_ENGINE="studio",
        ARGILLA_AUTH_SECRET_KEY=secret_key,
        ARGILLA_AUTH_OAUTH_CFG=str(folder / "oauth.yaml"),
        ARGILLA_DATABASE_SQLITE_TIMEOUT="30",
        ARGILLA_CORS_ORIGINS=json.dumps([f"http://127.0.0.1:{port}"]),
        ARGILLA_DOCS_ENABLED="false",
        ARGILLA_SHOW_HUGGINGFACE_SPACE_PERSISTENT_STORAGE_WARNING="false",
        HF_HUB_DISABLE_TELEMETRY="1",
    )


def use_in_process_redis() -> None:
    """Give the server a Redis that lives in its own memory, before it connects to one.

    A real one on a port would hold pickled jobs that any local user could replace.
    """
    import fakeredis
    import redis

    server = fakeredis.FakeServer()
    redis.from_url = lambda url, **options: fakeredis.FakeRedis(server=server)


def migrate(folder: Path) -> None:
    """Bring the database to the server's version, in write-ahead mode so that readers never wait for a writer."""
    import sqlite3

    from alembic import command
    from alembic.config import Config
    from argilla_server.database import ALEMBIC_CONFIG_FILE

    command.upgrade(Config(ALEMBIC_CONFIG_FILE), "head")
    with sqlite3.connect(folder / "argilla.db") as database:
        database.execute("PRAGMA journal_mode=WAL")


async def ensure_owner(credentials: dict[str, str]) -> None:
    """Make the owner and a workspace, with the generated credentials, if they are not there."""
    from argilla_server.contexts import accounts
    from argilla_server.database import AsyncSessionLocal
    from argilla_server.enums import UserRole
    from argilla_server.models import User, Workspace

    async with AsyncSessionLocal() as db:
        workspace = await Workspace.get_by(db, name=credentials["workspace"])
        workspace = workspace or await Workspace.create(db, name=credentials["workspace"])
        if await User.get_by(db, username=credentials["username"]) is None:
            await User.create(
                db,
                first_name=credentials["username"],
                username=credentials["username"],
                role=UserRole.owner,
                password_hash=accounts.hash_password(credentials["password"]),
                api_key=credentials["api_key"],
                workspaces=[workspace],
            )


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    credentials = json.loads((folder / "credentials.json").read_text(encoding="utf-8"))
    configure(folder, port, credentials["secret_key"])
    use_in_process_redis()

    import search_engine  # registers itself  # noqa: F401

    migrate(folder)
    asyncio.run(ensure_owner(credentials))

    import uvicorn
    from argilla_server import app

    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning", timeout_graceful_shutdown=3)


if __name__ == "__main__":
    main()
