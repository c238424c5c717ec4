"""Jobs run by a real worker process, through a real Redis."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.events.state import State
from celery.result import AsyncResult

from fbs_worker.client.client import Client, JobHandle
from fbs_worker.core.errors import JobCancelled, JobError, JobFailed, JobNotFound
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.model import JobState
from fbs_worker.jobs.store import MAX_LOSSES
from fbs_worker.ops.local.embedded import EmbeddedRedis
from tests.support.job_tasks import SECRET
from tests.support.job_worker import job_worker
from tests.support.servers import redis_database
from tests.support.waiting import PATIENCE, until

LOG = "job-worker.log"


@pytest.fixture(scope="module")
def client(redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[Client]:
    """A client of a worker with the tests' own tasks."""
    with redis_database(redis_server.url) as url:
        settings = Settings(fbs_redis_url=url, fbs_max_retries=2)
        with job_worker(settings, log=run_folder / LOG), Client(settings=settings) as client:
            yield client


@pytest.fixture
def plain_celery(client: Client) -> Iterator[Celery]:
    """Another application: Celery with the broker's address, without fbs-worker."""
    url = client._settings.fbs_redis_url
    with Celery("other", broker=url, backend=url, set_as_current=False) as app:
        yield app
        app.backend.result_consumer.stop()


def send(client: Client, task: str, **kwargs: object) -> JobHandle:
    return client._enqueue(task, kwargs, domain="rental")


