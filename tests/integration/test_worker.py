"""Jobs run by a real worker process, through a real Redis."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from celery import Celery
from celery.result import AsyncResult

from fbs_worker.app import make_app
from fbs_worker.client import Client, JobHandle
from fbs_worker.embedded import EmbeddedRedis
from fbs_worker.errors import JobCancelled, JobError, JobFailed, JobNotFound, QueueUnreachable, SettingsError
from fbs_worker.job_events import JobState
from fbs_worker.jobs import MOST_LOSSES
from fbs_worker.settings import Settings
from fbs_worker.worker import settings_environment
from tests.support.job_tasks import SECRET
from tests.support.job_worker import ROOT, job_worker
from tests.support.servers import redis_database

PATIENCE = 30.0
LOG = "job-worker.log"


@pytest.fixture(scope="module")
def client(redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[Client]:
    """A client of a worker that knows the tests' own tasks."""
    with redis_database(redis_server.url) as url:
        settings = Settings(fbs_redis_url=url, fbs_max_retries=2)
        with job_worker(settings, log=run_folder / LOG), Client(settings=settings) as client:
            yield client


@pytest.fixture
def plain_celery(client: Client) -> Iterator[Celery]:
    """What another application has: Celery and the address, nothing of ours."""
    url = client._settings.fbs_redis_url
    with Celery("other", broker=url, backend=url, set_as_current=False) as app:
        yield app
        app.backend.result_consumer.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


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


def test_what_may_pass_is_retried(client: Client, tmp_path: Path) -> None:
    job = send(client, "test.flaky", runs=str(tmp_path / "runs"), failures=1)
    states = [str(event.state) for event in job.follow() if event.kind == "state"]
    assert states == ["queued", "running", "retrying", "running", "succeeded"]
    assert job.wait(1) == {"runs": 2}
    assert job.status().attempts == 2


def test_retries_have_an_end(client: Client, tmp_path: Path) -> None:
    job = send(client, "test.flaky", runs=str(tmp_path / "runs"), failures=99)
    with pytest.raises(JobFailed, match="took too long") as caught:
        job.wait(PATIENCE)
    assert caught.value.context["error"]["code"] == "odoo_timeout"
    assert len((tmp_path / "runs").read_text()) == 1 + client._settings.fbs_max_retries


def test_what_will_not_pass_is_not_retried(client: Client, plain_celery: Celery, tmp_path: Path) -> None:
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


def test_an_unforeseen_error_keeps_its_words_to_itself(client: Client, plain_celery: Celery, run_folder: Path) -> None:
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


def test_wrong_arguments_are_told(client: Client) -> None:
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
    running = [send(client, "test.steps", gate=str(tmp_path / "gate")) for _ in range(2)]  # every process is busy
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
    with pytest.raises(JobFailed, match="longer than 1 seconds"):
        send(client, "test.slow").wait(PATIENCE)


def test_a_job_that_kills_its_worker_is_not_run_for_ever(client: Client, tmp_path: Path) -> None:
    job = send(client, "test.deadly", runs=str(tmp_path / "runs"))
    with pytest.raises(JobFailed, match="lost its worker"):
        job.wait(PATIENCE)
    assert len((tmp_path / "runs").read_text()) == MOST_LOSSES


def test_waiting_gives_up_after_its_timeout(client: Client, tmp_path: Path) -> None:
    job = send(client, "test.steps", gate=str(tmp_path / "gate"))
    with pytest.raises(JobError, match="has not ended yet"):
        job.wait(0.2)
    (tmp_path / "gate").touch()
    job.wait(PATIENCE)


def test_a_delivery_too_many_changes_nothing(client: Client, plain_celery: Celery, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    job = send(client, "test.flaky", runs=str(runs), failures=0)
    job.wait(PATIENCE)
    kwargs = {"runs": str(runs), "failures": 0}
    again = send(client, "test.flaky", **{**kwargs, "runs": str(tmp_path / "other")})
    client._app.enqueue("test.flaky", kwargs, job_id=job.id)
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


# ------------------------------------------------------------------------------------------------ Redis is not there


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody answers."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/0"


@pytest.fixture
def silent() -> Iterator[str]:
    """An address at which somebody takes calls and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def assert_told_quickly(url: str, attempt: Callable[[], object]) -> None:
    began = time.monotonic()
    with pytest.raises(QueueUnreachable) as caught:
        attempt()
    assert time.monotonic() - began < 6
    place = url.rpartition("@")[2].removeprefix("redis://").partition("/")[0]
    assert place in caught.value.message
    assert "fbs up" in caught.value.hint
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", ["nobody", "silent"])
def test_enqueuing_without_redis_is_a_quick_error(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(kind)
    with Client(settings=Settings(fbs_redis_url=url)) as client:
        assert_told_quickly(url, lambda: client.discover(domain="rental"))


@pytest.mark.parametrize("kind", ["nobody", "silent"])
def test_sending_itself_does_not_hang_either(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(kind)
    with make_app(Settings(fbs_redis_url=url), results=False) as app:
        assert_told_quickly(url, lambda: app.enqueue("fbs.discover", {}, job_id="one"))


def test_a_job_that_could_not_be_sent_leaves_no_record(client: Client, nobody: str) -> None:
    broken = Client(settings=client._settings)
    with make_app(Settings(fbs_redis_url=nobody), results=False) as elsewhere:
        elsewhere.__dict__["jobs"] = client._app.jobs  # records can be made, messages not sent
        broken.__dict__["_app"] = elsewhere
        before = {record.id for record in client.jobs(1000)}
        with pytest.raises(QueueUnreachable):
            broken.discover(domain="rental")
        assert {record.id for record in client.jobs(1000)} == before


@pytest.mark.parametrize(
    "command",
    [["-m", "tests.support.job_worker"], ["-m", "celery", "-A", "fbs_worker.app", "worker"]],
    ids=["ours", "celery's"],
)
def test_a_worker_without_redis_says_so_and_ends(command: list[str], nobody: str) -> None:
    environment = settings_environment(Settings(fbs_redis_url=nobody))
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    assert nobody.rpartition("@")[2].partition("/")[0] in ended.stderr
    assert "fbs up" in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout


def test_a_wrong_password_of_redis_is_told(redis_server: EmbeddedRedis) -> None:
    place = redis_server.url.rpartition("@")[2]
    client = Client(f"redis://:wrong-password@{place}", settings=Settings())
    with pytest.raises(SettingsError, match="refuses") as caught:
        client.jobs()
    assert "wrong-password" not in str(caught.value) + caught.value.hint


def test_nothing_of_a_message_shows_its_arguments(redis_url: str) -> None:
    with Client(settings=Settings(fbs_redis_url=redis_url)) as client, closing(redis.Redis.from_url(redis_url)) as raw:
        client.discover(domain="rental", database_config={"name": "shop", "password": "env:SHOP_PASSWORD"})
        (message,) = raw.lrange("fbs.discovery", 0, -1)  # type: ignore[misc,unused-ignore]
    assert b"SHOP_PASSWORD" not in message  # the body is encoded, and its description has no password
    assert b"'***'" in message
