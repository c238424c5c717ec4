"""Redis ends and comes back while jobs run, wait or are enqueued."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fbs_worker.core.errors import QueueUnreachable
from fbs_worker.jobs.model import JobState
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.support.held_odoo import HeldOdoo, reads
from tests.support.restarts import start_redis, stop_redis
from tests.support.solutions import entries
from tests.support.stage import Stage
from tests.support.waiting import until

pytestmark = pytest.mark.faults

AT_ONCE = 6.0


@pytest.fixture(scope="module")
def redis_folder(run_folder: Path) -> Iterator[Path]:
    """The folder of a Redis with persistence."""
    folder = run_folder / "faults-redis"
    EmbeddedRedis.start(folder)
    yield folder
    running(folder).stop()


@pytest.fixture(scope="module")
def stage(postgres: EmbeddedPostgres, redis_folder: Path, odoo: HeldOdoo, run_folder: Path) -> Iterator[Stage]:
    stage = Stage(postgres=postgres, redis_url=running(redis_folder).url, odoo=odoo, folder=run_folder)
    try:
        yield stage
    finally:
        stage.close()


def running(folder: Path) -> EmbeddedRedis:
    found = EmbeddedRedis.find(folder)
    assert found is not None
    return found


def restart(folder: Path, *, kill: bool) -> None:
    stop_redis(running(folder), kill=kill)
    start_redis(folder)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("concurrency", [1, 2], ids=["busy", "half busy"])  # one with a free hand asks for more jobs
@pytest.mark.parametrize("action", ["setup", "refresh"])
def test_a_job_that_runs_goes_on(stage: Stage, redis_folder: Path, action: str, concurrency: int, kill: bool) -> None:
    stage.expected(action)
    stage.stop_workers()
    worker = stage.worker(concurrency=concurrency)
    with stage.odoo.hold(reads("ir.ui.view")) as hold:
        job = stage.enqueue(action)
        hold.wait_until_reached()
        restart(redis_folder, kill=kill)
        assert job.status().state in {JobState.RUNNING, JobState.LOST}
    stage.assert_done_once(action, job)
    probe = stage.client.discover(domain="hr", discovery_types=["module"])
    assert stage.finished(probe).state is JobState.SUCCEEDED  # it still takes jobs
    assert worker.alive


def test_a_job_that_ends_meanwhile_has_ended_once(stage: Stage, redis_folder: Path) -> None:
    stage.expected("setup")
    stage.some_worker()
    with stage.odoo.hold(reads("ir.ui.view")) as hold:
        job = stage.enqueue("setup")
        hold.wait_until_reached()
        stop_redis(running(redis_folder))
        try:
            hold.release()
            until(lambda: entries(stage.home).get("shop") is True)
        finally:
            start_redis(redis_folder)
    stage.assert_done_once("setup", job)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_jobs_that_wait_are_all_run_once(stage: Stage, redis_folder: Path, kill: bool) -> None:
    stage.expected("refresh")
    stage.some_worker()
    with stage.odoo.hold(reads("ir.ui.view")) as hold:
        job = stage.enqueue("refresh")
        hold.wait_until_reached()
        waiting = [stage.client.discover(domain=name, discovery_types=["module"]) for name in ("hr", "rental")]
        restart(redis_folder, kill=kill)
        waiting.append(stage.client.discover(domain="ecommerce", discovery_types=["module"]))
    for other in waiting:
        record = stage.finished(other)
        assert (record.state, record.attempts) == (JobState.SUCCEEDED, 1)
    stage.assert_done_once("refresh", job)


def test_jobs_wait_through_it_while_no_worker_runs(stage: Stage, redis_folder: Path) -> None:
    stage.expected("drop")
    stage.stop_workers()
    job = stage.enqueue("drop")
    restart(redis_folder, kill=True)
    assert job.status().state is JobState.QUEUED
    stage.some_worker()
    stage.assert_done_once("drop", job, attempts=1)


def test_a_job_that_is_enqueued_meanwhile_is_refused_at_once_and_nothing_stays(
    stage: Stage, redis_folder: Path
) -> None:
    stage.expected("drop")
    stage.some_worker_ready()
    known = {record.id for record in stage.client.jobs(1000)}
    stop_redis(running(redis_folder))
    try:
        for act in (lambda: stage.enqueue("drop"), lambda: stage.enqueue("refresh"), stage.client.jobs):
            began = time.monotonic()
            with pytest.raises(QueueUnreachable) as caught:
                act()
            assert time.monotonic() - began < AT_ONCE
            assert "fbs up" in caught.value.hint
    finally:
        start_redis(redis_folder)
    assert {record.id for record in stage.client.jobs(1000)} == known
    stage.assert_done_once("drop", stage.enqueue("drop"), attempts=1)
