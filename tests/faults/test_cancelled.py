"""Jobs cancelled wherever they are."""

from __future__ import annotations

import time

import pytest

from fbs_worker.jobs.model import JobState
from tests.support.held_odoo import begins, reads
from tests.support.obstacles import PostgresLock
from tests.support.stage import Stage
from tests.support.waiting import until

pytestmark = pytest.mark.faults

SOON = 10.0


def test_one_that_waits_never_starts(stage: Stage) -> None:
    stage.expected("drop")
    before = stage.contents()
    stage.some_worker()
    with stage.odoo.hold(reads("ir.ui.view")) as hold:
        running = stage.client.discover(domain="hr")
        hold.wait_until_reached()
        job = stage.enqueue("drop")
        assert job.cancel() is JobState.CANCELLED
    assert stage.finished(running).state is JobState.SUCCEEDED
    stage.assert_idle()
    record = job.status()
    assert (record.state, record.attempts, record.started_at) == (JobState.CANCELLED, 0, None)
    assert stage.contents() == before


@pytest.mark.parametrize("action", ["discover", "refresh", "setup"])
def test_one_that_reads_stops_while_odoo_is_silent(stage: Stage, action: str) -> None:
    stage.expected(action)
    before = stage.contents()
    stage.some_worker()
    with stage.odoo.hold(reads("ir.ui.view")) as hold:
        job = stage.enqueue(action)
        hold.wait_until_reached()
        assert job.cancel() is JobState.RUNNING
        assert stage.finished(job, seconds=SOON).state is JobState.CANCELLED
        stage.assert_idle()
        assert stage.contents() == before
    stage.assert_done_once(action, stage.enqueue(action), attempts=1)


def test_one_that_saves_stops_at_its_next_step_and_rolls_back(stage: Stage) -> None:
    stage.expected("refresh")
    before = stage.contents()
    stage.some_worker()
    with stage.odoo.hold(reads("ir.module.module")) as hold:
        job = stage.enqueue("refresh")
        hold.wait_until_reached()
        lock = PostgresLock(stage.target, "LOCK TABLE fbs_discoveries IN SHARE MODE")
    with lock:
        lock.wait_until_reached()
        assert job.status().step == "save"
        assert job.cancel() is JobState.RUNNING
    assert stage.finished(job).state is JobState.CANCELLED
    stage.assert_idle()
    assert stage.contents() == before


def test_one_that_waits_for_another_s_lock_stops_and_the_other_goes_on(stage: Stage) -> None:
    stage.expected("refresh")
    stage.some_worker()
    second = stage.worker()
    with stage.odoo.hold(reads("ir.ui.view")) as hold:
        first = stage.enqueue("refresh")
        hold.wait_until_reached()
        job = stage.enqueue("drop")
        until(lambda: job.status().step == "wait", job.status)
        assert "fbs-worker refresh shop" in job.status().message
        began = time.monotonic()
        assert job.cancel() is JobState.RUNNING
        assert stage.finished(job, seconds=SOON).state is JobState.CANCELLED
        assert time.monotonic() - began < SOON
    stage.assert_done_once("refresh", first, attempts=1)
    second.stop()


def test_one_whose_worker_is_lost_is_cancelled_at_once_and_not_run_again(stage: Stage) -> None:
    stage.expected("refresh")
    before = stage.contents()
    worker = stage.some_worker()
    with stage.odoo.hold(reads("ir.ui.view")) as hold:
        job = stage.enqueue("refresh")
        hold.wait_until_reached()
        worker.kill_main()
    until(lambda: job.status().state is JobState.LOST, job.status)
    assert job.cancel() is JobState.CANCELLED
    stage.some_worker()
    stage.assert_idle()
    assert job.status().attempts == 1
    assert stage.contents() == before


def test_one_that_waits_for_a_retry_is_cancelled_at_once(stage: Stage) -> None:
    stage.expected("refresh")
    before = stage.contents()
    stage.some_worker()
    with stage.odoo.hold(begins) as hold, stage.odoo.away():
        job = stage.enqueue("refresh")
        until(lambda: job.status().state is JobState.RETRYING, job.status)
        hold.release()
        job.cancel()
        until(lambda: job.status().state is JobState.CANCELLED, job.status, seconds=SOON)
    stage.assert_idle()
    assert stage.contents() == before
