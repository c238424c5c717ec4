"""A Celery worker in this process: what `fbs worker` runs, and what is checked before any worker starts."""

from __future__ import annotations

import os
import re
import warnings
from typing import Final

from celery.exceptions import SecurityWarning

from fbs_worker.core.errors import EXIT_DONE, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import check, make_app
from fbs_worker.jobs.config import CELERY_QUEUE, QUEUES
from fbs_worker.jobs.workers import worker_name

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def run_worker(
    settings: Settings,
    *,
    name: str | None = None,
    concurrency: int | None = None,
    loglevel: str = "INFO",
    queues: tuple[str, ...] = QUEUES,
    include: tuple[str, ...] = (),
) -> int:
    """Run a worker in this process until it is told to stop (SIGTERM finishes what runs, SIGQUIT does not).

    Args:
        settings: what it works with.
        name: what it is called on this host: `NAME@host` in records, and for `fbs health --worker`; made up if None.
        concurrency: how many jobs it runs at a time; the number of processors if None.
        loglevel: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        queues: which queues it takes jobs from: some of `QUEUES` and `CELERY_QUEUE`.
        include: further modules with tasks.

    Returns:
        The exit code that Celery gives the process.

    Raises:
        SettingsError: a setting is missing or not valid.
        UsageError: no such log level or queue, or not a name.
        QueueUnreachable: Redis does not answer; nothing is started then.
    """
    if loglevel not in LOG_LEVELS:
        raise UsageError(f"There is no log level {loglevel!r}.", hint=f"Use one of: {', '.join(LOG_LEVELS)}.")
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a worker's name.",
            hint="Up to 64 letters, digits, `_`, `.` and `-`, beginning with a letter or a digit.",
        )
    known = (*QUEUES, CELERY_QUEUE)
    unknown = [queue for queue in queues if queue not in known]
    if unknown or not queues:
        raise UsageError(
            f"There is no queue {unknown[0]!r}." if unknown else "A worker needs a queue to take jobs from.",
            hint=f"Use some of: {', '.join(known)}.",
        )
    app = make_app(settings)
    check(app)
    with warnings.catch_warnings():
        # Containers run as root; Celery's warning is about pickle, which is not accepted here.
        warnings.filterwarnings("ignore", message="You're running the worker with superuser", category=SecurityWarning)
        worker = app.Worker(
            hostname=worker_name(name or f"fbs-{os.getpid()}"),
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
