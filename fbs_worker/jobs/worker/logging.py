"""Logging of the worker, beat and the dashboard: Celery's format or JSON lines, with secrets redacted.

`WorkerLogging` replaces Celery's set-up of logging (`FBSCelery.log_cls`), so `fbs worker`, `fbs beat` and
`celery -A fbs_worker.app …` log alike, while an application that only enqueues jobs keeps its own logging. A task sets
`job_context`, so every record that is logged during a job carries the job's id.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from celery import current_task

from fbs_worker.core.redaction import Redactor
from fbs_worker.jobs.celery_compat.process import LOGGER, LoggingSetup, replace_signal_output

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


class WorkerLogging(LoggingSetup):
    """Celery's set-up of logging with the format of FBS_LOG_FORMAT.

    Args:
        app: an `FBSCelery`.
    """

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._redact = Redactor.from_settings(app.settings)
        self._json = JSONFormatter(self._redact) if app.settings.fbs_log_format == "json" else None

    def before_setup(self, level: int) -> None:
        """Raise the level of loggers that log secrets, and redirect the output of signal handlers to JSON lines."""
        for name, min_level in _MIN_LEVELS.items():
            logging.getLogger(name).setLevel(max(min_level, level))
        if self._json is not None:
            self._redirect_signal_output(self._json)

    def wrap(self, formatter: logging.Formatter) -> logging.Formatter:
        """Return the JSON formatter, or redact Celery's."""
        return self._json or RedactingFormatter(formatter, self._redact)

    @staticmethod
    def _redirect_signal_output(formatter: JSONFormatter) -> None:
        """Write the output of the worker's signal handlers as JSON lines.

        It goes straight to stderr, as in Celery: a signal handler must not wait for a lock that it interrupted.
        """

        def write(text: str) -> None:
            attributes = {"name": LOGGER, "levelno": logging.WARNING, "levelname": "WARNING", "msg": text}
            line = formatter.format(logging.makeLogRecord(attributes))
            if sys.__stderr__ is not None:
                os.write(sys.__stderr__.fileno(), f"{line}\n".encode())

        replace_signal_output(write)


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
