"""A job that is delivered twice, and one that kills its worker."""

from __future__ import annotations

import json

import pytest
import redis

from fbs_worker.jobs.config import DISCOVERY_QUEUE
from fbs_worker.jobs.model import JobState
from fbs_worker.jobs.store import MAX_LOSSES
from tests.support.held_odoo import reads
from tests.support.stage import Stage
from tests.support.waiting import until

pytestmark = pytest.mark.faults

HELD = reads("ir.ui.view")


def deliver_again(stage: Stage, *, moved: bool) -> None:
    """Put the one message that a worker holds into its queue, as Kombu does after the visibility timeout.

    Args:
        stage: whose.
        moved: the worker's own is taken away from it, as Kombu does it.
    """
    with redis.Redis.from_url(stage.redis_url) as raw:
        ((tag, kept),) = raw.hgetall("unacked").items()  # type: ignore[union-attr,unused-ignore]
        message, _exchange, _key = json.loads(kept)
        with raw.pipeline() as pipe:
            if moved:
                pipe.hdel("unacked", tag)
                pipe.zrem("unacked_index", tag)
            pipe.rpush(DISCOVERY_QUEUE, json.dumps(message))
            pipe.execute()


@pytest.mark.parametrize("moved", [False, True], ids=["copied", "moved"])
def test_the_same_message_delivered_to_two_workers_is_one_job(stage: Stage, moved: bool) -> None:
    stage.expected("refresh")
    stage.some_worker()
    began = stage.odoo.beginnings
    with stage.odoo.hold(HELD) as hold:
        job = stage.enqueue("refresh")
        hold.wait_until_reached()
        other = stage.worker()
        deliver_again(stage, moved=moved)
        probe = stage.client.discover(domain="hr", discovery_types=["module"])  # is taken after it, by the other one
        assert stage.finished(probe).state is JobState.SUCCEEDED
        record = job.status()
        assert (record.state, record.attempts) == (JobState.RUNNING, 1)
        assert stage.odoo.beginnings - began == 2
    stage.assert_done_once("refresh", job, attempts=1)
    assert stage.odoo.beginnings - began == 2
    other.stop()


@pytest.mark.parametrize("victim", ["child", "main"])
def test_a_job_that_kills_its_worker_each_time_has_failed(stage: Stage, victim: str) -> None:
    stage.expected("refresh")
    before = stage.contents()
    for killed in range(MAX_LOSSES):
        with stage.odoo.hold(HELD) as hold:
            if not killed:
                job = stage.enqueue("refresh")
            worker = stage.some_worker()
            hold.wait_until_reached()
            assert job.status().attempts == killed + 1
            if victim == "main":
                worker.kill_main()
            else:
                worker.kill_child()
    stage.some_worker()
    record = stage.finished(job)
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert f"lost its worker {MAX_LOSSES} times" in record.error["message"]
    stage.assert_idle()
    assert stage.contents() == before
    stage.assert_done_once("refresh", stage.enqueue("refresh"), attempts=1)  # the next one is not held against it


def test_a_frozen_worker_with_a_stale_attempt_does_no_harm(stage: Stage) -> None:
    stage.expected("refresh")
    frozen = stage.some_worker()
    with stage.odoo.hold(HELD) as hold:
        job = stage.enqueue("refresh")
        hold.wait_until_reached()
        frozen.freeze()
        until(lambda: job.status().state is JobState.LOST, job.status)
    other = stage.worker()
    try:
        # the frozen one holds the solution's lock: the other waits for it, then one of them does the work
        until(lambda: job.status().attempts == 2, job.status)
    finally:
        frozen.thaw()
    stage.assert_done_once("refresh", job)
    other.stop()
