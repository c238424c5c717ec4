"""What becomes of a job whose worker is killed, frozen or cut off, with real workers."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from fbs_worker.client.client import Client, JobHandle
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.model import JobState
from fbs_worker.jobs.store import JobStore
from tests.support.quick_worker import LOST_AFTER, QuickWorker
from tests.support.waiting import until

pytestmark = pytest.mark.faults


StartWorker = Callable[[], QuickWorker]


@pytest.fixture
def worker_settings(redis_url: str) -> Settings:
    return Settings(fbs_redis_url=redis_url, fbs_max_retries=2)


@pytest.fixture
def client(worker_settings: Settings) -> Iterator[Client]:
    """A client that takes jobs for lost when the workers do."""
    with Client(settings=worker_settings) as client:
        client._jobs = JobStore(worker_settings.fbs_redis_url, ttl=600, lost_after=LOST_AFTER)
        yield client


@pytest.fixture
def start(worker_settings: Settings, tmp_path: Path) -> Iterator[StartWorker]:
    started: list[QuickWorker] = []

    def start() -> QuickWorker:
        started.append(QuickWorker(worker_settings, log=tmp_path / f"worker{len(started)}.log"))
        return started[-1]

    try:
        yield start
    finally:
        for worker in started:
            worker.stop()


def idle(raw: redis.Redis) -> bool:
    """No message is left, neither in a queue nor in anybody's hands."""
    return not raw.exists("fbs.discovery", "fbs.schema", "unacked", "unacked_index")


def waiting_job(client: Client, gate: Path) -> JobHandle:
    job = client._enqueue("test.steps", {"gate": str(gate)}, domain="rental")
    until(lambda: job.status().step == "fields")
    return job


def ran(job: JobHandle, raw: redis.Redis, *, attempts: int) -> None:
    until(lambda: job.status().state.finished)
    record = job.status()
    assert (record.state, record.result) == (JobState.SUCCEEDED, {"domain": "rental", "done": True})
    assert record.attempts == attempts
    until(lambda: idle(raw))
    assert job.status() == record


def test_a_killed_worker_s_job_is_lost_and_another_claims_it(
    client: Client, raw: redis.Redis, start: StartWorker, tmp_path: Path
) -> None:
    killed = start()
    job = waiting_job(client, tmp_path / "gate")
    first = job.status().worker
    killed.kill()
    start()
    until(lambda: job.status().state is JobState.LOST)
    (tmp_path / "gate").touch()
    ran(job, raw, attempts=2)
    assert job.status().worker not in {"", first}
    assert raw.hget("fbs:metrics", "losses|test.steps") == "1"


def test_a_frozen_worker_leaves_the_job_to_the_new_attempt(
    client: Client, raw: redis.Redis, start: StartWorker, tmp_path: Path
) -> None:
    frozen = start()
    job = waiting_job(client, tmp_path / "gate")
    frozen.signal(signal.SIGSTOP)
    other = start()
    until(lambda: job.status().attempts == 2)
    frozen.signal(signal.SIGCONT)
    # the frozen one learns of it, and its acknowledgement does not take the message from the other
    until(lambda: "Another worker has claimed the job" in (tmp_path / "worker0.log").read_text())
    other.kill()
    until(lambda: job.status().attempts == 3)
    (tmp_path / "gate").touch()
    ran(job, raw, attempts=3)


def test_a_second_message_of_a_running_job_waits_and_then_finds_it_done(
    client: Client, raw: redis.Redis, start: StartWorker, tmp_path: Path
) -> None:
    start()
    start()
    job = waiting_job(client, tmp_path / "gate")
    client._app.send_task("test.steps", kwargs={"gate": str(tmp_path / "gate")}, task_id=job.id)
    until(lambda: raw.hlen("unacked") == 2 and "eta" in str(raw.hvals("unacked")))
    until(lambda: raw.llen("fbs.discovery") == 0)
    assert (job.status().state, job.status().attempts) == ("running", 1)
    (tmp_path / "gate").touch()
    ran(job, raw, attempts=1)
    assert raw.hget("fbs:metrics", "losses|test.steps") is None


def test_a_retry_that_a_killed_worker_held_is_requeued(
    client: Client, raw: redis.Redis, start: StartWorker, tmp_path: Path
) -> None:
    killed = start()
    job = client._enqueue("test.flaky", {"runs": str(tmp_path / "runs"), "failures": 1})
    until(lambda: job.status().state is JobState.RETRYING and '"eta": "' in str(raw.hvals("unacked")))
    killed.kill()
    start()
    until(lambda: job.status().state.finished)
    assert job.status().result == {"runs": 2}
    until(lambda: idle(raw))


def test_a_job_whose_record_redis_lost_is_run_again(
    client: Client, raw: redis.Redis, start: StartWorker, tmp_path: Path
) -> None:
    start()
    job = waiting_job(client, tmp_path / "gate")
    raw.delete(f"fbs:job:{job.id}")
    (tmp_path / "gate").touch()
    until(lambda: bool(raw.exists(f"fbs:job:{job.id}")))
    ran(job, raw, attempts=1)


def test_a_job_without_a_message_fails(client: Client, raw: redis.Redis, start: StartWorker) -> None:
    jobs = client._jobs
    jobs.create("never-sent", action="discover")
    removed = client.discover(domain="rental")
    raw.delete("fbs.discovery")
    start()
    until(lambda: all(jobs.get(job_id).state is JobState.FAILED for job_id in ("never-sent", removed.id)))
    reported = {job_id: (jobs.get(job_id).error or {})["message"] for job_id in ("never-sent", removed.id)}
    assert "never sent" in reported["never-sent"]
    assert "message is lost" in reported[removed.id]


def test_a_queued_message_is_left_alone(client: Client, raw: redis.Redis, start: StartWorker, tmp_path: Path) -> None:
    start()
    job = waiting_job(client, tmp_path / "gate")
    behind = client._enqueue("test.flaky", {"runs": str(tmp_path / "runs"), "failures": 0})
    until(lambda: _age(behind) > 3 * LOST_AFTER)
    assert behind.status().state is JobState.QUEUED
    (tmp_path / "gate").touch()
    ran(job, raw, attempts=1)
    until(lambda: behind.status().state is JobState.SUCCEEDED)


def _age(job: JobHandle) -> float:
    return time.time() - job.status().created_at.timestamp()
