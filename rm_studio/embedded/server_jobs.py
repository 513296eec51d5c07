"""The server's background jobs, run in the server itself: neither Redis nor an RQ worker is needed.

argilla-server hands three kinds of work to RQ: counting records anew when the task distribution changes, import from
and export to the Hub, and calls to webhooks. Here the queues are in this process's memory and a thread works on them,
with RQ's own worker, so that retries and the state of a job are RQ's. What waits when the server is killed is lost:
`server_database.count_anew` makes up for the first kind at the next start, an import or export is begun again by the
person who asked for it.

Only the server's own interpreter imports this module.
"""

import logging
import threading
import time

import fakeredis
import redis

POLL_S = 0.3

_server = fakeredis.FakeServer()


def use_own_memory() -> None:
    """Give the server a Redis that lives in its own memory, before it connects to one.

    A real one on a port would hold pickled jobs that any local user could replace.
    """
    redis.from_url = lambda url, **options: fakeredis.FakeRedis(server=_server)


def start() -> threading.Thread:
    """Work on the queues, the urgent one first, for as long as the process lives."""
    thread = threading.Thread(target=_work, daemon=True, name="jobs")
    thread.start()
    return thread


def _work() -> None:
    from argilla_server.jobs.queues import DEFAULT_QUEUE, HIGH_QUEUE, REDIS_CONNECTION
    from rq import SimpleWorker
    from rq.scheduler import RQScheduler
    from rq.timeouts import TimerDeathPenalty

    class ThreadWorker(SimpleWorker):
        """RQ's worker without what only a main thread may do."""

        death_penalty_class = TimerDeathPenalty

        def _install_signal_handlers(self) -> None: ...

        def subscribe(self) -> None: ...

        def unsubscribe(self) -> None: ...

    queues = [HIGH_QUEUE, DEFAULT_QUEUE]
    scheduler = RQScheduler(queues, connection=REDIS_CONNECTION)
    scheduler.acquire_locks()
    # An export's arguments hold the person's Hub token: they must not be logged.
    worker = ThreadWorker(queues, connection=REDIS_CONNECTION, log_job_description=False)
    while True:
        try:
            scheduler.enqueue_scheduled_jobs()  # what failed and is to be tried again later
            if any(len(queue) for queue in queues):
                worker.work(burst=True, logging_level="WARNING")
        except Exception:
            logging.getLogger("argilla").exception("the background jobs stumbled")
        time.sleep(POLL_S)
