"""The Celery application.

`app` is the instance for `celery -A fbs_worker.app worker|beat|inspect|…`. Importing this module does not read the
environment: `app` reads the settings on first use of its configuration.
"""

from __future__ import annotations

import logging
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

from fbs_worker.core.errors import FBSError, UsageError
from fbs_worker.core.progress import Progress
from fbs_worker.core.redaction import names_a_secret, redacted_arguments
from fbs_worker.core.settings import Settings, get_settings
from fbs_worker.core.vault import Vault
from fbs_worker.jobs.broker import Broker
from fbs_worker.jobs.celery_compat.outbox import Outbox
from fbs_worker.jobs.celery_compat.process import omit_banner, runs_celery_command
from fbs_worker.jobs.config import DISCOVERY_QUEUE, ROUTES, configuration, in_process_configuration
from fbs_worker.jobs.deduplication import deduplication_key
from fbs_worker.jobs.model import variant_of
from fbs_worker.jobs.store import JobStore

_log = logging.getLogger(__name__)

_STARS: Final = "***"
_STEPS: Final = (
    "fbs_worker.jobs.worker.steps:WorkerRegistryStep",
    "fbs_worker.jobs.worker.steps:ReconnectStep",
    "fbs_worker.jobs.worker.steps:ReaperStep",
)
"""Consumer steps of the application's workers."""


