"""Adapter for Celery's logging, of the worker, beat and the dashboard: its format or JSON lines, with secrets redacted.

`WorkerLogging` replaces Celery's set-up of logging (`FBSCelery.log_cls`), so `fbs worker`, `fbs beat` and
`celery -A fbs_worker.app …` log alike, while an application that only enqueues jobs keeps its own logging. A task sets
`job_context`, so every record that is logged during a job carries the job's id.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from celery import current_task
from celery.app.log import Logging
from celery.apps import worker

from fbs_worker.core.errors import FBSError
from fbs_worker.core.redaction import Redactor

TRIED: Final = ("celery>=5.5,<5.8",)

UPSTREAM: Final[Mapping[str, str]] = {
    "celery.apps.worker:safe_say": "replaced: writes the words of the worker's signal handlers to a stream",
    "celery.app.base:Celery.log_cls": "overridden: the class that sets logging up",
    "celery.app.log:Logging.setup_handlers": "overridden: adds the handler of a logger that has none",
    "celery.app.log:Logging.setup_logging_subsystem": "overridden: sets logging up, once per process",
}

_MIN_LEVELS: Final = {
    "odoorpc": logging.WARNING,  # its DEBUG records hold request bodies with passwords
    "celery.pool": logging.INFO,  # its DEBUG records hold whole messages
}
"""Minimum level of loggers that log secrets below it, whatever the configured level."""


@dataclass(slots=True)
class _Job:
    """The job fields of log records; mutable, because threads of the job share its current step."""

    job: str
    action: str
    solution: str
    step: str = ""


_job: ContextVar[_Job | None] = ContextVar("fbs_job", default=None)


@contextmanager
def job_context(job_id: str, action: str, solution: str = "") -> Iterator[None]:
    """Add the job to every record that is logged in the `with` block.

    A thread that the job starts needs a copy of the context: `copy_context().run(…)`.

    Args:
        job_id: the job's id.
        action: the job's action, e.g. `refresh`.
        solution: the solution that the job is for, if any.
    """
    token = _job.set(_Job(job=job_id, action=action, solution=solution))
    try:
        yield
    finally:
        _job.reset(token)


def set_step(name: str) -> None:
    """Set the step of the job of this context; do nothing without a job.

    Args:
        name: the step's name, e.g. `fields`.
    """
    job = _job.get()
    if job is not None:
        job.step = name


class JSONFormatter(logging.Formatter):
    """Formats a record as a JSON object.

    Its fields are `time` (UTC), `level`, `logger`, `process` and `message`, if present `trace`, and if known `job`,
    `action`, `solution` and `step`.

    Args:
        redact: redacts secrets in text.
    """

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.processName,
            "message": self._redact(record.getMessage().strip()),
        }
        fields |= {key: value for key, value in _job_fields(record).items() if value}
        trace = [self.formatException(record.exc_info)] if record.exc_info else []
        trace += [self.formatStack(record.stack_info)] if record.stack_info else []
        if trace:
            fields["trace"] = self._redact("\n".join(trace))
        # ASCII only, so that the line can be written in any encoding
        return json.dumps(fields)


class RedactingFormatter(logging.Formatter):
    """Redacts the output of another formatter.

    Args:
        formatter: the other formatter.
        redact: redacts secrets in text.
    """

    def __init__(self, formatter: logging.Formatter, redact: Redactor) -> None:
        super().__init__()
        self._formatter = formatter
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        return self._redact(self._formatter.format(record))


class JobLogHandler(logging.Handler):
    """Keeps what is logged during a job beside its record, for `fbs jobs logs`.

    Where Redis does not answer the line is in the worker's own log alone.

    Args:
        keep: called with the job's id, the level's name and the line.
        redact: redacts secrets in text.
    """

    def __init__(self, keep: Callable[[str, str, str], None], redact: Redactor) -> None:
        super().__init__()
        self._keep = keep
        self._redact = redact

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record that was logged during a job."""
        job = _job.get()
        if job is None:
            return
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        text = "\n".join(filter(None, (record.getMessage().strip(), trace)))
        token = _job.set(None)  # what is logged meanwhile is not kept
        try:
            with suppress(FBSError):
                self._keep(job.job, record.levelname, self._redact(text))
        finally:
            _job.reset(token)


class WorkerLogging(Logging):  # type: ignore[misc]  # Celery has no types
    """Celery's set-up of logging with the format of FBS_LOG_FORMAT.

    Args:
        app: an `FBSCelery`.
    """

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._fbs = app
        self._redact = Redactor.from_settings(app.settings)
        self._json = JSONFormatter(self._redact) if app.settings.fbs_log_format == "json" else None

    def setup_logging_subsystem(self, loglevel: int | str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Set logging up, once per process: with a higher level for loggers that log secrets."""
        given = loglevel or self.loglevel
        level = logging.getLevelNamesMapping()[given.upper()] if isinstance(given, str) else given
        for name, min_level in _MIN_LEVELS.items():
            logging.getLogger(name).setLevel(max(min_level, level))
        if self._json is not None:
            _redirect_signal_output(self._json)
        done = super().setup_logging_subsystem(loglevel, *args, **kwargs)
        root = logging.getLogger()
        if not any(isinstance(handler, JobLogHandler) for handler in root.handlers):
            root.addHandler(JobLogHandler(self._keep, self._redact))
        return done

    def _keep(self, job_id: str, level: str, text: str) -> None:
        self._fbs.jobs.add_log_line(job_id, level, text)

    def setup_handlers(self, logger: logging.Logger, *args: Any, **kwargs: Any) -> logging.Logger:
        """Add the handler of a logger that has none, with our formatter."""
        before = set(logger.handlers)
        super().setup_handlers(logger, *args, **kwargs)
        for handler in logger.handlers:
            if handler not in before:
                plain = handler.formatter or logging.Formatter()
                handler.setFormatter(self._json or RedactingFormatter(plain, self._redact))
        return logger


def _redirect_signal_output(formatter: JSONFormatter) -> None:
    """Write the output of the worker's signal handlers as JSON lines.

    It goes straight to stderr, as in Celery: a signal handler must not wait for a lock that it interrupted.
    """

    def write(words: object, _stream: object = None) -> None:
        attributes = {"name": worker.__name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": str(words)}
        line = formatter.format(logging.makeLogRecord(attributes))
        if sys.__stderr__ is not None:
            os.write(sys.__stderr__.fileno(), f"{line}\n".encode())

    worker.safe_say = write


def _job_fields(record: logging.LogRecord) -> dict[str, str]:
    """Return the job of the context, else of Celery's record attributes, else of the current task."""
    job = _job.get()
    if job is not None:
        return {"job": job.job, "action": job.action, "solution": job.solution, "step": job.step}
    data = getattr(record, "data", None)
    if isinstance(data, dict) and "id" in data and "name" in data:
        return {"job": str(data["id"]), "action": _action(data["name"])}
    if current_task and current_task.request.id:
        return {"job": current_task.request.id, "action": _action(current_task.name)}
    return {}


def _action(task_name: object) -> str:
    return str(task_name).removeprefix("fbs.")
