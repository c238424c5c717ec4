"""The job `fbs.migrate` cut off at any point and run again with the same arguments, inline and by the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fbs_worker.client.client import Client
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError, FBSError, JobCancelled, RefusedError
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.status import solution_status
from tests.conftest import StartWorker
from tests.support.mirrored import TABLE, fill, migrate, odoo_changes, plan, set_up
from tests.support.servers import fresh_database
from tests.support.solutions import (
    Steps,
    contents,
    die,
    die_at_registry_write,
    entries,
    killed,
    rows,
    run,
    tables_of,
)

ALLOWED = ["DELETES_DATA", "POSSIBLE_RENAME"]
ASK: dict[str, Any] = {"allow": ALLOWED, "mirror": ["res.users"]}
"""A table that is made, a column that goes, one that becomes required, a foreign key on a table with rows."""


def change(target: DatabaseConfig) -> None:
    fill(target, 5)
    run(target, f"UPDATE {TABLE} SET description = 'some'")
    odoo_changes(target, name=None, description={"type": "html", "required": True}, x_code={"type": "char"})
    run(target, f"ALTER TABLE {TABLE} ADD COLUMN mine text")


@pytest.fixture
def shop(made: Settings, target: DatabaseConfig) -> tuple[DatabaseConfig, str]:
    """A solution whose tables are to change, and the plan."""
    set_up(target, made)
    change(target)
    return target, str(plan(made, **{**ASK, "allow": []})["fingerprint"])


def state_of(target: DatabaseConfig, home: DatabaseConfig) -> Any:
    """What counts, after a migration: its rows and what was kept are in different words from run to run."""
    found = contents(target)
    found["rows"] = {name: kept for name, kept in found["rows"].items() if "migrations" not in name}
    return str(found).replace(target.name, "target"), entries(home), entries(target)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What an undisturbed migration leads to, once it is known."""
    return {}


@pytest.fixture
def undisturbed(
    expected: dict[str, Any], made: Settings, database: DatabaseConfig, postgres: EmbeddedPostgres
) -> Callable[[], Any]:
    def find() -> Any:
        if not expected:
            with fresh_database(postgres) as home, fresh_database(postgres) as target:
                url = made.fbs_database_url.replace(database.name, home.name)
                settings = made.model_copy(update={"fbs_database_url": url})
                set_up(target, settings)
                change(target)
                steps = Steps()
                migrate(settings, steps, **ASK)
                expected.update(state=state_of(target, home), steps=len(steps.names))
        return expected["state"]

    return find


def check(
    made: Settings, database: DatabaseConfig, shop: tuple[DatabaseConfig, str], undisturbed: Callable[[], Any]
) -> None:
    target, fingerprint = shop
    migrate(made, fingerprint=fingerprint, **ASK)
    assert state_of(target, database) == undisturbed()
    assert solution_status(made, "shop")["overall_status"] == "active"
    assert plan(made)["steps"] == []
    assert {status for (status,) in rows(target, "SELECT status FROM fbs_schema_migrations")} == {"executed"}


@pytest.mark.faults
@pytest.mark.parametrize("at", [0, 1, 2])
def test_killed_at_a_step(
    made: Settings,
    database: DatabaseConfig,
    shop: tuple[DatabaseConfig, str],
    undisturbed: Callable[[], Any],
    at: int,
) -> None:
    request = {"fingerprint": shop[1], **ASK}
    assert killed(lambda: migrate(made, Steps(die, at=at), **request))
    check(made, database, shop, undisturbed)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("number", "after"),
    [(1, False), (1, True), (2, False), (2, True)],
)
def test_killed_at_a_write_to_the_registry(
    made: Settings,
    database: DatabaseConfig,
    shop: tuple[DatabaseConfig, str],
    undisturbed: Callable[[], Any],
    number: int,
    *,
    after: bool,
) -> None:
    request = {"solution_name": "shop", "fingerprint": shop[1], **ASK}
    assert die_at_registry_write("fbs.migrate", request, made, number=number, after=after)
    check(made, database, shop, undisturbed)


