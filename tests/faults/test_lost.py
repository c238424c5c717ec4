"""A worker as it is delivered, with the times that it has: what a job reads whose worker was killed."""

from __future__ import annotations

import time

import pytest

from fbs_worker.client.client import Client
from fbs_worker.jobs.model import JobState
from fbs_worker.ops.local.programs import Program
from tests.support.held_odoo import reads
from tests.support.stage import Stage
from tests.support.waiting import until

pytestmark = pytest.mark.faults

A_MINUTE = 60.0
AND_A_FEW_SECONDS = 30.0


def test_a_job_of_a_killed_worker_shows_lost_within_a_minute_and_is_run_again(stage: Stage) -> None:
    stage.expected("setup")
    killed = Program.start("worker", "--concurrency=1", settings=stage.settings, log=stage.folder / "killed.log")
    with stage.odoo.hold(reads("ir.ui.view")) as hold, Client(settings=stage.settings) as client:
        job = client.setup(stage.arguments("setup"))
        hold.wait_until_reached()
        killed.process.stop([])  # SIGKILL, at once
        began = time.monotonic()
        until(lambda: job.status().state is JobState.LOST, job.status, seconds=A_MINUTE)
        with Program.start("worker", "--concurrency=1", settings=stage.settings, log=stage.folder / "fresh.log"):
            until(lambda: job.status().attempts == 2, job.status, seconds=AND_A_FEW_SECONDS)
            assert time.monotonic() - began < A_MINUTE + AND_A_FEW_SECONDS
            hold.release()
            stage.assert_done_once("setup", job, attempts=2)
    killed.stop()
