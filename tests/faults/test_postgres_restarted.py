"""PostgreSQL ends and comes back in the middle of a job's transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fbs_worker.jobs.model import JobState
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.support.held_odoo import HeldOdoo, reads
from tests.support.obstacles import PostgresLock
from tests.support.restarts import restart_postgres, stop_postgres
from tests.support.servers import redis_database
from tests.support.stage import Stage
from tests.support.waiting import until

pytestmark = pytest.mark.faults

READING = reads("ir.model.fields.selection")
"""What is read before it has been received by then, in the transaction that saves all."""

WRITING = {
    "discover": "LOCK TABLE fbs_discoveries IN SHARE MODE",
    "refresh": "LOCK TABLE fbs_workflow_definitions IN SHARE MODE",
    "setup": "LOCK TABLE fbs_workflow_definitions IN SHARE MODE",
    "drop": "LOCK TABLE hr_employee IN SHARE MODE",
}


@pytest.fixture(scope="module")
def stage(redis_server: EmbeddedRedis, odoo: HeldOdoo, run_folder: Path) -> Iterator[Stage]:
    folder = run_folder / "faults-postgres"
    EmbeddedPostgres.start(folder)
    with redis_database(redis_server.url) as url:
        stage = Stage(postgres=running(folder), redis_url=url, odoo=odoo, folder=run_folder)
        try:
            yield stage
        finally:
            stage.close()
            running(folder).stop()


def running(folder: Path) -> EmbeddedPostgres:
    found = EmbeddedPostgres.find(folder)
    assert found is not None
    return found


def restart(stage: Stage, *, kill: bool) -> None:
    stage.postgres = restart_postgres(stage.postgres, kill=kill)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("action", ["discover", "refresh", "setup"])
def test_a_job_that_reads_begins_again(stage: Stage, action: str, kill: bool) -> None:
    stage.expected(action)
    stage.some_worker()
    with stage.odoo.hold(READING) as hold:
        job = stage.enqueue(action)
        hold.wait_until_reached()
        restart(stage, kill=kill)
    stage.assert_done_once(action, job)
    assert job.status().attempts >= 2


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("action", WRITING)
def test_a_job_that_writes_begins_again(stage: Stage, action: str, kill: bool) -> None:
    stage.expected(action)
    stage.some_worker()
    with ExitStack() as stack:
        if action == "drop":
            lock = stack.enter_context(PostgresLock(stage.target, WRITING[action]))
            job = stage.enqueue(action)
        else:
            with stage.odoo.hold(READING) as hold:
                job = stage.enqueue(action)
                hold.wait_until_reached()
                lock = stack.enter_context(PostgresLock(stage.target, WRITING[action]))
        lock.wait_until_reached()
        restart(stage, kill=kill)
    stage.assert_done_once(action, job)
    assert job.status().attempts >= 2


@pytest.mark.parametrize("action", ["setup", "drop"])
def test_a_job_waits_until_it_is_back(stage: Stage, action: str) -> None:
    stage.expected(action)
    stage.some_worker()
    stop_postgres(stage.postgres)
    try:
        job = stage.enqueue(action)
        until(lambda: job.status().state is JobState.RETRYING)
        error = job.status().error
        assert error is not None
        assert error["code"] == "database_unreachable"
    finally:
        stage.postgres = EmbeddedPostgres.start(stage.postgres.folder)
    stage.assert_done_once(action, job)
