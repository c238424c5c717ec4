"""Run a Celery worker in this process, as `fbs worker` does."""

from __future__ import annotations

import os
import re
import warnings
from typing import Final

from celery.exceptions import SecurityWarning

from fbs_worker.core.collector import collect_as_usual
from fbs_worker.core.errors import UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import check, make_app
from fbs_worker.jobs.celery_compat.process import exit_code_of
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
    """Run a worker until a signal stops it (SIGTERM finishes the running jobs, SIGQUIT does not).

    Args:
        settings: the settings.
        name: the worker's name on this host: `NAME@host` in records and for `fbs health --worker`; generated if None.
        concurrency: the number of concurrent jobs; the number of processors if None.
        loglevel: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        queues: the queues to consume, of `QUEUES` and `CELERY_QUEUE`.
        include: further modules with tasks.

    Returns:
        Celery's exit code.

    Raises:
        SettingsError: a setting is missing or not valid.
        UsageError: the log level, a queue or the name is not valid.
        QueueUnreachable: Redis or the broker does not answer; no worker was started.
    """
    if loglevel not in LOG_LEVELS:
        raise UsageError(f"There is no log level {loglevel!r}.", hint=f"Use one of: {', '.join(LOG_LEVELS)}.")
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a valid worker name.",
            hint="Use up to 64 letters, digits, `_`, `.` and `-`, beginning with a letter or a digit.",
        )
    known = (*QUEUES, CELERY_QUEUE)
    unknown = [queue for queue in queues if queue not in known]
    if unknown or not queues:
        raise UsageError(
            f"There is no queue {unknown[0]!r}." if unknown else "The worker has no queue to consume.",
            hint=f"Use some of: {', '.join(known)}.",
        )
    app = make_app(settings)
    check(app)
    with warnings.catch_warnings():
        # containers run as root; the warning is about pickle, which is not accepted here
        warnings.filterwarnings("ignore", message="You're running the worker with superuser", category=SecurityWarning)
        worker = app.Worker(
            hostname=worker_name(name or f"fbs-{os.getpid()}"),
            concurrency=concurrency,
            loglevel=loglevel,
            queues=",".join(queues),
            include=include,
            quiet=True,
            without_gossip=True,  # workers coordinate through Redis
            without_mingle=True,
        )
    collect_as_usual()  # before it forks its pool
    worker.start()
    return exit_code_of(worker)
