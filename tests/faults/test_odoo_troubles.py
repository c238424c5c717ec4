"""An Odoo that hangs, refuses or answers nonsense, and comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from fbs_worker.core.errors import JobFailed
from fbs_worker.jobs.model import JobState
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.support.held_odoo import HeldOdoo, reads
from tests.support.odoo_faults import Misbehaviour
from tests.support.servers import redis_database
from tests.support.solutions import entries, tables_of
from tests.support.stage import Stage
from tests.support.waiting import until

pytestmark = pytest.mark.faults

Trouble = Callable[[HeldOdoo], AbstractContextManager[object]]


@pytest.fixture(scope="module")
def stage(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, odoo: HeldOdoo, run_folder: Path) -> Iterator[Stage]:
    more = {"odoo_timeout": 1.0, "fbs_odoo_max_failures": 3, "fbs_odoo_pause": 1.0}
    with redis_database(redis_server.url) as url:
        stage = Stage(postgres=postgres, redis_url=url, odoo=odoo, folder=run_folder, more=more)
        try:
            yield stage
        finally:
            stage.close()


def misbehaving(how: Misbehaviour) -> Trouble:
    @contextmanager
    def trouble(odoo: HeldOdoo) -> Iterator[None]:
        odoo.misbehave(how)
        try:
            yield
        finally:
            odoo.behave()

    return trouble


PASSING: dict[str, Trouble] = {
    "hangs": lambda odoo: odoo.hold(lambda *_: True),
    "refuses": HeldOdoo.away,
    **{
        str(how): misbehaving(how)
        for how in (
            Misbehaviour.BAD_GATEWAY,
            Misbehaviour.GATEWAY_TIMEOUT,
            Misbehaviour.CLOSE_WITHOUT_ANSWER,
            Misbehaviour.POSTGRES_DOWN,
        )
    },
}


@pytest.mark.parametrize("trouble", PASSING)
def test_a_job_waits_until_it_is_well(stage: Stage, trouble: str) -> None:
    stage.expected("setup")
    stage.some_worker()
    with PASSING[trouble](stage.odoo):
        job = stage.enqueue("setup")
        until(lambda: job.status().state is JobState.RETRYING, job.status)
        assert entries(stage.home).get("shop") is None  # nothing of it is left while it waits
        assert not [name for name in tables_of(stage.target) if name.startswith("hr_")]
    stage.assert_done_once("setup", job)


@pytest.mark.parametrize("trouble", ["hangs", Misbehaviour.BAD_GATEWAY, Misbehaviour.CUT_SHORT])
def test_a_job_that_was_in_the_middle_begins_again(stage: Stage, trouble: str) -> None:
    begins = PASSING.get(trouble) or misbehaving(Misbehaviour(trouble))
    stage.expected("refresh")
    stage.some_worker()
    with stage.odoo.hold(reads("ir.model")) as hold:
        job = stage.enqueue("refresh")
        hold.wait_until_reached()
        with begins(stage.odoo):
            hold.release()
            until(lambda: job.status().state is JobState.RETRYING, job.status)
    stage.assert_done_once("refresh", job)


@pytest.mark.parametrize("how", [Misbehaviour.LOGIN_PAGE, Misbehaviour.REDIRECT, Misbehaviour.NOT_HTTP])
def test_a_page_in_odoo_s_place_is_reported_and_changes_nothing(stage: Stage, how: Misbehaviour) -> None:
    expected = stage.expected("refresh")
    stage.some_worker()
    before = stage.contents()
    with misbehaving(how)(stage.odoo):
        job = stage.enqueue("refresh")
        record = stage.finished(job)
    assert record.state is JobState.FAILED
    with pytest.raises(JobFailed) as caught:
        job.wait(1)
    assert caught.value.message
    assert caught.value.hint
    assert stage.contents() == before != expected
    stage.assert_idle()
    stage.assert_done_once("refresh", stage.enqueue("refresh"), attempts=1)


def test_an_odoo_that_is_away_for_long_fails_no_job_and_is_not_hammered(stage: Stage) -> None:
    stage.expected("refresh")
    stage.some_worker()
    with misbehaving(Misbehaviour.BAD_GATEWAY)(stage.odoo):
        before = stage.odoo.requests
        job = stage.enqueue("refresh")
        until(lambda: job.status().attempts >= 5, job.status)
        assert stage.odoo.requests - before <= job.status().attempts
    stage.assert_done_once("refresh", job)
