"""The reaper's unacknowledged messages: which are orphaned."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from fbs_worker.jobs.celery_compat.redis_channel import headers_of
from fbs_worker.jobs.model import JobState
from fbs_worker.jobs.worker.reaper import UnackedMessage
from fbs_worker.jobs.worker.task import rows_written

NOW = 1_767_225_600.0


@pytest.mark.parametrize(
    ("state", "age", "due_in", "requeued"),
    [
        (JobState.RUNNING, 9_999, None, False),
        (JobState.LOST, 6, None, True),
        (JobState.LOST, 4, None, False),  # a worker that has just received it may claim the job
        (JobState.LOST, 60, 10, False),
        (JobState.QUEUED, 61, None, True),
        (JobState.QUEUED, 59, None, False),
        (None, 61, None, True),
        (JobState.RETRYING, 9_999, 10, False),
        (JobState.RETRYING, 9_999, -59, False),
        (JobState.RETRYING, 9_999, -61, True),
        (JobState.SUCCEEDED, 61, None, True),  # its worker died before acknowledging it
    ],
)
def test_an_orphaned_message_is_requeued(
    state: JobState | None, age: float, due_in: float | None, requeued: bool
) -> None:
    held = UnackedMessage(tag="t", job_id="one", delivered_at=NOW - age, due_at=0.0 if due_in is None else NOW + due_in)
    assert held.orphaned(state, now=NOW, grace=5, stuck_after=60) is requeued


@pytest.mark.parametrize(
    ("headers", "due_at"),
    [
        ({"id": "one", "task": "fbs.drop", "eta": "2026-01-01T00:00:00+00:00"}, NOW),
        ({"id": "one", "task": "fbs.drop", "eta": None}, 0.0),
        ({"id": "one", "task": "other.task", "eta": None}, None),
        ({}, None),
    ],
)
def test_the_headers_of_an_unacknowledged_message_are_parsed(
    headers: dict[str, str | None], due_at: float | None
) -> None:
    kept = json.dumps([{"body": "", "headers": headers}, "", "fbs.schema"]).encode()
    held = UnackedMessage.parse("t", headers_of(kept), delivered_at=1.0, is_job=lambda name: name.startswith("fbs."))
    assert held == (None if due_at is None else UnackedMessage(tag="t", job_id="one", delivered_at=1.0, due_at=due_at))
    assert datetime.fromtimestamp(NOW, tz=UTC).isoformat() == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("result", "rows"),
    [
        ({}, 0),
        ({"report": {"added": [1, 2], "changed": [3], "removed": [], "unchanged": 9}}, 3),
        ({"refresh": {"report": {"added": [1]}}}, 1),
        ({"refresh": None}, 0),
        ({"report": "none", "refresh": 7}, 0),
    ],
)
def test_rows_that_a_job_wrote(result: dict[str, object], rows: int) -> None:
    assert rows_written(result) == rows
