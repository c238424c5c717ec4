"""Job pages: the list of jobs, and one job with its progress, plan and result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from fbs_worker.jobs.model import JobEvent, JobRecord, JobState
from fbs_worker.migration.model.plan import apply_command
from fbs_worker.web.pages.layout import both, layout_of, page_router

router = page_router()

_MAX_JOBS: Final = 100
_EVENTS_SECONDS: Final = 0.05
"""How long to wait for stored events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a job.

    Attributes:
        name: the step's name.
        message: its last message.
        began: when it began.
        seconds: its duration; None while it is running.
    """

    name: str
    message: str
    began: datetime
    seconds: float | None = None


def steps_of(events: Iterable[JobEvent]) -> list[Step]:
    """Derive a job's steps from its events.

    Args:
        events: the events in chronological order.
    """
    steps: list[Step] = []
    for event in events:
        last = steps[-1] if steps else None
        if last is not None and last.seconds is None and (event.kind == "state" or event.step != last.name):
            spent = (event.at - last.began).total_seconds()
            steps[-1] = last = Step(name=last.name, message=last.message, began=last.began, seconds=spent)
        if event.kind == "state" or not event.step:
            continue
        if last is None or last.seconds is not None:
            steps.append(Step(name=event.step, message=event.message, began=event.at))
        elif event.message:
            steps[-1] = Step(name=last.name, message=event.message, began=last.began)
    return steps


def jobs_page(request: Request) -> Response:
    """List jobs, the newest first."""
    state_name = request.query_params.get("state", "")
    state = JobState(state_name) if state_name in list(JobState) else None
    records: Sequence[JobRecord] = request.app.state.client.jobs(_MAX_JOBS, state=state)
    return layout_of(request).render(
        request,
        "jobs",
        jobs=records,
        selected=str(state or ""),
        states=[str(one) for one in JobState],
        limit=_MAX_JOBS,
        active=any(not job.state.finished for job in records),
    )


def job_page(request: Request, job_id: str) -> Response:
    """Show a job."""
    record: JobRecord = request.app.state.client.job(job_id).status()
    steps = steps_of(request.app.state.databases.jobs.follow(job_id, timeout=_EVENTS_SECONDS))
    return layout_of(request).render(
        request,
        "job",
        job=record,
        steps=steps,
        plan=_plan(record),
        report=_report(record),
        raw=_as_json(record.result) if record.result else "",
        seconds=_seconds(record),
        command=_command(record),
    )


def _plan(record: JobRecord) -> dict[str, Any] | None:
    """The plan that a job made and did not apply, if any."""
    result = record.result
    if record.action != "migrate" or not result or result.get("applied") is not None or "steps" not in result:
        return None
    return result


def _command(record: JobRecord) -> str:
    plan = _plan(record)
    possible = plan and plan["steps"] and plan["enabled"] and not plan.get("blockers")
    return apply_command(plan) if plan and possible else ""


def _report(record: JobRecord) -> dict[str, Any] | None:
    """The counts of a refresh, if the job was one."""
    result = record.result or {}
    report = result.get("report") or (result.get("refresh") or {}).get("report")
    if not isinstance(report, dict) or "added" not in report:
        return None
    counts = {
        kind: len(report[kind]) if isinstance(report[kind], list) else report[kind]
        for kind in ("added", "changed", "removed")
    }
    return {**counts, "unchanged": report.get("unchanged", 0), "read": report.get("read", True)}


def _as_json(result: Any) -> str:
    return orjson.dumps(result, option=orjson.OPT_INDENT_2).decode()


def _seconds(record: JobRecord) -> float | None:
    if record.started_at is None or record.finished_at is None:
        return None
    return (record.finished_at - record.started_at).total_seconds()


for _path in both("/jobs/"):
    router.add_api_route(_path, jobs_page, methods=["GET"])
for _path in both("/jobs/{job_id}/"):
    router.add_api_route(_path, job_page, methods=["GET"])
