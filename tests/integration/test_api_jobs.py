"""The API's routes of jobs, on a real Redis; the test is the worker."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import closing

import pytest
from fastapi import FastAPI

from fbs_worker.core.errors import OdooAccessDenied, OdooTimeout, SolutionConflict
from fbs_worker.jobs.store import JobStore
from fbs_worker.web.api.errors import TooBusy
from fbs_worker.web.api.long_poll import JobWaiters
from fbs_worker.web.api.response_models import JobAnswer, JobsAnswer, LogAnswer
from tests.support.asgi import Asking

HR = "/api/v1/discoveries/hr/model/"


def test_jobs_are_listed_and_filtered(asking: Asking, store: JobStore) -> None:
    for number, (action, solution) in enumerate([("refresh", "one"), ("setup", "one"), ("refresh", "two")]):
        store.create(f"job-{number}", action=action, solution=solution)
    store.request_cancel("job-2")

    def ids(query: str = "") -> list[str]:
        answer = asking.get(f"/api/v1/jobs{query}")
        assert answer.status_code == 200, answer.text
        return [job.id for job in JobsAnswer.model_validate(answer.json()).jobs]

    assert ids() == ids("/") == ["job-2", "job-1", "job-0"]
    assert ids("/?limit=1") == ["job-2"]
    assert ids("/?state=queued") == ["job-1", "job-0"]
    assert ids("/?solution=one&action=refresh") == ["job-0"]
    assert ids("/?solution=missing") == []


@pytest.mark.parametrize("query", ["?state=lazy", "?limit=0", "?limit=1001", "?more=1"])
def test_what_is_asked_must_be_known(asking: Asking, query: str) -> None:
    answer = asking.get(f"/api/v1/jobs/{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "usage")


def test_a_job_says_where_to_go_on(asking: Asking, store: JobStore) -> None:
    store.create("job-1", action="refresh", solution="one")
    report = asking.get("/api/v1/jobs/job-1").json()
    JobAnswer.model_validate(report)
    job = "/api/v1/jobs/job-1/"
    links = {"self": job, "events": f"{job}events/", "cancel": job, "log": f"{job}log/", "retry": f"{job}retry/"}
    assert report["links"] == links
    assert report["job"] == store.get("job-1").to_dict()


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_job_is_not_found(asking: Asking, method: str) -> None:
    for path in ("/api/v1/jobs/missing/", "/api/v1/jobs/missing/events/")[: 1 if method == "DELETE" else 2]:
        answer = asking.ask(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


def test_a_job_that_waits_is_cancelled_at_once_and_one_that_runs_is_asked_to_stop(
    asking: Asking, store: JobStore
) -> None:
    store.create("waits", action="refresh")
    store.create("runs", action="refresh")
    claim = store.start("runs", action="refresh")
    waits, runs = (asking.delete(f"/api/v1/jobs/{job}/") for job in ("waits", "runs"))
    assert (waits.status_code, waits.json()["job"]["state"]) == (200, "cancelled")
    assert (runs.status_code, runs.json()["job"]["state"]) == (202, "running")
    assert store.heartbeat("runs", claim.attempt) == "stop"
    assert asking.delete("/api/v1/jobs/waits/").status_code == 200


def on_the_next_job(store: JobStore, act: str, *, error: Exception | None = None) -> threading.Thread:
    """Be the worker of the next job that comes."""

    def work() -> None:
        until = time.monotonic() + 30
        while not (found := store.open()):
            assert time.monotonic() < until
            time.sleep(0.02)
        claim = store.start(found[0].id, action=found[0].action)
        if act == "succeed":
            store.mark_succeeded(found[0].id, claim.attempt, {"found": 7})
        elif act == "fail":
            store.mark_failed(found[0].id, claim.attempt, error.to_dict())  # type: ignore[union-attr]
        elif act == "cancel":
            store.request_cancel(found[0].id)
            store.mark_cancelled(found[0].id, claim.attempt)

    worker = threading.Thread(target=work)
    worker.start()
    return worker


def test_who_waits_gets_the_result(asking: Asking, store: JobStore) -> None:
    worker = on_the_next_job(store, "succeed")
    answer = asking.post(f"{HR}?wait=30")
    worker.join()
    assert (answer.status_code, answer.json()["job"]["result"]) == (200, {"found": 7})
    assert answer.headers["location"] == answer.json()["links"]["self"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OdooAccessDenied("No.", hint="Ask.", groups=["sales"]), 502),
        (OdooTimeout("Slow.", hint="Wait."), 503),
        (SolutionConflict("Another.", hint="Choose."), 409),
    ],
    ids=str,
)
def test_who_waits_gets_the_error(asking: Asking, store: JobStore, error: OdooAccessDenied, status: int) -> None:
    worker = on_the_next_job(store, "fail", error=error)
    answer = asking.post(f"{HR}?wait=30")
    worker.join()
    report = answer.json()
    assert answer.status_code == report["status"] == status
    assert (report["code"], report["detail"], report["hint"]) == (error.code, error.message, error.hint)
    assert report["job"]["state"] == "failed"
    assert ("retry-after" in answer.headers) == (status == 503)


def test_waiting_for_a_job_that_is_cancelled_returns_its_error(asking: Asking, store: JobStore) -> None:
    worker = on_the_next_job(store, "cancel")
    answer = asking.post(f"{HR}?wait=30")
    worker.join()
    assert (answer.status_code, answer.json()["code"]) == (409, "job_cancelled")


def test_waiting_ends_after_the_requested_seconds(asking: Asking, store: JobStore) -> None:
    worker = on_the_next_job(store, "run")
    began = time.monotonic()
    answer = asking.post(f"{HR}?wait=1")
    worker.join()
    assert (answer.status_code, answer.json()["job"]["state"]) == (202, "running")
    assert 1 <= time.monotonic() - began < 10


@pytest.mark.parametrize("wait", ["-1", "61", "x"])
def test_a_wait_has_its_limits(asking: Asking, store: JobStore, wait: str) -> None:
    assert asking.post(f"{HR}?wait={wait}").status_code == 422
    assert store.list() == []


def test_only_so_many_wait(app: FastAPI, asking: Asking, store: JobStore) -> None:
    databases = app.state.databases
    databases.waiters = JobWaiters(databases.jobs, limit=1)
    with databases.waiters.slot("local"):
        with pytest.raises(TooBusy):
            databases.waiters.acquire("local")
        refused = asking.post(f"{HR}?wait=30")
        assert (refused.status_code, refused.json()["code"]) == (503, "too_busy")
        assert refused.headers["retry-after"]
    assert len(store.open()) == 1, "the job is enqueued all the same, once"
    store.request_cancel(store.open()[0].id)
    worker = on_the_next_job(store, "succeed")
    assert asking.post(f"{HR}?wait=30").status_code == 200
    worker.join()


def test_one_caller_has_a_share(app: FastAPI) -> None:
    waiters = JobWaiters(app.state.databases.jobs)
    for _ in range(32):
        waiters.acquire("greedy")
    with pytest.raises(TooBusy, match="32 requests of greedy"):
        waiters.acquire("greedy")
    for caller in ("b", "c", "d"):
        for _ in range(32):
            waiters.acquire(caller)
    with pytest.raises(TooBusy, match="128 requests"):
        waiters.acquire("e")
    waiters.release("greedy")
    waiters.acquire("e")


@pytest.mark.usefixtures("often")
def test_a_shutdown_ends_waiting_requests(app: FastAPI, asking: Asking, store: JobStore) -> None:
    app.state.closing.set()
    began = time.monotonic()
    assert asking.post(f"{HR}?wait=60").status_code == 202
    assert time.monotonic() - began < 10
    with closing(app.state.databases.jobs.watch(store.open()[0].id)) as events:
        assert next(events) is not None


@pytest.mark.usefixtures("often")
def test_who_has_gone_is_not_waited_for(app: FastAPI, store: JobStore) -> None:
    """A client that hangs up: its place is free within seconds."""
    gone = asyncio.run(_asked_and_gone(app))
    assert gone < 10
    app.state.databases.waiters.acquire("local")
    assert len(store.open()) == 1


async def _asked_and_gone(app: FastAPI) -> float:
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, object]:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(_message: object) -> None:
        return None

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": HR,
        "raw_path": HR.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"wait=60",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    began = time.monotonic()
    await app(scope, receive, send)
    return time.monotonic() - began


def test_the_log_of_a_job(asking: Asking, store: JobStore) -> None:
    store.create("job-1", action="refresh", solution="one")
    store.add_log_line("job-1", "WARNING", "Odoo is slow")
    log = LogAnswer.model_validate(asking.get("/api/v1/jobs/job-1/log/").json()).log
    assert [(line.level, line.text) for line in log] == [("state", "queued"), ("WARNING", "Odoo is slow")]
    assert asking.get("/api/v1/jobs/missing/log/").status_code == 404


def test_a_job_is_enqueued_again(asking: Asking, store: JobStore) -> None:
    arguments = {"domain": "hr", "database_config": None}
    store.create("job-1", action="discover", domain="hr", request=arguments)
    refused = asking.post("/api/v1/jobs/job-1/retry/")
    assert (refused.status_code, refused.json()["detail"]) == (409, "The job is queued: there is nothing to retry yet.")
    store.request_cancel("job-1")
    answer = asking.post("/api/v1/jobs/job-1/retry/")
    assert answer.status_code == 202, answer.text
    again = JobAnswer.model_validate(answer.json()).job
    assert (again.action, again.domain, again.state) == ("discover", "hr", "queued")
    assert store.request(again.id) == arguments
    store.create("job-2", action="refresh", solution="one")  # by another program
    store.request_cancel("job-2")
    assert asking.post("/api/v1/jobs/job-2/retry/").status_code == 409
    assert asking.post("/api/v1/jobs/missing/retry/").status_code == 404
