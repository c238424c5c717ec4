"""`fbs.refresh_due`: the refreshes of solutions without a schedule of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from fbs_worker.client.in_process import run_in_process
from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.jobs.app import make_app
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.programs import Program
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.service import set_schedule
from tests.conftest import MakeSettings
from tests.integration.test_schedules import move_back
from tests.support.made_solutions import MadeSolutions, run
from tests.support.solutions import inline


@pytest.fixture
def made(settings: MakeSettings, postgres: EmbeddedPostgres) -> Iterator[MadeSolutions]:
    """One that is due, one that is not, one with a schedule of its own, one whose set-up is not complete."""
    with closing(MadeSolutions(settings(fbs_refresh_every="1d"), postgres)) as solutions:
        for name in ("due", "fresh", "own", "incomplete"):
            solutions.solution(name, business=f"{name}_")
        set_schedule(solutions.settings, "own", Schedule.parse(every="1h"))
        for name in ("due", "own", "incomplete"):
            move_back(solutions.home, name, days=3)
        run(solutions.home, "UPDATE fbs_solution_schemas SET is_active = FALSE WHERE solution_name = 'incomplete'")
        yield solutions


def test_those_that_are_due_are_enqueued_once(made: MadeSolutions) -> None:
    settings = made.settings
    report = run_in_process("fbs.refresh_due", {}, settings=settings)
    assert (report["every"], list(report["enqueued"]), report["solutions"]) == ("1d", ["due"], 2)
    with JobStore(settings.fbs_redis_url, ttl=60) as jobs:
        (job,) = jobs.list()
        assert (job.id, job.action, job.solution) == (report["enqueued"]["due"], "refresh", "due")
    assert run_in_process("fbs.refresh_due", {"every": "1d"}, settings=settings)["enqueued"] == {}


def test_any_celery_application_may_send_it(worker: Program) -> None:
    sent = make_app(worker.settings).send_task("fbs.refresh_due", kwargs={"every": "366d"})
    assert sent.get(timeout=30)["enqueued"] == {}


def test_it_refuses_what_is_no_interval(settings: MakeSettings) -> None:
    with pytest.raises(SettingsError, match="not set") as caught:
        inline("refresh_due", {}, settings())
    assert "6h" in caught.value.hint
    for every in ("5 apples", 6, ["6h"]):
        with pytest.raises(UsageError):
            inline("refresh_due", {"every": every}, settings())
