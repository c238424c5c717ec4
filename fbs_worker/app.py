"""The Celery application.

`app` is what `celery -A fbs_worker.app worker|beat|inspect|…` finds. Importing this module reads no environment: `app`
reads the settings when its configuration is first needed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning
from kombu.exceptions import OperationalError

from fbs_worker import queue
from fbs_worker.celery_config import configuration, inline_configuration
from fbs_worker.errors import FBSError, QueueUnreachable
from fbs_worker.jobs import JobStore
from fbs_worker.progress import Progress
from fbs_worker.settings import Settings, get_settings


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
            return inline_configuration()
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
        # Containers run as root; Celery's warning is about pickle, which is not accepted here.
        warnings.filterwarnings("ignore", message="You're running the worker with superuser", category=SecurityWarning)
        try:
            check(instance.app)
        except FBSError as exc:
            sys.stderr.write(f"{exc.message}\n{exc.hint}\n")
            raise SystemExit(exc.exit_code) from exc


app = FBSCelery()
