"""The Celery application: its configuration, made from the settings, and the worker.

`app` is what `celery -A fbs_worker.app worker|beat|inspect|…` finds. Importing this module reads no environment: `app`
reads the settings when its configuration is first needed.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from celery import Celery, signals
from celery.exceptions import SecurityWarning
from celery.utils.nodenames import gethostname, nodename
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError

from fbs_worker import queue
from fbs_worker.errors import EXIT_DONE, FBSError, QueueUnreachable, SettingsError, UsageError
from fbs_worker.jobs import JobStore
from fbs_worker.progress import Progress
from fbs_worker.settings import Settings, get_settings

DISCOVERY_QUEUE: Final = "fbs.discovery"
SCHEMA_QUEUE: Final = "fbs.schema"
QUEUES: Final = (DISCOVERY_QUEUE, SCHEMA_QUEUE)

ROUTES: Final = {
    "fbs.discover": {"queue": DISCOVERY_QUEUE},
    "fbs.refresh": {"queue": DISCOVERY_QUEUE},
    "fbs.refresh_due": {"queue": DISCOVERY_QUEUE},
    "fbs.setup": {"queue": SCHEMA_QUEUE},
    "fbs.migrate": {"queue": SCHEMA_QUEUE},
    "fbs.drop": {"queue": SCHEMA_QUEUE},
}
"""Reads of Odoo and changes of tables wait in different queues, so that each can have workers of its own."""

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

TASK_MODULES: Final = ("tasks.discover", "tasks.drop", "tasks.record", "tasks.refresh", "tasks.setup")
"""Where the tasks are, by name: nothing here imports them, the worker does when it starts."""

_TIME_LIMIT_GRACE: Final = 30
"""Seconds that a job over its time limit has to clean up before its process is killed."""


class FBSCelery(Celery):  # type: ignore[misc]  # Celery has no types
    """A Celery application with its settings and the store of its jobs.

    Args:
        settings: what it works with; the process's own, read when first needed, if None.
        results: keep the results of tasks for `AsyncResult`; who only enqueues jobs reads their records instead.
        inline: apply tasks in this process and tell their progress there: no Redis, no record.
    """

    def __init__(
        self, settings: Settings | None = None, *, results: bool = True, inline: Progress | None = None
    ) -> None:
        super().__init__("fbs_worker", set_as_current=False)
        self._given_settings = settings
        self._results = results
        self.inline = inline
        self.add_defaults(self._defaults)

    @property
    def settings(self) -> Settings:
        """What it works with."""
        return self._given_settings or get_settings()

    @cached_property
    def jobs(self) -> JobStore:
        """The records of its jobs."""
        return JobStore(self.settings.fbs_redis_url, ttl=self.settings.fbs_job_ttl)

    def send_task(self, name: str, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        # What a message says of its arguments is what events, Flower and error logs show of them.
        options.setdefault("argsrepr", "()")
        options.setdefault("kwargsrepr", repr(shown(kwargs or {})))
        return super().send_task(name, args, kwargs, **options)

    def enqueue(self, name: str, kwargs: Mapping[str, Any], *, job_id: str) -> None:
        """Send a task whose record is made.

        Args:
            name: the task's name.
            kwargs: its keyword arguments, JSON-ready, without a plain password.
            job_id: the record's id.

        Raises:
            QueueUnreachable: it could not be sent.
        """
        try:
            self.send_task(name, kwargs=dict(kwargs), task_id=job_id)
        except OperationalError as exc:
            place = queue.address(self.settings.fbs_redis_url)
            raise QueueUnreachable(f"Redis at {place} does not answer.", hint=queue.HOW_TO_START) from exc

    def _defaults(self) -> dict[str, Any]:
        if self.inline is not None:
            return _inline_configuration()
        told = configuration(self.settings)
        return told if self._results else {**told, "result_backend": None}


def make_app(settings: Settings, *, results: bool = True, inline: Progress | None = None) -> FBSCelery:
    """An application with these settings.

    Args:
        settings: what it works with.
        results: see `FBSCelery`.
        inline: see `FBSCelery`.
    """
    return FBSCelery(settings, results=results, inline=inline)


def shown(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A task's arguments as people may see them: without what was not given, and without any password.

    Args:
        kwargs: the arguments.
    """
    told = {key: value for key, value in kwargs.items() if value is not None}
    database = told.get("database_config")
    if isinstance(database, Mapping):
        told["database_config"] = {key: "***" if key == "password" else value for key, value in database.items()}
    elif database is not None:
        told["database_config"] = "***"
    config = told.get("config")
    if config is not None:
        told["config"] = shown(config) if isinstance(config, Mapping) else "***"
    return told


