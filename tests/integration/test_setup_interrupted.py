"""The job `fbs.setup` cut off at any point and run again, and several of them at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from fbs_worker.client.client import Client
from fbs_worker.core.advisory_locks import solution_lock
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, ForeignTableError, JobCancelled, SolutionConflict
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.model import JobState
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from tests.conftest import StartWorker
from tests.support.servers import fresh_database
from tests.support.solutions import (
    Steps,
    config_of,
    contents,
    die,
    die_at_registry_write,
    entries,
    killed,
    set_up,
    tables_of,
)

pytestmark = pytest.mark.faults


# ------------------------------------------------------------------------------------------------- cut off and repeated

WHOLE: dict[str, Any] = {"refresh_discoveries": True, "mirror": ["hr.job"]}
STEPS = 9


@pytest.fixture
def expected(made: Settings, database: DatabaseConfig, postgres: EmbeddedPostgres) -> Callable[[DatabaseConfig], Any]:
    """What home and target hold after a set-up that nothing disturbed, made in a database of its own."""

    def compare(target: DatabaseConfig) -> Any:
        with fresh_database(postgres) as home, fresh_database(postgres) as undisturbed:
            settings = made.model_copy(
                update={"fbs_database_url": made.fbs_database_url.replace(database.name, home.name)}
            )
            set_up(config_of(undisturbed, **WHOLE), settings)
            state = str((contents(home), contents(undisturbed)))
            return state.replace(undisturbed.name, target.name)

    return compare


@pytest.mark.parametrize("error", [JobCancelled("Enough."), KeyboardInterrupt()], ids=["cancelled", "interrupted"])
def test_an_end_at_any_step_leaves_nothing_and_the_next_run_makes_all(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig, expected: Any, error: BaseException
) -> None:
    def end() -> None:
        raise error

    config = config_of(target, **WHOLE)
    for at in range(STEPS):
        with pytest.raises(type(error)):
            set_up(config, made, Steps(end, at=at))
        assert tables_of(target) == [], at
        assert entries(database) == {}, at
    steps = Steps(end, at=STEPS)
    set_up(config, made, steps)
    assert len(steps.names) == STEPS, steps.names
    assert str((contents(database), contents(target))) == expected(target)


@pytest.mark.faults
@pytest.mark.parametrize("at", [5, STEPS - 1])
def test_a_worker_killed_within_leaves_nothing_half_made(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig, expected: Any, at: int
) -> None:
    config = config_of(target, **WHOLE)
    assert killed(lambda: set_up(config, made, Steps(die, at=at)))
    assert tables_of(target) == []
    set_up(config, made)
    assert str((contents(database), contents(target))) == expected(target)


@pytest.mark.faults
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_worker_killed_between_the_databases_is_visible_and_repaired(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig, expected: Any, number: int, after: bool
) -> None:
    config = config_of(target, **WHOLE)
    assert die_at_registry_write("fbs.setup", config, made, number=number, after=after)
    complete = tables_of(target) != []
    assert complete == (number == 2)  # the first write comes before the tables, the second after them
    if number == 2 or after:
        assert entries(database) == {"shop": number == 2 and after}
    else:
        assert entries(database) == {}
    set_up(config, made)
    assert str((contents(database), contents(target))) == expected(target)


def test_a_failed_second_run_leaves_an_active_solution_active(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    config = config_of(target)
    set_up(config, made)
    before = contents(database), contents(target)
    with pytest.raises(JobCancelled):
        set_up(config, made, Steps(_cancel, at=8), refresh_discoveries=True, mirror=["hr.job"])
    assert (contents(database), contents(target)) == before


def _cancel() -> None:
    raise JobCancelled("Enough.")


# --------------------------------------------------------------------------------------------------------- one at a time


def test_a_set_up_waits_for_the_lock_and_can_be_cancelled(made: Settings, target: DatabaseConfig) -> None:
    class Waiting(Steps):
        def advance(self, units: int = 1, *, message: str = "") -> None:
            raise JobCancelled("Enough.")

    steps = Waiting()
    with (
        closing(connect(target, application_name="fbs-worker refresh shop")) as holder,
        solution_lock(holder, "shop", on_wait=lambda _: None, check_cancelled=lambda: None),
        pytest.raises(JobCancelled),
    ):
        set_up(config_of(target), made, steps)
    assert steps.names == ["connect", "wait"]
    assert steps.messages[1].startswith("waiting for fbs-worker refresh shop (process ")


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Do things at the same time; what they return or raise."""
    gate = threading.Barrier(len(jobs))
    results: list[Any] = [None] * len(jobs)

    def do(number: int, job: Callable[[], Any]) -> None:
        gate.wait()
        try:
            results[number] = job()
        except FBSError as exc:
            results[number] = exc

    threads = [threading.Thread(target=do, args=given) for given in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_at_once_are_one_after_the_other(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    results = together(*[lambda: set_up(config_of(target), made)] * 2)
    assert sorted(result["changed"] for result in results) == [False, True]
    assert entries(database) == {"shop": True}


def test_of_two_concurrent_set_ups_of_one_name_one_is_rejected(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig, other: DatabaseConfig
) -> None:
    results = together(lambda: set_up(config_of(target), made), lambda: set_up(config_of(other), made))
    refused = [isinstance(result, SolutionConflict) for result in results]
    assert sorted(refused) == [False, True], results
    kept, empty = (target, other) if refused[1] else (other, target)
    assert entries(database) == entries(kept) == {"shop": True}
    assert tables_of(empty) == []


def test_of_two_concurrent_set_ups_of_one_table_one_is_rejected(made: Settings, target: DatabaseConfig) -> None:
    results = together(
        lambda: set_up(config_of(target, "a"), made),
        lambda: set_up(config_of(target, "b"), made, table_prefix="b_"),
    )
    refused = [isinstance(result, SolutionConflict | ForeignTableError) for result in results]
    assert sorted(refused) == [False, True], results


def test_a_waiting_job_reports_the_holder_of_the_lock_and_can_be_cancelled(
    made: Settings, target: DatabaseConfig, start_worker: StartWorker
) -> None:
    start_worker(made)
    with (
        closing(connect(target, application_name="fbs-worker migrate shop")) as holder,
        solution_lock(holder, "shop", on_wait=lambda _: None, check_cancelled=lambda: None),
        Client(settings=made) as client,
    ):
        job = client.setup(config_of(target))
        for event in job.follow():
            if (event.kind, event.step) == ("step", "wait"):
                assert event.message.startswith("waiting for fbs-worker migrate shop (process ")
                job.cancel()
        assert job.status().state is JobState.CANCELLED
    assert tables_of(target) == []
