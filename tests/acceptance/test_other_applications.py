"""Other applications: plain Celery without fbs-worker, and the client in threads and forked processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.result import AsyncResult
from cryptography.fernet import Fernet
from pydantic import SecretStr

from fbs_worker.client.client import Client
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import JobCancelled, JobFailed
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.programs import Program
from fbs_worker.ops.local.state import database_url
from tests.support.held_odoo import HeldOdoo, begins, reads
from tests.support.servers import fresh_database, redis_database
from tests.support.solutions import config_of, few_models
from tests.support.waiting import PATIENCE, until

NAME = "fbs.refresh"
ROUTES = {"fbs.discover": "fbs.discovery", "fbs.refresh": "fbs.discovery", "fbs.setup": "fbs.schema"}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A worker with one slot, the solution `shop`, and the Odoo that it is about."""

    settings: Settings
    odoo: HeldOdoo
    client: Client


@pytest.fixture(scope="module")
def stage(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, run_folder: Path) -> Iterator[Stage]:
    """What the other applications find."""
    with (
        HeldOdoo(RecordingTransport(few_models())) as odoo,
        redis_database(redis_server.url) as redis_url,
        fresh_database(postgres) as home,
        fresh_database(postgres) as target,
    ):
        settings = Settings(
            odoo_url=odoo.url,
            odoo_db=odoo.database,
            odoo_user="admin",
            odoo_password=SecretStr("admin-password"),
            fbs_redis_url=redis_url,
            fbs_database_url=database_url(home),
            fbs_secret_keys=SecretStr(Fernet.generate_key().decode()),
            fbs_home=run_folder / "other-home",
        )
        log = run_folder / "other-worker.log"
        queues = "--queues=fbs.discovery,fbs.schema,celery"
        with (
            Program.start("worker", "--concurrency=1", queues, settings=settings, log=log),
            Client(settings=settings) as client,
        ):
            assert client.setup(config_of(target, business_prefix="hr_")).wait(PATIENCE)["changed"]
            yield Stage(settings=settings, odoo=odoo, client=client)


@pytest.fixture
def other(stage: Stage) -> Iterator[Celery]:
    """Another application: Celery, the broker's address, and the queues of the tasks."""
    url = stage.settings.fbs_redis_url
    with Celery("other", broker=url, backend=url, set_as_current=False) as app:
        app.conf.task_routes = {name: {"queue": queue} for name, queue in ROUTES.items()}
        yield app
        app.backend.result_consumer.stop()


def refresh(app: Celery, **more: Any) -> AsyncResult:
    return app.send_task(NAME, kwargs={"solution_name": "shop", "full": True, **more})


# ------------------------------------------------------------------------------------------------ plain Celery


def test_it_sees_progress_and_the_result(stage: Stage, other: Celery) -> None:
    with stage.odoo.hold(reads("ir.ui.view")) as held:
        result = refresh(other)
        held.wait_until_reached()
        until(lambda: result.state == "PROGRESS")
        assert set(result.info) >= {"step", "current", "total", "message"}
        assert result.info["step"]
        assert not result.ready()
        assert stage.client.job(result.id).status().solution == "shop"
    reported = result.get(timeout=PATIENCE)
    assert reported["solution"] == "shop"
    assert result.state == "SUCCESS"
    assert stage.client.job(result.id).wait(PATIENCE) == reported


def test_it_need_not_name_a_queue_where_redis_is_ours_alone(stage: Stage) -> None:
    url = stage.settings.fbs_redis_url
    with Celery("another", broker=url, backend=url, set_as_current=False) as app:
        result = app.send_task(NAME, kwargs={"solution_name": "shop"})
        assert result.get(timeout=PATIENCE)["solution"] == "shop"
        assert stage.client.job(result.id).status().queue == "celery"
        app.backend.result_consumer.stop()


