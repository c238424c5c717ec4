"""Routes: health and metrics."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from fbs_worker.core.errors import QueueUnreachable
from fbs_worker.ops import metrics
from fbs_worker.ops.health import Health, Unhealthy, check_health
from fbs_worker.web.api.auth import require_read
from fbs_worker.web.api.dependencies import databases_of, settings_of
from fbs_worker.web.api.problems import problem_responses

router = APIRouter(
    tags=["service"], dependencies=[Depends(require_read)], generate_unique_id_function=lambda route: route.name
)

_PROBE_SECONDS: Final = 5.0


class CheckAnswer(BaseModel):
    """One health check, with its measurements."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="`redis`, `home database`, or a queue's name", examples=["fbs.discovery"])
    health: Health = Field(description="the check's outcome")
    detail: str = Field(description="what was observed", examples=["worker@host answers within 12 ms"])
    hint: str = Field(default="", description="how to fix a failed check")


class WorkerAnswer(BaseModel):
    """A worker's last heartbeat."""

    name: str = Field(description="the worker's name", examples=["worker@host"])
    queues: list[str] = Field(description="the queues that it consumes", examples=[["fbs.discovery"]])
    slots: int = Field(description="its concurrency", examples=[2])
    running: int = Field(description="number of running jobs", examples=[1])
    taken: int = Field(description="number of jobs received since it started", examples=[40])
    age: float = Field(description="seconds since the heartbeat", examples=[1.5])


class HealthAnswer(BaseModel):
    """The health of everything that jobs need."""

    health: Health = Field(description="the worst outcome of the checks")
    checks: list[CheckAnswer] = Field(description="the checks")
    workers: list[WorkerAnswer] = Field(description="workers with a heartbeat within the last minute")


@router.get(
    "/api/v1/health/",
    summary="Check the health of everything that jobs need",
    response_model=HealthAnswer,
    responses=problem_responses(Unhealthy),
)
@router.get("/api/v1/health", include_in_schema=False)
async def read_health(request: Request) -> Any:
    """Checks Redis and the home database, and sends a probe through each queue.

    Busy workers count as healthy. If a check fails, the response is `503`, with the whole report as `context`.
    """
    settings = settings_of(request)
    report = await databases_of(request).flights.get("health", lambda: check_health(settings, seconds=_PROBE_SECONDS))
    answer = {name: value for name, value in report.to_dict().items() if name != "error"}
    if report.error is not None:
        raise Unhealthy(report.error.message, hint=report.error.hint, **answer)
    return answer


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus's text format",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": "fbs_workers 2.0\n"}},
        },
        **problem_responses(QueueUnreachable),
    },
)
@router.get("/metrics/", include_in_schema=False)
async def read_metrics(request: Request) -> Response:
    """Returns jobs, durations, queue times, calls to Odoo and rows, of all workers that share the Redis."""
    settings = settings_of(request)
    text = await databases_of(request).flights.get("metrics", lambda: metrics.metrics_text(settings))
    return Response(text, media_type=metrics.CONTENT_TYPE)