def configuration(settings: Settings) -> dict[str, Any]:
    """The configuration of Celery that these settings mean.

    A job is acknowledged when it is done, so Redis hands one that its worker left behind on after the visibility
    timeout. A job that may run longer than that would be handed on while it runs
    (https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout).

    Args:
        settings: what it is made from.

    Raises:
        SettingsError: Redis is not set, or the time limit does not lie below the visibility timeout.
    """
    url = queue.check_url(settings.fbs_redis_url)
    limit = settings.fbs_job_time_limit
    hard_limit = limit + max(1, min(_TIME_LIMIT_GRACE, limit // 10))
    if hard_limit >= settings.fbs_visibility_timeout:
        raise SettingsError(
            f"A job may take {hard_limit} seconds, but Redis hands it on after {settings.fbs_visibility_timeout}.",
            hint=f"Set FBS_VISIBILITY_TIMEOUT above {hard_limit}, or FBS_JOB_TIME_LIMIT lower.",
        )
    return {
        "broker_url": url,
        "broker_connection_timeout": queue.CONNECT_SECONDS,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker that runs waits for Redis to come back
        "broker_transport_options": {
            "visibility_timeout": settings.fbs_visibility_timeout,
            "socket_connect_timeout": queue.CONNECT_SECONDS,
            "socket_timeout": queue.ANSWER_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 30,
            # How often who sends a message tries to connect; without a bound kombu tries for ever.
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.2,
        },
        "result_backend": url,
        "result_expires": settings.fbs_job_ttl,
        "redis_socket_connect_timeout": queue.CONNECT_SECONDS,
        "redis_socket_timeout": queue.ANSWER_SECONDS,
        "redis_socket_keepalive": True,
        "redis_backend_health_check_interval": 30,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "include": list(TASK_MODULES),
        "task_queues": [_queue(name) for name in QUEUES],
        "task_default_queue": DISCOVERY_QUEUE,
        "task_routes": ROUTES,
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.2,
        },
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_track_started": True,
        "task_soft_time_limit": limit,
        "task_time_limit": hard_limit,
        "worker_prefetch_multiplier": 1,
        "worker_lost_wait": 2.0,  # seconds that a result of a process that died may still be on its way
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "timezone": "UTC",
    }


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


def check(app: FBSCelery) -> None:
    """See that an application's settings are good and that its Redis answers.

    Raises:
        SettingsError: a setting is missing or not valid.
        QueueUnreachable: Redis does not answer.
    """
    configuration(app.settings)
    app.jobs.ping()
    app.jobs.close()


@signals.celeryd_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _check_before_start(*, instance: Any, **_signal: Any) -> None:
    """A worker that `celery -A fbs_worker.app worker` starts says at once what is wrong, as `fbs worker` does."""
    if isinstance(instance.app, FBSCelery):
        try:
            check(instance.app)
        except FBSError as exc:
            sys.stderr.write(f"{exc.message}\n{exc.hint}\n")
            raise SystemExit(exc.exit_code) from exc


def _queue(name: str) -> Any:
    return Queue(name, Exchange(name), routing_key=name)  # type: ignore[no-untyped-call]  # Kombu has half its types


def _inline_configuration() -> dict[str, Any]:
    return {
        "broker_url": "memory://",
        "accept_content": ["json"],
        "task_serializer": "json",
        "include": list(TASK_MODULES),
        "task_store_eager_result": False,
        "task_eager_propagates": True,
    }


app = FBSCelery()