class Units(Steps):
    """Acts at the n-th progress report within the steps."""

    def __init__(self, act: Callable[[], None], *, unit: int) -> None:
        super().__init__()
        self._unit, self._strike = unit, act

    def advance(self, units: int = 1, *, message: str = "") -> None:
        self._unit -= 1
        if self._unit == 0:
            self._strike()


@pytest.mark.faults
@pytest.mark.parametrize("unit", [2, 3, 4])
def test_killed_between_statements(
    made: Settings,
    database: DatabaseConfig,
    shop: tuple[DatabaseConfig, str],
    undisturbed: Callable[[], Any],
    unit: int,
) -> None:
    request = {"fingerprint": shop[1], **ASK}
    assert killed(lambda: migrate(made, Units(die, unit=unit), **request))
    check(made, database, shop, undisturbed)


def test_after_a_cancellation_manifest_and_registry_match_the_tables(
    made: Settings, database: DatabaseConfig, shop: tuple[DatabaseConfig, str], undisturbed: Callable[[], Any]
) -> None:
    def enough() -> None:
        raise JobCancelled("Enough.")

    target, fingerprint = shop
    with pytest.raises(JobCancelled):
        migrate(made, Units(enough, unit=3), fingerprint=fingerprint, **ASK)
    assert "hr_res_users" in tables_of(target)
    assert solution_status(made, "shop")["overall_status"] == "active"
    for place in (database, target):
        ((names,),) = rows(place, "SELECT schema_definition -> 'tables' FROM fbs_solution_schemas")
        assert "hr_res_users" in names
    with pytest.raises(RefusedError, match="is stale"):  # the rest of another plan is not what was asked for
        migrate(made, fingerprint="0123456789abcdef", **ASK)
    check(made, database, shop, undisturbed)


def test_after_a_failed_statement_manifest_and_registry_match_the_tables(
    made: Settings, database: DatabaseConfig, shop: tuple[DatabaseConfig, str], undisturbed: Callable[[], Any]
) -> None:
    target, fingerprint = shop
    run(target, f"CREATE VIEW on_it AS SELECT name FROM {TABLE}")
    with pytest.raises(FBSError) as caught:
        migrate(made, fingerprint=fingerprint, **ASK)
    assert isinstance(caught.value, RefusedError | DatabaseError)
    assert entries(database) == entries(target) == {"shop": True}
    assert solution_status(made, "shop")["overall_status"] == "active"
    run(target, "DROP VIEW on_it")
    migrate(made, **ASK)
    assert state_of(target, database)[1:] == undisturbed()[1:]
    assert plan(made)["steps"] == []


@pytest.mark.faults
def test_a_killed_worker_s_migration_is_completed_by_another(
    made: Settings,
    database: DatabaseConfig,
    shop: tuple[DatabaseConfig, str],
    undisturbed: Callable[[], Any],
    start_worker: StartWorker,
) -> None:
    start_worker(made)
    with Client(settings=made) as client:
        planned = client.migrate("shop", plan_only=True, mirror=["res.users"]).wait(60)
        assert planned["fingerprint"] == shop[1]
        result = client.migrate("shop", fingerprint=shop[1], **ASK).wait(60)
        assert result["applied"]["executed"] == len(planned["steps"])
    check(made, database, shop, undisturbed)


def test_status_shows_an_interrupted_migration(made: Settings, shop: tuple[DatabaseConfig, str]) -> None:
    request = {"solution_name": "shop", "fingerprint": shop[1], **ASK}
    assert die_at_registry_write("fbs.migrate", request, made, number=1, after=True)
    status = solution_status(made, "shop")
    assert (status["overall_status"], "was interrupted" in status["reason"]) == ("drifted", True)
    assert "fbs migrate --solution-name shop" in status["hint"]
