"""Task state of the dashboard: Flower's, with solution and progress added and secrets redacted."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from celery import states

from fbs_worker.core.redaction import Redactor
from fbs_worker.jobs.worker.progress import PROGRESS
from fbs_worker.ops.dashboard.flower_compat import TasksState, TaskState

LOST: Final = "LOST"

_AFTER_STARTED: Final = states.precedence(states.STARTED) - 0.5
_SUBJECT: Final = re.compile(r"'(solution_name|domain)': '([^']+)'")
_REDACTED_FIELDS: Final = frozenset({"exception", "kwargs", "message", "result", "step", "traceback"})
"""Fields of an event that hold free text, which may contain a secret."""


class DashboardTask(TaskState):
    """A task with its solution or domain and its progress.

    A job whose worker is lost has the state `LOST` until its next event.
    """

    state: str
    received: float | None
    solution: str | None = None
    domain: str | None = None
    step: str | None = None
    percent: int | None = None
    message: str | None = None

    last_event_at: float = 0.0
    """Time of the last event, by this process's monotonic clock, seconds."""

    extra_merge_rules: ClassVar = {PROGRESS: ()}
    """A late progress event changes nothing: progress and end are sent by different processes."""

    extra_fields = ("solution", "domain", "step", "percent", "message")

    @property
    def progress(self) -> str:
        """Step and percentage for a list; empty once the task has succeeded."""
        if self.state == states.SUCCESS or not self.step:
            return ""
        return self.step if self.percent is None else f"{self.step} {self.percent} %"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; used by lists, the API and the saved history."""
        values: dict[str, Any] = super().as_dict()
        return values | {"subject": self.solution or self.domain, "progress": self.progress}

    def event(
        self, type_: str, timestamp: Any = None, local_received: Any = None, fields: dict[str, Any] | None = None
    ) -> None:
        """Apply an event; see Celery's `Task`."""
        self.last_event_at = time.monotonic()
        fields = fields if fields is not None else {}
        for name, value in _SUBJECT.findall(str(fields.get("kwargs", ""))):
            fields.setdefault(name.removesuffix("_name"), value)
        if type_ == "sent" and self.received is None:
            self.received = timestamp  # lists are sorted by it: queued tasks belong among the newest, too
        if self.state == LOST:
            self.state = states.PENDING  # any event after LOST is newer, whatever its precedence
        if type_ == "succeeded" and self.step:
            fields |= {"percent": 100, "message": None}
        super().event(type_, timestamp, local_received, fields, precedence=_precedence)


def _precedence(state: str) -> float:
    """Celery ranks an unknown state after REVOKED; progress comes right after STARTED."""
    return _AFTER_STARTED if state == PROGRESS else float(states.precedence(state))


class DashboardState(TasksState):
    """All tasks and workers of the dashboard."""

    Task = DashboardTask

    redact: Redactor = Redactor()
    """Removes secrets from events before they are stored."""

    version: int = 0
    """Change counter: incremented by each event of a task."""

    def event(self, event: dict[str, Any]) -> None:
        """Apply an event; see Celery's `State`."""
        if event["type"].startswith("task-"):
            self.version += 1
            event = self._redacted(event)
        super().event(event)

    def apply(self, task_id: str, kind: str, timestamp: float, *, worker: str = "", **fields: Any) -> None:
        """Apply an event that was not received but derived from a job record; it changes no worker's counters.

        Args:
            task_id: the task's id.
            kind: the event's name without `task-`.
            timestamp: when it happened, seconds since 1970.
            worker: the worker's name; empty for none.
            **fields: the event's fields.
        """
        self.apply_event(task_id, kind, timestamp, self._redacted(fields), worker=worker)
        self.version += 1

    def tasks_by_id(self) -> Mapping[str, DashboardTask]:
        """The tasks by their ids, without marking them as recently used in the LRU cache."""
        return self.cached_tasks(DashboardTask)

    def _redacted(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        clean = {
            key: self.redact(value) if key in _REDACTED_FIELDS and isinstance(value, str) else value
            for key, value in fields.items()
        }
        return clean | {"args": redact_positional(fields["args"])} if "args" in fields else clean


def redact_positional(arguments: object) -> str:
    """A placeholder for positional arguments: without names, secrets among them cannot be recognised."""
    return "()" if not arguments or arguments in ("()", "[]") else "(not shown)"
