"""Job pages: the list of jobs, and one job with its progress, plan, result and log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from fastapi import Request
from starlette.responses import Response

from fbs_worker.jobs.model import JobEvent, JobRecord, JobState
from fbs_worker.migration.model.plan import Hazard, apply_command
from fbs_worker.web.pages.layout import both, layout_of, page_router

router = page_router()

_MAX_JOBS: Final = 100
_MAX_NAME: Final = 100
_EVENTS_SECONDS: Final = 0.05
"""How long to wait for stored events."""


HAZARDS: Final[Mapping[str, str]] = {
    Hazard.DELETES_DATA: "a column or table with values goes, or values may change; they are archived first",
    Hazard.REWRITES_TABLE: "PostgreSQL rewrites the table",
    Hazard.LONG_LOCK: "a strong lock is held for long",
    Hazard.POSSIBLE_RENAME: "a column goes and a similar one comes: its values are kept only by a rename",
    Hazard.DRIFT: "it was changed by hand",
}
"""What is asked for each hazard that has to be allowed."""


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
    params, jobs = request.query_params, request.app.state.databases.jobs
    state_name, solution = params.get("state", ""), params.get("solution", "")[:_MAX_NAME]
    state = JobState(state_name) if state_name in list(JobState) else None
    recent: Sequence[JobRecord] = jobs.list(_MAX_JOBS)
    records = jobs.list(_MAX_JOBS, state, solution=solution) if state or solution else recent
    return layout_of(request).render(
        request,
        "jobs",
        jobs=records,
        selected=str(state or ""),
        states=[str(one) for one in JobState],
        solution=solution,
        solutions=sorted({job.solution for job in recent if job.solution} | ({solution} - {""})),
        limit=_MAX_JOBS,
        active=any(not job.state.finished for job in records),
    )


def job_page(request: Request, job_id: str) -> Response:
    """Show a job."""
    jobs = request.app.state.databases.jobs
    record: JobRecord = jobs.get(job_id)
    plan = plan_of(record)
    return layout_of(request).render(
        request,
        "job",
        job=record,
        steps=steps_of(jobs.follow(job_id, timeout=_EVENTS_SECONDS)),
        log=jobs.log(job_id),
        plan=plan,
        command=apply_command(plan) if plan and is_applicable(plan) else "",
        hazards=HAZARDS,
        applied=_applied(record),
        report=_report(record),
        synced=record.result if record.action == "sync" else None,
        tested=record.result if record.action == "test_odoo" else None,
        raw=_as_json(record.result) if record.result else "",
    )


def plan_of(record: JobRecord) -> dict[str, Any] | None:
    """Return the plan that a job made and did not apply, if any."""
    result = record.result
    if record.action != "migrate" or not result or result.get("applied") is not None or "steps" not in result:
        return None
    return result


def is_applicable(plan: Mapping[str, Any]) -> bool:
    """Whether a plan has steps that may be applied."""
    return bool(plan["steps"] and plan["enabled"] and not plan.get("blockers"))


def _applied(record: JobRecord) -> dict[str, Any] | None:
    """The result of a migration that was applied."""
    result = record.result or {}
    return result if record.action == "migrate" and result.get("applied") else None


def seconds_of(record: JobRecord) -> float | None:
    """Return how long a job ran, or has been running; None before it started."""
    if record.started_at is None or record.state in {JobState.QUEUED, JobState.LOST}:
        return None
    return ((record.finished_at or datetime.now(tz=UTC)) - record.started_at).total_seconds()


def action_of(record: JobRecord) -> str:
    """Return what a job does, with its kind: `migrate plan`."""
    return f"{record.action} {record.variant}".strip()


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


for _path in both("/jobs/"):
    router.add_api_route(_path, jobs_page, methods=["GET"])
for _path in both("/jobs/{job_id}/"):
    router.add_api_route(_path, job_page, methods=["GET"])