def test_it_sees_what_went_wrong(stage: Stage, other: Celery) -> None:
    result = refresh(other, solution_name="unknown")
    with pytest.raises(Exception, match="solution_not_found"):
        result.get(timeout=PATIENCE)
    assert result.state == "FAILURE"
    (error,) = result.result.args
    assert error.items() >= {"code": "solution_not_found", "retryable": False}.items()
    assert error["message"]
    assert error["hint"]
    assert stage.client.job(result.id).status().error == error


def test_arguments_that_are_not_known_are_refused(other: Celery) -> None:
    result = refresh(other, password="a plain one")
    with pytest.raises(Exception, match="usage"):
        result.get(timeout=PATIENCE)
    assert "a plain one" not in str(result.result)


def test_it_takes_back_a_job_that_waits(stage: Stage, other: Celery) -> None:
    with stage.odoo.hold(begins) as held:
        first = refresh(other)
        held.wait_until_reached()  # the one slot is taken
        theirs = refresh(other)
        ours = stage.client.refresh("unknown")
        for waiting in (theirs.id, ours.id):  # the worker says that it has heard
            until(lambda waiting=waiting: other.control.revoke(waiting, reply=True, timeout=0.5))  # type: ignore[misc]
    first.get(timeout=PATIENCE)
    until(lambda: theirs.state == "REVOKED")
    with pytest.raises(JobCancelled):
        ours.wait(PATIENCE)
    until(lambda: other.AsyncResult(ours.id).state == "REVOKED")


def test_what_it_has_sent_can_be_cancelled_with_the_client(stage: Stage, other: Celery) -> None:
    with stage.odoo.hold(reads("ir.ui.view")) as held:
        result = refresh(other)
        held.wait_until_reached()
        stage.client.job(result.id).cancel()
    with pytest.raises(JobCancelled):
        stage.client.job(result.id).wait(PATIENCE)
    until(lambda: result.state == "REVOKED")


# ------------------------------------------------------------------------------------------------ the client elsewhere


def test_threads_share_a_client(redis_url: str) -> None:
    names = [f"shop_{number}" for number in range(80)]

    def enqueue(name: str) -> str:
        job = client.refresh(name)
        assert client.job(job.id).status().solution == name
        return job.id

    with Client(settings=Settings(fbs_redis_url=redis_url)) as client, ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(enqueue, names))
        reported = {record.id: record.solution for record in client.jobs(200)}
    assert reported == dict(zip(ids, names, strict=True))
    with closing(redis.Redis.from_url(redis_url)) as raw:
        messages = raw.lrange("fbs.discovery", 0, -1)  # type: ignore[misc,unused-ignore]
    assert sorted(json.loads(message)["headers"]["id"] for message in messages) == sorted(ids)


_PREFORK = """
import os, sys
from fbs_worker import Client
from fbs_worker.core.errors import JobFailed

client = Client(sys.argv[1])  # as `gunicorn --preload` does: made, and used, before the fork

def serve(names):
    jobs = [client.refresh(name) for name in names]
    for job, name in zip(jobs, names):
        try:
            job.wait(60)
        except JobFailed as exc:
            assert name in str(exc), (name, str(exc))
        else:
            raise AssertionError(name)
        assert [event.state for event in job.follow()][-1] == "failed"

serve(["master"])
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            serve([f"child_{number}_{turn}" for turn in range(5)])
            status = 0
        finally:
            os._exit(status)
    children.append(child)
serve(["master_again"])
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
client.close()
print(sorted({"fbs_worker.tasks", "fbs_worker.connectors"} & sys.modules.keys()))
"""


def test_a_client_made_before_a_fork_serves_parent_and_children(stage: Stage, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", _PREFORK, stage.settings.fbs_redis_url],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[]"  # all of it without the tasks and the connectors
    assert ended.stderr == ""
    with pytest.raises(JobFailed):
        stage.client.refresh("still_there").wait(PATIENCE)
