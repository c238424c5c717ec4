"""Form actions: enqueue a refresh or a plan, cancel a job; each redirects to the job's page."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from fbs_worker.web.pages.layout import HEADERS, FormToken, page_router, require_writer, segment

router = page_router()


@router.post("/solutions/{name}/refresh")
@router.post("/solutions/{name}/refresh/")
def refresh(request: Request, name: str, form_token: FormToken = "") -> Response:
    """Enqueue a refresh of a solution."""
    require_writer(request, form_token)
    state = request.app.state
    state.databases.solution(name)
    return _to_job(state.client.refresh(name).id)


@router.post("/solutions/{name}/plan")
@router.post("/solutions/{name}/plan/")
def plan(request: Request, name: str, form_token: FormToken = "") -> Response:
    """Enqueue the plan of a solution's migration."""
    require_writer(request, form_token)
    state = request.app.state
    state.databases.solution(name)
    return _to_job(state.client.migrate(name, plan_only=True).id)


@router.post("/jobs/{job_id}/cancel")
@router.post("/jobs/{job_id}/cancel/")
def cancel(request: Request, job_id: str, form_token: FormToken = "") -> Response:
    """Cancel a job."""
    require_writer(request, form_token)
    request.app.state.client.job(job_id).cancel()
    return _to_job(job_id)


def _to_job(job_id: str) -> Response:
    return RedirectResponse(f"/jobs/{segment(job_id)}/", status_code=303, headers=HEADERS)
