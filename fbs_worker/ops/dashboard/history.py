"""The dashboard's memory: kept in a file, and put right from the jobs' records.

Events are lost: while the dashboard is away, while Redis is, when a worker dies. The records of jobs are not, so what
they say goes before what was not heard.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from celery import states
from celery.utils.saferepr import saferepr
from flower.events import Events
from tornado.ioloop import IOLoop

from fbs_worker.core.errors import FBSError, JobNotFound
from fbs_worker.core.redaction import Redactor
from fbs_worker.jobs.store import JobRecord, JobState, JobStore
from fbs_worker.jobs.worker.celery_events import PROGRESS
from fbs_worker.ops.dashboard.events import LOST, ShownState, ShownTask
from fbs_worker.ops.dashboard.history_file import keep, recall

_log = logging.getLogger(__name__)

SAVE_SECONDS: Final = 2.0
"""How often the history is saved, when something happened: as much of it goes with a dashboard that is killed."""

LOOK_SECONDS: Final = 3.0
"""How often the jobs' records are looked at."""

_LISTEN_AGAIN_SECONDS: Final = 1.0

_FIRST_LOOK: Final = 1_000
_LATER_LOOK: Final = 100
"""How many of the newest jobs are looked at."""

_MOST_ASKED: Final = 200
"""How many older jobs that do not seem to have ended are asked for in one look; the others have their turn."""

_RESULT_LENGTH: Final = 200


class History(Events):  # type: ignore[misc]  # Flower has no types
    """Everything that the dashboard heard, and its file.

    Args:
        app: the Celery application whose events it hears.
        file: where it is kept.
        redact: takes secrets out of what is heard.
        io_loop: where it is heard.
        most: how many tasks are kept.
    """

    def __init__(self, app: Any, *, file: Path, redact: Redactor, io_loop: IOLoop, most: int) -> None:
        self._file = file
        self._most = most
        self._saved = 0
        super().__init__(
            app,
            io_loop=io_loop,
            persistent=True,
            state_save_interval=int(SAVE_SECONDS * 1000),
            enable_events=False,  # our workers always tell them
            max_tasks_in_memory=most,
        )
        self.state.redact = redact

    def run(self) -> None:
        """Hear events, in a thread of its own; whenever Redis was away, go on soon after it is back."""
        silent = False
        while True:
            try:
                with self.capp.connection_for_read() as connection:
                    receiver = self.capp.events.Receiver(connection, handlers={"*": self.on_event})
                    silent = False
                    receiver.capture(limit=None, timeout=None, wakeup=True)
            except Exception as exc:  # noqa: BLE001 -- the broker decides what is raised
                if not silent:
                    _log.warning("events cannot be heard: %s", type(exc).__name__)
                silent = True
            time.sleep(_LISTEN_AGAIN_SECONDS)

    def load_state(self) -> ShownState:
        """What was kept."""
        return recall(self._file, most=self._most)

    def save_state(self) -> None:
        """Keep what happened; nothing is written where nothing did."""
        changes = self.state.changes
        if changes == self._saved:
            return
        try:
            keep(self.state, self._file)
        except OSError as exc:  # the dashboard goes on; the next time may be better
            _log.error("the history cannot be saved: %s", exc.strerror)
        else:
            self._saved = changes


class Records:
    """Looks at the jobs' records and tells the history what it has not heard.

    Args:
        jobs: where the records are.
        state: what is shown.
        io_loop: where it is shown.
    """

    def __init__(self, jobs: JobStore, state: ShownState, io_loop: IOLoop) -> None:
        self._jobs = jobs
        self._state = state
        self._loop = io_loop
        self._limit = _FIRST_LOOK
        self._turn = 0
        self._no_jobs: set[str] = set()
        self._quiet = False

    async def look(self) -> None:
        """Look at the records once; Redis may be away."""
        since = time.monotonic()
        unfinished = [task_id for task_id, task in self._state.shown().items() if task.state not in states.READY_STATES]
        try:
            records = await self._loop.run_in_executor(None, self._read, unfinished)
        except FBSError as exc:
            if not self._quiet:
                _log.warning("the jobs' records cannot be read: %s", exc.message)
            self._quiet = True
            return
        self._quiet, self._limit = False, _LATER_LOOK
        for record in reversed(records):
            task = self._state.shown().get(record.id)
            if task is None or task.heard < since:  # what was heard meanwhile is newer
                for kind, timestamp, told in missing(record, task):
                    self._state.tell(record.id, kind, timestamp, worker=record.worker, **told)

    def _read(self, unfinished: Sequence[str]) -> list[JobRecord]:
        found = {record.id: record for record in self._jobs.list(self._limit)}
        self._no_jobs.intersection_update(unfinished)
        older = [task_id for task_id in unfinished if task_id not in found and task_id not in self._no_jobs]
        begin = self._turn if self._turn < len(older) else 0
        self._turn = begin + _MOST_ASKED
        for task_id in older[begin : self._turn]:
            try:
                found[task_id] = self._jobs.get(task_id)
            except JobNotFound:  # somebody else's task, or a record that has expired
                self._no_jobs.add(task_id)
        return list(found.values())


def missing(record: JobRecord, task: ShownTask | None) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """What of a job the history has not heard.

    Args:
        record: what is so.
        task: what is shown; None if nothing is.

    Returns:
        Events, each as its name without `task-`, its time (seconds since 1970) and what it tells.
    """
    state = task.state if task is not None else None
    if state in states.READY_STATES:
        return
    created = record.created_at.timestamp()
    started = record.started_at.timestamp() if record.started_at else created
    now = (record.finished_at or record.heartbeat_at or record.started_at or record.created_at).timestamp()
    if task is None or task.name is None:
        yield "sent", created, _about(record)
    again = record.state is JobState.RUNNING and state in {states.RETRY, LOST}
    if record.started_at and (task is None or task.started is None or again):
        yield "started", started, {}
    if record.step and (task is None or (task.step, task.percent) != (record.step, record.percent) or again):
        told = {"step": record.step, "percent": record.percent, "message": record.message or None}
        yield PROGRESS.lower(), now, told
    match record.state:
        case JobState.RETRYING if state not in {states.RETRY, states.RECEIVED}:
            yield "retried", now, {"exception": _words(record)}
        case JobState.LOST if state != LOST:
            yield LOST.lower(), now, {}
        case JobState.SUCCEEDED:
            yield "succeeded", now, {"result": saferepr(record.result, _RESULT_LENGTH), "runtime": now - started}
        case JobState.FAILED:
            yield "failed", now, {"exception": _words(record), "runtime": now - started}
        case JobState.CANCELLED:
            yield "revoked", now, {}
        case _:
            pass


def _about(record: JobRecord) -> dict[str, Any]:
    name = record.action if "." in record.action else f"fbs.{record.action}"
    kwargs = {"solution_name": record.solution, "domain": record.domain}
    return {"name": name, "args": "()", "kwargs": repr({key: value for key, value in kwargs.items() if value})}


def _words(record: JobRecord) -> str:
    error = record.error or {}
    return f"{error.get('message', '')} [{error.get('code', '')}]"
