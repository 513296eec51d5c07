"""The embedded Argilla server, as a program: ``python server_main.py FOLDER PORT``.

It runs in the server's own virtual environment, so it imports nothing of RM Studio but its neighbours here that say
so. FOLDER holds ``credentials.json`` and the database; no secret is an argument.
"""

import asyncio
import functools
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

BASE_URL = "/argilla/"  # the app serves it under this path too, so that one port is enough


def configure(folder: Path, secret_key: str) -> None:
    """Set what argilla-server reads when it is imported, and keep out what a shell may have left."""
    for name in [name for name in os.environ if name.startswith("ARGILLA_")]:
        del os.environ[name]
    os.environ.update(
        ARGILLA_HOME_PATH=str(folder),
        ARGILLA_BASE_URL=BASE_URL,
        ARGILLA_SEARCH_ENGINE="studio",
        ARGILLA_AUTH_SECRET_KEY=secret_key,
        ARGILLA_AUTH_OAUTH_CFG=str(folder / "oauth.yaml"),
        ARGILLA_DATABASE_SQLITE_TIMEOUT="30",
        ARGILLA_CORS_ORIGINS="[]",
        ARGILLA_DOCS_ENABLED="false",
        ARGILLA_SHOW_HUGGINGFACE_SPACE_PERSISTENT_STORAGE_WARNING="false",
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    # The server makes a copy of its pages at each start and never takes it away.
    temporary = folder / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = str(temporary)


def never_wait_for_a_connection() -> None:
    """Let the pool of database connections grow with demand.

    Twenty annotators ask for more than its default fifteen at once; and only a pool in which nobody waits may be used
    from two event loops, the server's and that of its background jobs.
    """
    from argilla_server.database import AsyncSessionLocal
    from argilla_server.settings import settings
    from sqlalchemy.ext.asyncio import create_async_engine

    # What is asked of the database may hold a key: it must not come into the log with an error.
    options = {**settings.database_engine_args, "max_overflow": -1, "hide_parameters": True}
    engine = create_async_engine(settings.database_url, **options)
    AsyncSessionLocal.configure(bind=engine)


def skip_events_nobody_hears() -> None:
    """Build an event for webhooks only when there is one to hear it.

    For each record that is published the server loads its dataset five times to describe an event, and only then asks
    whether a webhook is registered. Whether one is, is asked here once a request.
    """
    from argilla_server.contexts import webhooks
    from argilla_server.webhooks.v1 import records, responses

    class Unheard:
        async def notify(self, db):
            return []

    def unless_unheard(build):
        async def build_or_skip(db, event, subject):
            if "webhooks" not in db.info:
                db.info["webhooks"] = bool(await webhooks.list_enabled_webhooks(db))
            return await build(db, event, subject) if db.info["webhooks"] else Unheard()

        return build_or_skip

    records.build_record_event = unless_unheard(records.build_record_event)
    responses.build_response_event = unless_unheard(responses.build_response_event)


def compress_lightly() -> None:
    """Compress answers at the level made for doing so on the fly: a tenth of the work at nearly the same size.

    Must come before argilla-server is imported: it makes its application then.
    """
    import brotli_asgi

    class LightBrotli(brotli_asgi.BrotliMiddleware):
        def __init__(self, app, **options):
            super().__init__(app, **{**options, "quality": 1})

    brotli_asgi.BrotliMiddleware = LightBrotli


def read_question_settings_once() -> None:
    """Keep the validator of a question's settings, which was made anew for each answer: a sixth of that work."""
    from argilla_server.models import database

    database.TypeAdapter = functools.cache(database.TypeAdapter)


class PeopleFirst:
    """Lets a publish wait until nobody else is being answered, or was a moment ago; never longer than ``PATIENCE_S``.

    One thread answers everybody and one writer at a time may write: without this, a click of an annotator, which is
    several requests in a row, waits for a batch of records before each of them.
    """

    PATIENCE_S = 0.3
    MOMENT_S = 0.03

    def __init__(self, app):
        self.app = app
        self.answering = 0
        self.last = 0.0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"].endswith("/records/bulk"):
            await self.quiet()
            return await self.app(scope, receive, send)
        self.answering += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.answering -= 1
            self.last = time.monotonic()

    async def quiet(self):
        begun = time.monotonic()
        while self.answering or time.monotonic() - self.last < self.MOMENT_S:
            if time.monotonic() - begun > self.PATIENCE_S:
                return
            await asyncio.sleep(0.01)


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
    configure(folder, credentials["secret_key"])

    import server_jobs

    server_jobs.use_own_memory()
    compress_lightly()
    never_wait_for_a_connection()
    skip_events_nobody_hears()
    read_question_settings_once()

    import search_engine  # registers itself  # noqa: F401
    import server_database

    server_database.prepare(folder)
    asyncio.run(ensure_owner(credentials))

    import uvicorn
    from argilla_server import app
    from sqlalchemy.exc import SAWarning
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    warnings.simplefilter("ignore", SAWarning)  # the server's own, one for each publish: it would fill the log
    server_jobs.start()
    # Another site must not reach this port by a name that it lets point here.
    guarded = TrustedHostMiddleware(PeopleFirst(app), allowed_hosts=["127.0.0.1", "localhost"])
    uvicorn.run(
        guarded,
        host="127.0.0.1",
        port=port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=3,
        timeout_keep_alive=75,  # longer than any client keeps a connection: never closed while a request is on its way
    )


if __name__ == "__main__":
    main()
