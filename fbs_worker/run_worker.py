"""A Celery worker in this process: what `fbs worker` runs, and what is checked before any worker starts."""

from __future__ import annotations

import os
import warnings
from typing import Final

from celery.exceptions import SecurityWarning
from celery.utils.nodenames import gethostname, nodename

from fbs_worker.app import check, make_app
from fbs_worker.celery_config import QUEUES
from fbs_worker.errors import EXIT_DONE, UsageError
from fbs_worker.settings import Settings

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def run_worker(
    settings: Settings,
    *,
    concurrency: int | None = None,
    loglevel: str = "INFO",
    queues: tuple[str, ...] = QUEUES,
    include: tuple[str, ...] = (),
) -> int:
    """Run a worker in this process until it is told to stop (SIGTERM finishes what runs, SIGQUIT does not).

    Args:
        settings: what it works with.
        concurrency: how many jobs it runs at a time; the number of processors if None.
        loglevel: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        queues: which queues it takes jobs from.
        include: further modules with tasks.

    Returns:
        The exit code that Celery gives the process.

    Raises:
        SettingsError: a setting is missing or not valid.
        UsageError: no such log level.
        QueueUnreachable: Redis does not answer; nothing is started then.
    """
    if loglevel not in LOG_LEVELS:
        raise UsageError(f"There is no log level {loglevel!r}.", hint=f"Use one of: {', '.join(LOG_LEVELS)}.")
    app = make_app(settings)
    check(app)
    with warnings.catch_warnings():
        # Containers run as root; Celery's warning is about pickle, which is not accepted here.
        warnings.filterwarnings("ignore", message="You're running the worker with superuser", category=SecurityWarning)
        worker = app.Worker(
            hostname=nodename(f"fbs-{os.getpid()}", gethostname()),
            concurrency=concurrency,
            loglevel=loglevel,
            queues=",".join(queues),
            include=include,
            quiet=True,
            without_gossip=True,  # workers agree through Redis: they need not talk to each other
            without_mingle=True,
        )
    worker.start()
    return worker.exitcode or EXIT_DONE
