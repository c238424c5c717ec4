"""What the dashboard shows of tasks: the solution and the progress as well, and no secret.

Facts relied on: an event `task-<something>` that Celery does not know becomes the state of that name in capitals
(`celery.events.state.Task.event`), and what `Task._fields` names is shown, told by the API and kept.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from celery import states
from celery.events.state import Task
from flower.events import EventsState

from fbs_worker.core.redaction import Redactor
from fbs_worker.jobs.worker.celery_events import PROGRESS

LOST: Final = "LOST"

_AFTER_STARTED: Final = states.precedence(states.STARTED) - 0.5
_SUBJECT: Final = re.compile(r"'(solution_name|domain)': '([^']+)'")
_WORDS: Final = frozenset({"exception", "kwargs", "message", "result", "step", "traceback"})
"""What of an event is words, in which there could be a secret."""


class ShownTask(Task):  # type: ignore[misc]  # Celery has no types
    """A task, with the solution or domain that it is for and how far it is.

    A job whose worker is lost reads `LOST`, until something is heard of it again.
    """

    state: str
    received: float | None
    solution: str | None = None
    domain: str | None = None
    step: str | None = None
    percent: int | None = None
    message: str | None = None

    heard: float = 0.0
    """When something was last heard of it, by this process's own clock."""

    merge_rules: ClassVar = {**Task.merge_rules, PROGRESS: ()}
    """Nothing of a progress that comes late: it is told by another process than the end."""

    _fields = ("solution", "domain", "step", "percent", "message", *Task._fields)

    @property
    def progress(self) -> str:
        """Step and percentage for a list; empty once it has succeeded, for then it is plain."""
        if self.state == states.SUCCESS or not self.step:
            return ""
        return self.step if self.percent is None else f"{self.step} {self.percent} %"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; lists and the API show it, and the history keeps it."""
        told: dict[str, Any] = super().as_dict()
        return told | {"subject": self.solution or self.domain, "progress": self.progress}

    def event(
        self, type_: str, timestamp: Any = None, local_received: Any = None, fields: dict[str, Any] | None = None
    ) -> None:
        """Something happened to it; see Celery's `Task`."""
        self.heard = time.monotonic()
        fields = fields if fields is not None else {}
        for name, value in _SUBJECT.findall(str(fields.get("kwargs", ""))):
            fields.setdefault(name.removesuffix("_name"), value)
        if type_ == "sent" and self.received is None:
            self.received = timestamp  # lists are sorted by it: what waits for a worker is among the newest, too
        if self.state == LOST:
            self.state = states.PENDING  # it lives: whatever is told now is newer
        if type_ == "succeeded" and self.step:
            fields |= {"percent": 100, "message": None}
        super().event(type_, timestamp, local_received, fields, precedence=_precedence)


def _precedence(state: str) -> float:
    """Celery takes an unknown state for a later one than REVOKED; progress comes right after the start."""
    return _AFTER_STARTED if state == PROGRESS else float(states.precedence(state))


class ShownState(EventsState):  # type: ignore[misc]  # Flower has no types
    """All tasks and workers that the dashboard knows."""

    Task = ShownTask

    redact: Redactor = Redactor()
    """Takes secrets out of what is heard, before it is kept."""

    changes: int = 0
    """How often something happened to a task."""

    def event(self, event: dict[str, Any]) -> None:
        """Something happened; see Flower's `EventsState`."""
        if event["type"].startswith("task-"):
            self.changes += 1
            event = self._without_secrets(event)
        super().event(event)

    def tell(self, task_id: str, kind: str, timestamp: float, *, worker: str = "", **fields: Any) -> None:
        """What happened to a task, known from elsewhere than an event: it counts in no worker's figures.

        Args:
            task_id: the task's id.
            kind: the event's name without `task-`.
            timestamp: when it happened, seconds since 1970.
            worker: whose it is; empty if nobody's.
            **fields: what the event would have told.
        """
        evicted = self._eviction_candidate(task_id)
        task, _ = self.get_or_create_task(task_id)
        task.event(kind, timestamp, None, self._without_secrets(fields))
        if worker:
            task.worker, _ = self.get_or_create_worker(worker)
        self.know(task, evicted=evicted)
        self.changes += 1

    def know(self, task: ShownTask, *, evicted: str | None = None) -> None:
        """A task is here that no event brought: let it be found.

        Args:
            task: the task.
            evicted: the id of one that may have made room for it.
        """
        if task.name:
            self._seen_types.add(task.name)
        self._index_task(task, evicted)

    def shown(self) -> Mapping[str, ShownTask]:
        """The tasks by their ids; looking at them here does not count as using them."""
        known: Mapping[str, ShownTask] = self.tasks.data
        return known

    def _without_secrets(self, told: Mapping[str, Any]) -> dict[str, Any]:
        clean = {
            key: self.redact(value) if key in _WORDS and isinstance(value, str) else value
            for key, value in told.items()
        }
        return clean | {"args": positional(told["args"])} if "args" in told else clean


def positional(arguments: object) -> str:
    """Positional arguments as they are shown: not at all. Nothing tells which is a secret, and a job takes none."""
    return "()" if not arguments or arguments in ("()", "[]") else "(not shown)"