def test_a_job_goes_through_its_states_and_can_be_followed_live(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job = send(client, "test.steps", gate=str(gate))
    seen = []
    for event in job.follow():
        seen.append((event.kind, str(event.state), event.step, event.current, event.total))
        if event.current == 2 and event.step == "fields":
            gate.touch()  # the job goes on only because its progress came through while it ran
    assert seen[:3] == [
        ("state", "queued", "", 0, None),
        ("state", "running", "", 0, None),
        ("step", "running", "modules", 0, 2),
    ]
    assert ("step", "running", "fields", 0, 4) in seen
    assert ("progress", "running", "fields", 2, 4) in seen
    assert seen[-1][:2] == ("state", "succeeded")
    assert job.wait(1) == {"domain": "rental", "done": True}
    assert job.status().attempts == 1


def test_plain_celery_sees_progress_and_the_result(client: Client, plain_celery: Celery, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    result: AsyncResult = plain_celery.send_task("test.steps", kwargs={"gate": str(gate)}, queue="fbs.discovery")
    until(lambda: result.state == "PROGRESS" and result.info.get("step") == "fields" and result.info["current"] == 2)
    assert result.info == {"step": "fields", "current": 2, "total": 4, "message": "sale.order"}
    record = client.job(result.id).status()  # sent without us, it made its own record
    assert (record.state, record.action, record.percent) == ("running", "test.steps", 50)
    gate.touch()
    assert result.get(timeout=PATIENCE) == {"domain": "rental", "done": True}
    assert client.job(result.id).status().result == {"domain": "rental", "done": True}


def test_a_temporary_error_is_retried(client: Client, tmp_path: Path) -> None:
    job = send(client, "test.flaky", runs=str(tmp_path / "runs"), failures=1)
    states = [str(event.state) for event in job.follow() if event.kind == "state"]
    assert states == ["queued", "running", "retrying", "running", "succeeded"]
    assert job.wait(1) == {"runs": 2}
    assert job.status().attempts == 2


def test_retries_are_bounded(client: Client, tmp_path: Path) -> None:
    job = send(client, "test.flaky", runs=str(tmp_path / "runs"), failures=99)
    with pytest.raises(JobFailed, match="took too long") as caught:
        job.wait(PATIENCE)
    assert caught.value.context["error"]["code"] == "odoo_timeout"
    assert len((tmp_path / "runs").read_text()) == 1 + client._settings.fbs_max_retries


def test_a_permanent_error_is_not_retried(client: Client, plain_celery: Celery, tmp_path: Path) -> None:
    job = send(client, "test.refused", runs=str(tmp_path / "runs"))
    with pytest.raises(JobFailed, match="Wrong user") as caught:
        job.wait(PATIENCE)
    error = {
        "code": "odoo_login_refused",
        "message": "Wrong user.",
        "hint": "Correct ODOO_USER.",
        "retryable": False,
        "context": {"user": "admin"},
    }
    assert caught.value.context["error"] == error
    assert len((tmp_path / "runs").read_text()) == 1
    result = plain_celery.AsyncResult(job.id)
    until(result.ready)
    assert result.state == "FAILURE"
    assert result.result.args[0] == error
    assert SECRET not in (result.traceback or "")


def test_the_message_of_an_unexpected_error_is_not_recorded(
    client: Client, plain_celery: Celery, run_folder: Path
) -> None:
    job = send(client, "test.broken")
    with pytest.raises(JobFailed, match=r"ValueError at job_tasks\.py") as caught:
        job.wait(PATIENCE)
    assert caught.value.context["error"]["code"] == "internal"
    result = plain_celery.AsyncResult(job.id)
    until(result.ready)
    assert SECRET not in str(result.result) + (result.traceback or "")
    until(lambda: f"job {job.id}: ValueError" in (run_folder / LOG).read_text())
    assert SECRET not in (run_folder / LOG).read_text()


def test_a_result_that_is_not_json_fails_the_job(client: Client) -> None:
    with pytest.raises(JobFailed) as caught:
        send(client, "test.not_json").wait(PATIENCE)
    assert caught.value.context["error"]["code"] == "internal"


def test_wrong_arguments_are_a_usage_error(client: Client) -> None:
    with pytest.raises(JobFailed, match="missing a required argument: 'gate'") as caught:
        send(client, "test.steps").wait(PATIENCE)
    assert caught.value.context["error"]["code"] == "usage"


def test_a_running_job_is_cancelled(client: Client, plain_celery: Celery, tmp_path: Path) -> None:
    job = send(client, "test.steps", gate=str(tmp_path / "never"))
    until(lambda: job.status().step == "fields")
    assert job.cancel() is JobState.RUNNING
    with pytest.raises(JobCancelled):
        job.wait(PATIENCE)
    until(lambda: plain_celery.AsyncResult(job.id).state == "REVOKED")


def test_a_queued_job_that_was_cancelled_never_starts(client: Client, plain_celery: Celery, tmp_path: Path) -> None:
    # every process is busy
    running = [send(client, "test.steps", gate=str(tmp_path / "gate"), domain=name) for name in ("hr", "rental")]
    until(lambda: all(job.status().step == "fields" for job in running))
    waiting = send(client, "test.flaky", runs=str(tmp_path / "runs"), failures=0)
    assert waiting.cancel() is JobState.CANCELLED
    (tmp_path / "gate").touch()
    until(lambda: plain_celery.AsyncResult(waiting.id).state == "REVOKED")  # its message has been dealt with
    assert not (tmp_path / "runs").exists()
    assert waiting.status().state is JobState.CANCELLED
    for job in running:
        job.wait(PATIENCE)


def test_a_job_over_its_time_limit_has_failed(client: Client) -> None:
    with pytest.raises(JobFailed, match="time limit of 1 seconds"):
        send(client, "test.slow").wait(PATIENCE)


@pytest.mark.faults
def test_a_job_that_kills_its_worker_is_not_run_for_ever(client: Client, tmp_path: Path) -> None:
    job = send(client, "test.deadly", runs=str(tmp_path / "runs"))
    with pytest.raises(JobFailed, match="lost its worker"):
        job.wait(PATIENCE)
    assert len((tmp_path / "runs").read_text()) == MAX_LOSSES


def test_waiting_for_an_open_circuit_is_no_failed_attempt(client: Client, tmp_path: Path) -> None:
    times = client._settings.fbs_max_retries + 3  # more than Celery's own limit, too
    job = send(client, "test.resting", runs=str(tmp_path / "runs"), times=times)
    words = {event.message for event in job.follow() if event.state is JobState.RETRYING}
    assert job.wait(1) == {"runs": times + 1}
    assert all(each.startswith("waiting for Odoo, retry in ") for each in words)


@pytest.mark.parametrize("running", [True, False])
def test_a_job_revoked_with_celery_s_own_means_is_cancelled(
    client: Client, plain_celery: Celery, tmp_path: Path, running: bool
) -> None:
    gate = tmp_path / "gate"
    busy = [send(client, "test.steps", gate=str(gate), domain=name) for name in ("hr", "rental")]
    until(lambda: all(job.status().step == "fields" for job in busy))
    job = busy[0] if running else send(client, "test.flaky", runs=str(tmp_path / "runs"), failures=0)
    plain_celery.control.revoke(job.id, terminate=running)
    until(lambda: running or job.id in str(plain_celery.control.inspect(timeout=0.2).revoked()))
    if not running:
        gate.touch()
    until(lambda: job.status().state is JobState.CANCELLED)
    gate.touch()
    for other in busy:
        if other.id != job.id:
            other.wait(PATIENCE)
    assert not (tmp_path / "runs").exists()


def test_celery_s_events_cover_the_whole_job(client: Client, plain_celery: Celery, tmp_path: Path) -> None:
    state = State()
    reported: list[dict[str, Any]] = []

    def hear(event: dict[str, Any]) -> None:
        reported.append(event)
        state.event(event)

    with plain_celery.connection() as connection:
        receiver = plain_celery.events.Receiver(connection, handlers={"*": hear})
        with receiver.consumer_context(wakeup=False) as (listening, _channel, _consumers):

            def listen() -> bool:
                with suppress(socket.timeout):
                    listening.drain_events(timeout=0.2)
                return bool(reported)

            def mine() -> list[dict[str, Any]]:
                return [event for event in reported if event.get("uuid") == job.id]

            def heard(kind: str, **fields: object) -> bool:
                listen()
                return any(event["type"] == kind and fields.items() <= event.items() for event in mine())

            until(lambda: listen() or receiver.wakeup_workers())  # the worker's heartbeat: it listens
            job = send(client, "test.steps", gate=str(tmp_path / "gate"))
            until(lambda: heard("task-progress", step="fields", current=2))
            assert state.tasks[job.id].state == "PROGRESS"
            until(lambda: heard("task-started"))  # of another process than the progress: either may come first
            job.cancel()
            until(lambda: heard("task-revoked"))
    kinds = [event["type"] for event in mine()]
    assert kinds[:2] == ["task-sent", "task-received"]
    progress = [event for event in mine() if event["type"] == "task-progress"][-1]
    expected = {"step": "fields", "current": 2, "total": 4, "percent": 50, "message": "sale.order"}
    assert expected.items() <= progress.items()
    assert str(tmp_path) in next(event for event in mine() if event["type"] == "task-sent")["kwargs"]


def test_waiting_ends_at_its_timeout(client: Client, tmp_path: Path) -> None:
    job = send(client, "test.steps", gate=str(tmp_path / "gate"))
    with pytest.raises(JobError, match="has not finished"):
        job.wait(0.2)
    (tmp_path / "gate").touch()
    job.wait(PATIENCE)


def test_a_redelivery_of_a_finished_job_changes_nothing(client: Client, plain_celery: Celery, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    job = send(client, "test.flaky", runs=str(runs), failures=0)
    job.wait(PATIENCE)
    kwargs = {"runs": str(runs), "failures": 0}
    again = send(client, "test.flaky", **{**kwargs, "runs": str(tmp_path / "other")})
    client._app.send_task("test.flaky", kwargs=kwargs, task_id=job.id)
    again.wait(PATIENCE)
    until(lambda: plain_celery.AsyncResult(job.id).state == "SUCCESS")
    assert runs.read_text() == "x"
    assert job.status().attempts == 1


def test_an_unknown_job(client: Client) -> None:
    with pytest.raises(JobNotFound):
        client.job("no-such-id")


def test_jobs_are_listed(client: Client, tmp_path: Path) -> None:
    job = send(client, "test.flaky", runs=str(tmp_path / "runs"), failures=0)
    job.wait(PATIENCE)
    assert client.jobs(1)[0].id == job.id
    assert all(record.state is JobState.SUCCEEDED for record in client.jobs(state=JobState.SUCCEEDED))


def test_the_log_names_jobs_and_not_their_arguments(client: Client, run_folder: Path, tmp_path: Path) -> None:
    job = send(client, "test.flaky", runs=str(tmp_path / "only-in-the-arguments"), failures=0)
    job.wait(PATIENCE)
    until(lambda: f"[{job.id}] succeeded" in (run_folder / LOG).read_text())
    assert "only-in-the-arguments" not in (run_folder / LOG).read_text()
