"""The metrics, from the families that `fbs metrics` makes of an example."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from docs.generators import markdown
from fbs_worker.jobs.model import JobRecord, JobState
from fbs_worker.ops import metrics

_EXAMPLE: Final = {
    "jobs|refresh|succeeded": "1",
    "losses|refresh": "1",
    "rows|refresh": "1",
    "calls|odoo": "1",
    "call_failures|odoo": "1",
    "wait|refresh|0": "1",
    "wait|refresh|sum": "1",
    "wait|refresh|count": "1",
    "duration|refresh|0": "1",
    "duration|refresh|sum": "1",
    "duration|refresh|count": "1",
    "record_rows|shop": "1",
    "record_rejected|shop": "1",
    "record_calls|shop": "1",
    "record_tables|shop|ok": "1",
    "record_synced|shop": "1",
}


def page() -> str:
    """A table of the metrics: name, type, labels, meaning."""
    now = datetime.now(tz=UTC)
    snapshot = metrics.MetricsSnapshot(
        counters=_EXAMPLE, at=now, open_jobs=[_queued(now)], waiting={"fbs.discovery": 0}
    )
    rows = []
    for family in metrics.families(snapshot):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        rows.append([markdown.code(name), family.type, ", ".join(labels), markdown.sentence(family.documentation)])
    return markdown.table(["metric", "type", "labels", "meaning"], rows)


def _queued(now: datetime) -> JobRecord:
    return JobRecord(
        id="1",
        action="refresh",
        solution="",
        domain="",
        state=JobState.QUEUED,
        step="",
        current=0,
        total=None,
        message="",
        created_at=now,
        started_at=None,
        finished_at=None,
        heartbeat_at=None,
        attempts=0,
        result=None,
        error=None,
    )