class FBSCelery(Celery):  # type: ignore[misc]  # Celery has no types
    """A Celery application with settings and a job store.

    Args:
        settings: the settings; those of the process, read on first use, if None.
        results: configure the result backend for `AsyncResult`; not needed to enqueue jobs and read their records.
        in_process: apply tasks in this process and report to this progress, without Redis and records.
    """

    log_cls = "fbs_worker.jobs.worker.logging:WorkerLogging"

    def __init__(
        self, settings: Settings | None = None, *, results: bool = True, in_process: Progress | None = None
    ) -> None:
        super().__init__("fbs_worker", set_as_current=False)
        self._settings = settings
        self._results = results
        self.in_process = in_process
        self.add_defaults(self._defaults)
        self.steps["consumer"].update(_STEPS)

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self._settings or get_settings()

    @property
    def max_countdown(self) -> float:
        """Maximum countdown of a message in seconds, well below the visibility timeout of Redis."""
        return self.settings.fbs_visibility_timeout / 2

    @cached_property
    def jobs(self) -> JobStore:
        """The job store."""
        return JobStore(self.settings.fbs_redis_url, ttl=self.settings.fbs_job_ttl)

    def send_task(self, name: str, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Send a task as Celery does, with passwords redacted in `kwargsrepr`.

        Raises:
            UsageError: the countdown or ETA exceeds `max_countdown`.
        """
        eta = options.get("eta")
        wait = _seconds_until(eta) if eta else options.get("countdown") or 0
        if wait > self.max_countdown:
            raise UsageError(
                f"countdown/eta may be at most {self.max_countdown:.0f} s (half of FBS_VISIBILITY_TIMEOUT): "
                "Redis would redeliver the message.",
                hint="Use `fbs schedule` to run a job later.",
            )
        # events, Flower and error logs show argsrepr and kwargsrepr
        options.setdefault("argsrepr", "()")
        options.setdefault("kwargsrepr", repr(redacted_kwargs(kwargs or {})))
        return super().send_task(name, args, kwargs, **options)

    def enqueue(self, name: str, kwargs: Mapping[str, Any], *, solution: str = "", domain: str = "") -> str:
        """Enqueue a job, unless an unfinished job has the same task and arguments.

        If the broker is the Redis of the job store, record and message are created atomically.

        Args:
            name: the task's name.
            kwargs: its keyword arguments, JSON-ready, without a plain password.
            solution: the solution that the job is for, if any.
            domain: the domain that the job is for, if any.

        Returns:
            The id of the new job, or of the existing one.

        Raises:
            QueueUnreachable: Redis or the broker does not answer; nothing was enqueued.
        """
        job_id = str(uuid.uuid4())
        atomic = self.broker.is_job_store
        active_id = self.jobs.create(
            job_id,
            action=name.removeprefix("fbs."),
            solution=solution,
            domain=domain,
            queue_name=ROUTES.get(name, {}).get("queue", DISCOVERY_QUEUE),
            deduplication_key=deduplication_key(
                name, kwargs, secret_keys=self.settings.fbs_secret_keys.get_secret_value()
            ),
            commands=self._outbox.commands(name, kwargs, job_id=job_id) if atomic else (),
            variant=variant_of(name.removeprefix("fbs."), kwargs),
            request=None if _holds_plain_secret(kwargs) else kwargs,
        )
        if active_id == job_id and not atomic:
            self._send(name, kwargs, job_id)
        return active_id

    def _send(self, name: str, kwargs: Mapping[str, Any], job_id: str) -> None:
        try:
            with self.broker.errors_translated():
                self.send_task(name, kwargs=dict(kwargs), task_id=job_id)
        except BaseException:
            with suppress(FBSError):  # raise the first error
                self.jobs.remove(job_id)
            raise
        self.jobs.mark_sent(job_id)

    def on_message_rejected(self, reason: str) -> None:
        """Log and count a message that a worker could not read.

        Args:
            reason: what is wrong with it; nothing of it is quoted.
        """
        _log.warning(
            "A message was rejected: %s. Only programs of yours should be able to write to the broker.", reason
        )
        with suppress(FBSError):  # the count is of no more use than the log line
            self.jobs.count_rejected()

    @cached_property
    def broker(self) -> Broker:
        """The message broker."""
        return Broker.from_settings(self.settings)

    @cached_property
    def _outbox(self) -> Outbox:
        return Outbox(self, database=int(urlsplit(self.settings.fbs_redis_url).path.strip("/") or 0))

    def _defaults(self) -> dict[str, Any]:
        if self.in_process is not None:
            return in_process_configuration()
        try:
            config = configuration(self.settings)
        except FBSError as exc:
            if self._settings is None and runs_celery_command():
                _exit_with(exc)  # a Celery command would print a traceback
            raise
        return config if self._results else {**config, "result_backend": None}


def make_app(settings: Settings, *, results: bool = True, in_process: Progress | None = None) -> FBSCelery:
    """Create an application.

    Args:
        settings: the settings.
        results: configure the result backend.
        in_process: apply tasks in this process and report to this progress.
    """
    return FBSCelery(settings, results=results, in_process=in_process)


def redacted_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's arguments for display, without None values and with secrets redacted.

    Args:
        kwargs: the arguments.
    """
    shown = redacted_arguments({key: value for key, value in kwargs.items() if value is not None})
    database = shown.get("database_config")
    if database is not None and not isinstance(database, Mapping):
        shown["database_config"] = _STARS
    config = kwargs.get("config")
    if config is not None:
        shown["config"] = redacted_kwargs(config) if isinstance(config, Mapping) else _STARS
    return shown


def _holds_plain_secret(value: Any, name: str = "") -> bool:
    """Whether a value in a task's arguments may be a secret that is neither encrypted nor a reference.

    Args:
        value: the value, or all arguments.
        name: what it is called.
    """
    match value:
        case Mapping():
            return any(_holds_plain_secret(inner, str(key)) for key, inner in value.items())
        case list() | tuple():
            return any(_holds_plain_secret(item, name) for item in value)
        case str() if Vault.is_reference(value):
            return False
        case str() if name in {"config", "database_config"} or "@" in value.partition("://")[2]:
            return True
    return bool(value) and names_a_secret(name)


def _seconds_until(eta: datetime | str) -> float:
    timestamp = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
    return (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)).timestamp() - time.time()


def check(app: FBSCelery) -> None:
    """Check an application's settings, that its Redis and its broker answer, and that Redis accepts changes.

    Args:
        app: the application.

    Raises:
        SettingsError: a setting is missing or not valid.
        QueueUnreachable: Redis or the broker does not answer.
    """
    configuration(app.settings)
    app.jobs.ping()
    app.jobs.check_rights()
    app.jobs.close()
    if not app.broker.is_job_store:
        with app.broker.errors_translated(), app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.2, reraise_as_library_errors=True)


def _exit_with(error: FBSError) -> NoReturn:
    """Print message and hint, and exit."""
    sys.stderr.write(f"{error.message}\n{error.hint}\n")
    raise SystemExit(error.exit_code) from error


@signals.celeryd_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _check_before_start(*, instance: Any, **_signal: Any) -> None:
    """Check before `celery -A fbs_worker.app worker` starts, as `fbs worker` does."""
    if isinstance(instance.app, FBSCelery):
        # containers run as root; the warning is about pickle, which is not accepted here
        warnings.filterwarnings("ignore", message="You're running the worker with superuser", category=SecurityWarning)
        try:
            check(instance.app)
            if instance.app.settings.fbs_log_format == "json":
                omit_banner(instance)
        except FBSError as exc:
            _exit_with(exc)


app = FBSCelery()
