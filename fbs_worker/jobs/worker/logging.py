"""What the worker, beat and the dashboard log: Celery's lines as they are, or one JSON object a line; never a secret.

`WorkerLogging` stands in for Celery's own set-up of logging (`FBSCelery.log_cls`), so `fbs worker`, `fbs beat` and
`celery -A fbs_worker.app …` log alike, and another application that only enqueues jobs keeps its logging. A task says
for which job it works (`job_context`), so each line of its process tells that, whoever wrote it.
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

_QUIETEST: Final = {
    "odoorpc": logging.WARNING,  # at DEBUG it logs what it sends, passwords among it
    "celery.pool": logging.INFO,  # at DEBUG it logs whole messages
}
"""The lowest level of loggers that would tell a secret below it, whatever level was asked for."""


@dataclass(slots=True)
class _Job:
    """What the lines of a job tell of it. Threads that the job starts may share it: its step changes."""

    job: str
    action: str
    solution: str
    step: str = ""


_job: ContextVar[_Job | None] = ContextVar("fbs_job", default=None)


@contextmanager
def job_context(job_id: str, action: str, solution: str = "") -> Iterator[None]:
    """Every line that is logged within tells the job.

    A thread that the job starts tells it, too, if it runs in a copy of the context: `copy_context().run(…)`.

    Args:
        job_id: the job's id.
        action: what it does, e.g. `refresh`.
        solution: the solution that it is for, if any.
    """
    token = _job.set(_Job(job=job_id, action=action, solution=solution))
    try:
        yield
    finally:
        _job.reset(token)


def set_step(name: str) -> None:
    """The job of this context is at another step; nothing happens where there is no job.

    Args:
        name: the step's name, e.g. `fields`.
    """
    job = _job.get()
    if job is not None:
        job.step = name


class JSONFormatter(logging.Formatter):
    """A line of log as a JSON object.

    It has `time` (UTC), `level`, `logger`, `process` and `message`, `trace` where there is one, and `job`, `action`,
    `solution` and `step` where they are known.

    Args:
        redact: takes secrets out of words.
    """

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.processName,
            "message": self._redact(record.getMessage().strip()),
        }
        told |= {key: value for key, value in _about(record).items() if value}
        trace = [self.formatException(record.exc_info)] if record.exc_info else []
        trace += [self.formatStack(record.stack_info)] if record.stack_info else []
        if trace:
            told["trace"] = self._redact("\n".join(trace))
        # ASCII alone: whatever the stream's encoding and whatever is in the words, the line can be written
        return json.dumps(told)


class RedactingFormatter(logging.Formatter):
    """Another formatter's lines without secrets.

    Args:
        lines: the other formatter.
        redact: takes secrets out of words.
    """

    def __init__(self, lines: logging.Formatter, redact: Redactor) -> None:
        super().__init__()
        self._lines = lines
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        return self._redact(self._lines.format(record))


class WorkerLogging(LoggingSetup):
    """Celery's set-up of logging, with the settings' format.

    Args:
        app: an application with settings: an `FBSCelery`.
    """

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._redact = Redactor.from_settings(app.settings)
        self._json = JSONFormatter(self._redact) if app.settings.fbs_log_format == "json" else None

    def before_setup(self, level: int) -> None:
        """Keep loggers quiet that would show a secret, and write JSON lines where they are wanted."""
        for name, floor in _QUIETEST.items():
            logging.getLogger(name).setLevel(max(floor, level))
        if self._json is not None:
            self._say_in_json(self._json)

    def wrap(self, formatter: logging.Formatter) -> logging.Formatter:
        """JSON lines, or Celery's lines without secrets."""
        return self._json or RedactingFormatter(formatter, self._redact)

    @staticmethod
    def _say_in_json(lines: JSONFormatter) -> None:
        """What Celery's worker says past logging, from its signal handlers, becomes lines like the others.

        It writes such words straight to a stream, for a handler must not wait for a lock that it interrupted; so do we.
        """

        def write(words: str) -> None:
            about = {"name": LOGGER, "levelno": logging.WARNING, "levelname": "WARNING", "msg": words}
            line = lines.format(logging.makeLogRecord(about))
            if sys.__stderr__ is not None:
                os.write(sys.__stderr__.fileno(), f"{line}\n".encode())

        replace_signal_output(write)


def _about(record: logging.LogRecord) -> dict[str, str]:
    """The job that a line is about: the context's, else the one that Celery names, else the task that runs."""
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
