"""argilla-server as it comes, as a program: ``python stock_server.py FOLDER PORT``, in its own environment.

Only what it cannot start without is ours: a search engine, since there is no Elasticsearch here, and a Redis in memory.
It keeps its own migration, event building, connection pool, job queue and base address. Tests and benchmarks set our
server beside it; FOLDER is the ``argilla`` folder of a workspace.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).parents[1] / "rm_studio" / "embedded"))


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    credentials = json.loads((folder / "credentials.json").read_text(encoding="utf-8"))
    os.environ.update(
        ARGILLA_HOME_PATH=str(folder),
        ARGILLA_SEARCH_ENGINE="studio",
        ARGILLA_DATABASE_SQLITE_TIMEOUT="30",
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    import server_jobs

    server_jobs.use_own_memory()

    import search_engine  # noqa: F401
    import server_main
    from alembic import command
    from alembic.config import Config
    from argilla_server import app
    from argilla_server.database import ALEMBIC_CONFIG_FILE

    command.upgrade(Config(ALEMBIC_CONFIG_FILE), "head")
    asyncio.run(server_main.ensure_owner(credentials))
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
