"""The Celery application.

`app` is what `celery -A fbs_worker.app worker|beat|inspect|…` finds. Importing this module reads no environment: `app`
reads the settings when its configuration is first needed.
"""

from __future__ import annotations

import sys
import time
import uuid
import warnings
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from celery import Celery, signals
from celery.exceptions import SecurityWarning

from fbs_worker.core.errors import FBSError, QueueUnreachable, UsageError
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings, get_settings
from fbs_worker.jobs.broker import Broker
from fbs_worker.jobs.celery_compat.process import omit_banner, runs_celery_command
from fbs_worker.jobs.config import DISCOVERY_QUEUE, ROUTES, configuration, in_process_configuration
from fbs_worker.jobs.deduplication import deduplication_key
from fbs_worker.jobs.outbox import Outbox
from fbs_worker.jobs.store import JobStore

_STEPS: Final = (
    "fbs_worker.jobs.worker.registry_step:WorkerRegistryStep",
    "fbs_worker.jobs.worker.kombu_reconnect:ReconnectStep",
    "fbs_worker.jobs.worker.reaper:ReaperStep",
)
"""What a worker of ours does besides running tasks."""


class FBSCelery(Celery):  # type: ignore[misc]  # Celery has no types
    """A Celery application with its settings and the store of its jobs.

    Args:
        settings: what it works with; the process's own, read when first needed, if None.
        results: keep the results of tasks for `AsyncResult`; who only enqueues jobs reads their records instead.
        in_process: apply tasks in this process and tell their progress there: no Redis, no record.
    """

    log_cls = "fbs_worker.jobs.worker.logging:WorkerLogging"

    def __init__(
        self, settings: Settings | None = None, *, results: bool = True, in_process: Progress | None = None
    ) -> None:
        super().__init__("fbs_worker", set_as_current=False)
        self._given_settings = settings
        self._results = results
        self.in_process = in_process
        self.add_defaults(self._defaults)
        self.steps["consumer"].update(_STEPS)

    @property
    def settings(self) -> Settings:
        """What it works with."""
        return self._given_settings or get_settings()

    @property
    def max_countdown(self) -> float:
        """Seconds that a message may wait in a worker's hands: well before Redis hands it on as forgotten."""
        return self.settings.fbs_visibility_timeout / 2

    @cached_property
    def jobs(self) -> JobStore:
        """The records of its jobs."""
        return JobStore(self.settings.fbs_redis_url, ttl=self.settings.fbs_job_ttl)

    def send_task(self, name: str, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        eta = options.get("eta")
        wait = _seconds_until(eta) if eta else options.get("countdown") or 0
        if wait > self.max_countdown:
            raise UsageError(
                f"A message may wait for {self.max_countdown:.0f} seconds at most: Redis would hand it on as lost.",
                hint="`fbs schedule` is there for what is to run later.",
            )
        # What a message says of its arguments is what events, Flower and error logs show of them.
        options.setdefault("argsrepr", "()")
        options.setdefault("kwargsrepr", repr(redacted_kwargs(kwargs or {})))
        return super().send_task(name, args, kwargs, **options)

    def enqueue(self, name: str, kwargs: Mapping[str, Any], *, solution: str = "", domain: str = "") -> str:
        """Enqueue a job, unless the same one waits or runs already.

        Where the broker is the Redis of the records, record and message are made together, in one step: there is
        never one without the other.

        Args:
            name: the task's name.
            kwargs: its keyword arguments, JSON-ready, without a plain password.
            solution: the solution that it is for, if any.
            domain: the domain that it is for, if any.

        Returns:
            The id of the job that does it: a new one, or the same one.

        Raises:
            QueueUnreachable: Redis or the broker does not answer; nothing is enqueued then.
        """
        job_id = str(uuid.uuid4())
        together = self.broker.is_job_store
        stands_for_it = self.jobs.create(
            job_id,
            action=name.removeprefix("fbs."),
            solution=solution,
            domain=domain,
            queue_name=ROUTES.get(name, {}).get("queue", DISCOVERY_QUEUE),
            deduplication_key=deduplication_key(
                name, kwargs, secret_keys=self.settings.fbs_secret_keys.get_secret_value()
            ),
            commands=self._outbox.write(name, kwargs, job_id=job_id) if together else (),
        )
        if stands_for_it == job_id and not together:
            self._send(name, kwargs, job_id)
        return stands_for_it

    def _send(self, name: str, kwargs: Mapping[str, Any], job_id: str) -> None:
        try:
            with self.broker.errors_translated():
                self.send_task(name, kwargs=dict(kwargs), task_id=job_id)
        except BaseException:
            with suppress(QueueUnreachable):  # then the first error says it
                self.jobs.remove(job_id)
            raise
        self.jobs.mark_sent(job_id)

    @cached_property
    def broker(self) -> Broker:
        """Where its messages go."""
        return Broker.from_settings(self.settings)

    @cached_property
    def _outbox(self) -> Outbox:
        return Outbox(self, database=int(urlsplit(self.settings.fbs_redis_url).path.strip("/") or 0))

    def _defaults(self) -> dict[str, Any]:
        if self.in_process is not None:
            return in_process_configuration()
        try:
            told = configuration(self.settings)
        except FBSError as exc:
            if self._given_settings is None and runs_celery_command():
                _end_plainly(exc)  # a command of Celery's own asked; it would show a trace
            raise
        return told if self._results else {**told, "result_backend": None}


def make_app(settings: Settings, *, results: bool = True, in_process: Progress | None = None) -> FBSCelery:
    """An application with these settings.

    Args:
        settings: what it works with.
        results: see `FBSCelery`.
        in_process: see `FBSCelery`.
    """
    return FBSCelery(settings, results=results, in_process=in_process)


def redacted_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
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
        told["config"] = redacted_kwargs(config) if isinstance(config, Mapping) else "***"
    return told


def _seconds_until(eta: datetime | str) -> float:
    moment = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time()


def check(app: FBSCelery) -> None:
    """See that an application's settings are good and that its Redis and its broker answer.

    Raises:
        SettingsError: a setting is missing or not valid.
        QueueUnreachable: one of them does not answer.
    """
    configuration(app.settings)
    app.jobs.ping()
    app.jobs.close()
    if not app.broker.is_job_store:
        with app.broker.errors_translated(), app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.2, reraise_as_library_errors=True)


def _end_plainly(error: FBSError) -> NoReturn:
    """End the process with what is wrong and what to do, a line each."""
    sys.stderr.write(f"{error.message}\n{error.hint}\n")
    raise SystemExit(error.exit_code) from error


@signals.celeryd_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _check_before_start(*, instance: Any, **_signal: Any) -> None:
    """A worker that `celery -A fbs_worker.app worker` starts says at once what is wrong, as `fbs worker` does."""
    if isinstance(instance.app, FBSCelery):
        # Containers run as root; Celery's warning is about pickle, which is not accepted here.
        warnings.filterwarnings("ignore", message="You're running the worker with superuser", category=SecurityWarning)
        try:
            check(instance.app)
            if instance.app.settings.fbs_log_format == "json":
                omit_banner(instance)
        except FBSError as exc:
            _end_plainly(exc)


app = FBSCelery()
