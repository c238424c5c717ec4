"""Reconcile the dashboard's tasks with the job records.

Events are lost while the dashboard or Redis is down and when a worker dies. Job records are durable, so events missing
from the history are derived from them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from celery import states
from tornado.ioloop import IOLoop

from fbs_worker.core.errors import FBSError, JobNotFound
from fbs_worker.jobs.store import JobRecord, JobState, JobStore
from fbs_worker.jobs.worker.progress import PROGRESS
from fbs_worker.ops.dashboard.flower_compat import LOST, DashboardState, DashboardTask

_log = logging.getLogger(__name__)

SYNC_SECONDS: Final = 3.0
"""Interval between reads of the job records."""

_FIRST_READ: Final = 1_000
_LATER_READ: Final = 100
"""How many of the newest jobs one synchronisation reads."""

_MAX_OLDER: Final = 200
"""How many older unfinished jobs one synchronisation reads; the others follow in the next ones (round robin)."""

_RESULT_LENGTH: Final = 200


class JobSync:
    """Read job records and apply the events that were not received.

    Args:
        jobs: the job store.
        state: the state to update.
        io_loop: the loop that owns the state.
    """

    def __init__(self, jobs: JobStore, state: DashboardState, io_loop: IOLoop) -> None:
        self._jobs = jobs
        self._state = state
        self._loop = io_loop
        self._limit = _FIRST_READ
        self._offset = 0
        self._without_record: set[str] = set()
        self._failing = False

    async def run_once(self) -> None:
        """Synchronise once; an unreachable Redis is logged."""
        since = time.monotonic()
        unfinished = [
            task_id for task_id, task in self._state.tasks_by_id().items() if task.state not in states.READY_STATES
        ]
        try:
            records = await self._loop.run_in_executor(None, self._read, unfinished)
        except FBSError as exc:
            if not self._failing:
                _log.warning("the job records cannot be read: %s", exc.message)
            self._failing = True
            return
        self._failing, self._limit = False, _LATER_READ
        for record in reversed(records):
            task = self._state.tasks_by_id().get(record.id)
            if task is None or task.last_event_at < since:  # an event received during the read is newer
                for kind, timestamp, fields in missing_events(record, task):
                    self._state.apply(record.id, kind, timestamp, worker=record.worker, **fields)

    def _read(self, unfinished: Sequence[str]) -> list[JobRecord]:
        records = {record.id: record for record in self._jobs.list(self._limit)}
        self._without_record.intersection_update(unfinished)
        older = [task_id for task_id in unfinished if task_id not in records and task_id not in self._without_record]
        begin = self._offset if self._offset < len(older) else 0
        self._offset = begin + _MAX_OLDER
        for task_id in older[begin : self._offset]:
            try:
                records[task_id] = self._jobs.get(task_id)
            except JobNotFound:  # another application's task, or an expired record
                self._without_record.add(task_id)
        return list(records.values())


def missing_events(record: JobRecord, task: DashboardTask | None) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Derive the events that bring a task to the state of its job record.

    Args:
        record: the job's record.
        task: the task in the history; None if it is not there.

    Returns:
        Events: name without `task-`, time (seconds since 1970) and fields.
    """
    state = task.state if task is not None else None
    if state in states.READY_STATES:
        return
    created = record.created_at.timestamp()
    started = record.started_at.timestamp() if record.started_at else created
    now = (record.finished_at or record.heartbeat_at or record.started_at or record.created_at).timestamp()
    if task is None or task.name is None:
        yield "sent", created, _subject(record)
    resumed = record.state is JobState.RUNNING and state in {states.RETRY, LOST}
    if record.started_at and (task is None or task.started is None or resumed):
        yield "started", started, {}
    if record.step and (task is None or (task.step, task.percent) != (record.step, record.percent) or resumed):
        progress = {"step": record.step, "percent": record.percent, "message": record.message or None}
        yield PROGRESS.lower(), now, progress
    match record.state:
        case JobState.RETRYING if state not in {states.RETRY, states.RECEIVED}:
            yield "retried", now, {"exception": _error_text(record)}
        case JobState.LOST if state != LOST:
            yield LOST.lower(), now, {}
        case JobState.SUCCEEDED:
            yield "succeeded", now, {"result": repr(record.result)[:_RESULT_LENGTH], "runtime": now - started}
        case JobState.FAILED:
            yield "failed", now, {"exception": _error_text(record), "runtime": now - started}
        case JobState.CANCELLED:
            yield "revoked", now, {}
        case _:
            pass


def _subject(record: JobRecord) -> dict[str, Any]:
    name = record.action if "." in record.action else f"fbs.{record.action}"
    kwargs = {"solution_name": record.solution, "domain": record.domain}
    return {"name": name, "args": "()", "kwargs": repr({key: value for key, value in kwargs.items() if value})}


def _error_text(record: JobRecord) -> str:
    error = record.error or {}
    return f"{error.get('message', '')} [{error.get('code', '')}]"
