"""Routes: health and metrics."""

from __future__ import annotations

from typing import Any, Final

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from fbs_worker.core.errors import QueueUnreachable
from fbs_worker.core.settings import Settings
from fbs_worker.ops import metrics
from fbs_worker.ops.health import Health, HealthReport, Unhealthy, check_health
from fbs_worker.web.api.auth import require_read
from fbs_worker.web.api.cache import Coalescer
from fbs_worker.web.api.problems import problem_responses

router = APIRouter(tags=["service"], dependencies=[Depends(require_read)])

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


def prepare(app: FastAPI) -> None:
    """Add to the application's state what these routes use: concurrent requests share one health check.

    Args:
        app: the application; `app.state.settings` is set.
    """
    settings: Settings = app.state.settings
    app.state.health = Coalescer(lambda: to_thread.run_sync(_check_health, settings))
    app.state.metrics = Coalescer(lambda: to_thread.run_sync(metrics.metrics_text, settings))


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
    report: HealthReport = await request.app.state.health.get()
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
    return Response(await request.app.state.metrics.get(), media_type=metrics.CONTENT_TYPE)


def _check_health(settings: Settings) -> HealthReport:
    return check_health(settings, seconds=_PROBE_SECONDS)
