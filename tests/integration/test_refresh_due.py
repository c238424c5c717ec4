"""`fbs.refresh_due`: solutions without a schedule of their own, refreshed one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from fbs_worker.client.in_process import run_in_process
from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.jobs.app import make_app
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.programs import Program
from fbs_worker.scheduling.entries import EntryStore
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.service import set_schedule
from tests.conftest import MakeSettings
from tests.support.made_solutions import MadeSolutions, run
from tests.support.solutions import inline


@pytest.fixture
def made(settings: MakeSettings, postgres: EmbeddedPostgres) -> Iterator[MadeSolutions]:
    """One that is due, one that is not, one with a schedule of its own, one that is being set up."""
    with closing(MadeSolutions(settings(fbs_refresh_every="1d"), postgres)) as solutions:
        for name in ("due", "fresh", "own", "making"):
            solutions.solution(name, business=f"{name}_")
        set_schedule(solutions.settings, "own", Schedule.parse(every="1h"))
        run(solutions.home, "UPDATE fbs_solution_schemas SET updated_at = NOW() AT TIME ZONE 'UTC' - interval '3 days'")
        run(
            solutions.home,
            "UPDATE fbs_solution_schemas SET updated_at = NOW() AT TIME ZONE 'UTC' WHERE solution_name = 'fresh'",
        )
        run(solutions.home, "UPDATE fbs_solution_schemas SET is_active = FALSE WHERE solution_name = 'making'")
        yield solutions


def test_those_that_are_due_are_enqueued_once(made: MadeSolutions) -> None:
    settings = made.settings
    with EntryStore(settings.fbs_redis_url) as store:
        store.record_refreshed("missing", datetime.now(tz=UTC))
        result = run_in_process("fbs.refresh_due", {}, settings=settings)
        assert (result["every"], list(result["enqueued"]), result["solutions"]) == ("1d", ["due"], 2)
        assert set(store.refreshed()) == {"due"}
    with JobStore(settings.fbs_redis_url, ttl=60) as jobs:
        (job,) = jobs.list()
        assert (job.id, job.action, job.solution) == (result["enqueued"]["due"], "refresh", "due")
    assert run_in_process("fbs.refresh_due", {"every": "1d"}, settings=settings)["enqueued"] == {}


def test_any_celery_application_may_send_it(worker: Program) -> None:
    sent = make_app(worker.settings).send_task("fbs.refresh_due", kwargs={"every": "366d"})
    assert sent.get(timeout=30)["enqueued"] == {}


def test_invalid_intervals_are_rejected(settings: MakeSettings) -> None:
    with pytest.raises(SettingsError, match="No refresh interval is set") as caught:
        inline("refresh_due", {}, settings())
    assert "FBS_REFRESH_EVERY" in caught.value.hint
    for every in ("5 apples", 6, ["6h"]):
        with pytest.raises(UsageError):
            inline("refresh_due", {"every": every}, settings())
