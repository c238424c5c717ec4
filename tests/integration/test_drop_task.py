"""The job `fbs.drop`: it takes away what the solution owns, nothing else, and all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    DatabaseUnreachable,
    JobCancelled,
    RefusedError,
    SolutionNotFound,
    TablesNotEmpty,
    UsageError,
)
from fbs_worker.core.postgres import connect
from fbs_worker.core.progress import NullProgress
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.schema.inspector import LOCK_TABLES
from fbs_worker.solutions.drop import drop as drop_solution
from fbs_worker.solutions.requests import DropRequest
from tests.support.servers import fresh_database
from tests.support.solutions import (
    Steps,
    config_of,
    contents,
    die,
    die_at_registry_write,
    entries,
    inline,
    killed,
    rows,
    run,
    tables_of,
    writes,
)

HR = ["hr_department", "hr_employee"]


def set_up(target: DatabaseConfig, settings: Settings, name: str = "shop", **more: Any) -> dict[str, Any]:
    return inline("setup", config_of(target, name, **{"refresh_discoveries": False, **more}), settings)


def drop(settings: Settings, progress: Steps | None = None, *, name: str = "shop", **more: Any) -> dict[str, Any]:
    return inline("drop", {"solution_name": name, **more}, settings, progress)


def cancel() -> None:
    raise JobCancelled("Enough.")


def test_everything_goes_and_nothing_of_others(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    run(
        target,
        "CREATE TABLE mine (id integer PRIMARY KEY)",
        "INSERT INTO mine VALUES (1)",
        "CREATE TABLE hr_mine (id integer)",
        "CREATE VIEW fbs_mine AS SELECT * FROM mine",
    )
    before = contents(target), writes(target)
    setup = set_up(target, made, refresh_discoveries=True, mirror=["hr.job", "res.users"])
    result = drop(made)
    assert sorted(result["dropped"]) == sorted(setup["created"])
    assert (result["kept"], result["dry_run"]) == ([], False)
    assert set(result["rows"].values()) == {0}
    assert (contents(target), writes(target)) == before
    assert entries(database) == {}
    with pytest.raises(SolutionNotFound):
        drop(made)


@pytest.mark.parametrize(("earlier_step", "done"), [(None, False), ("", False), ("connect", False), ("drop", True)])
def test_an_earlier_attempt_has_dropped_it(made: Settings, earlier_step: str | None, done: bool) -> None:
    """A job that runs again is done if its earlier attempt had found the solution that is gone now."""
    request = DropRequest(solution_name="shop")
    given: dict[str, Any] = {"settings": made, "progress": NullProgress(), "earlier_step": earlier_step}
    if done:
        assert drop_solution(request, **given)["dropped"] == []
    else:
        with pytest.raises(SolutionNotFound):
            drop_solution(request, **given)


def test_a_dry_run_lists_the_same_and_changes_nothing(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    set_up(target, made, refresh_discoveries=True)
    run(target, "INSERT INTO hr_department (name) VALUES ('Sales')")
    before = writes(database), writes(target)
    report = drop(made, dry_run=True)
    assert report["dry_run"]
    assert report["rows"] == {"hr_department": 1, "hr_employee": 0}
    assert (writes(database), writes(target)) == before
    assert drop(made, with_data=True)["dropped"] == report["dropped"]


def test_rows_are_in_the_way_until_one_says_so(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    set_up(target, made)
    run(target, "INSERT INTO hr_department (name) VALUES ('Sales'), ('Service')")
    before = writes(database), writes(target)
    with pytest.raises(TablesNotEmpty, match=r"hr_department \(2\)") as caught:
        drop(made)
    assert "--with-data" in caught.value.hint
    assert caught.value.context["rows"] == {"hr_department": 2}
    assert (writes(database), writes(target)) == before
    assert drop(made, with_data=True)["rows"] == {"hr_department": 2, "hr_employee": 0}
    assert tables_of(target) == []


def test_a_solution_that_is_just_being_made_keeps_what_it_shares(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    set_up(target, made)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with closing(connect(target, application_name="the-maker")) as maker, ThreadPoolExecutor() as pool:
        with maker.cursor() as cursor:  # what a set-up of another solution of that prefix has done before its commit
            cursor.execute(LOCK_TABLES)
            cursor.execute(
                "INSERT INTO fbs_solution_schemas (solution_name, domain, database_name, database_user,"
                " database_password, business_prefix, schema_definition)"
                " SELECT 'another', 'generic', database_name, database_user, '', 'g_', '{\"own\": true}'"
                " FROM fbs_solution_schemas"
            )
        dropping = pool.submit(drop, made)
        deadline = time.monotonic() + 30
        while rows(target, waiting) != [(1,)]:
            assert time.monotonic() < deadline, "the drop waits for no lock"
            assert not dropping.done(), dropping.result()
        maker.commit()
        assert sorted(dropping.result(30)["dropped"]) == HR
    assert entries(target) == {"another": True}


def test_concurrent_writes_are_waited_for(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    set_up(target, made)
    with closing(connect(target, application_name="the-writer")) as writer:

        def write() -> None:  # after the first look, before the tables are locked
            with writer, writer.cursor() as cursor:
                cursor.execute("INSERT INTO hr_department (name) VALUES ('Late')")

        with pytest.raises(TablesNotEmpty):
            drop(made, Steps(write, at=1))
    assert rows(target, "SELECT name FROM hr_department") == [("Late",)]
    assert entries(database) == entries(target) == {"shop": True}


def test_what_others_built_on_a_table_keeps_it(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    set_up(target, made)
    run(target, "CREATE TABLE badge (id integer, employee_id integer REFERENCES hr_employee)")
    before = contents(database), contents(target)
    with pytest.raises(RefusedError, match="badge"):
        drop(made)
    assert (contents(database), contents(target)) == before


def test_the_system_tables_go_with_the_last_solution(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    for name, domain in (("a", "hr"), ("b", "hr"), ("c", "rental")):
        set_up(target, made, name, domain=domain, business_prefix=f"{name}_", refresh_discoveries=True)
    count = "SELECT count(*) FROM fbs_discoveries WHERE domain = 'hr'"
    discovered = rows(target, count)
    first = drop(made, name="a")
    assert first["dropped"] == ["a_department", "a_employee"]
    assert "fbs_discoveries" in first["kept"]
    assert rows(target, count) == discovered  # they are b's, too
    second = drop(made, name="b")
    assert second["dropped"] == ["b_department", "b_employee"]
    for table in ("discoveries", "snapshots", "workflow_definitions", "bi_dashboards"):
        assert rows(target, f"SELECT DISTINCT domain FROM fbs_{table}") == [("rental",)]
    assert entries(database) == entries(target) == {"c": True}
    drop(made, name="c")
    assert tables_of(target) == []


def test_another_prefix_is_another_matter(made: Settings, target: DatabaseConfig) -> None:
    set_up(target, made, "a", business_prefix="a_")
    set_up(target, made, "b", business_prefix="b_", table_prefix="b_")
    drop(made, name="b")
    assert all(name.startswith(("a_", "fbs_")) for name in tables_of(target))
    drop(made, name="a")
    assert tables_of(target) == []


def test_discoveries_without_a_solution_stay(made: Settings, target: DatabaseConfig) -> None:
    set_up(target, made, refresh_discoveries=True)
    place = config_of(target)["database_config"]
    inline("discover", {"domain": "rental", "database_config": place}, made)
    result = drop(made)
    assert result["dropped"] == HR
    assert rows(target, "SELECT DISTINCT domain FROM fbs_discoveries") == [("rental",)]
    assert rows(target, "SELECT count(*) FROM fbs_solution_schemas") == [(0,)]


def test_the_registry_is_kept(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    set_up(target, made, "elsewhere")
    set_up(database, made)
    result = drop(made)
    assert result["kept"] == ["fbs_solution_schemas"]
    assert tables_of(database) == ["fbs_solution_schemas"]
    assert entries(database) == {"elsewhere": True}


def test_a_database_that_is_gone_took_its_solution_along(
    made: Settings, database: DatabaseConfig, postgres: EmbeddedPostgres
) -> None:
    with fresh_database(postgres) as gone:
        set_up(gone, made)
    assert drop(made, dry_run=True)["dropped"] == []
    assert entries(database) == {"shop": True}
    assert drop(made)["dropped"] == []
    assert entries(database) == {}


def test_a_database_that_is_down_is_not_gone(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    set_up(target, made)
    run(
        database,
        "UPDATE fbs_solution_schemas SET schema_definition = jsonb_set(schema_definition, '{server,port}', '1')",
    )
    with pytest.raises(DatabaseUnreachable):
        drop(made)
    assert entries(database) == {"shop": True}


def test_without_its_row_no_table_is_known_to_be_the_solution_s(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    set_up(target, made)
    run(target, "DELETE FROM fbs_solution_schemas")
    result = drop(made)
    assert (result["dropped"], result["kept"]) == ([], HR)
    assert set(HR) <= set(tables_of(target))
    assert entries(database) == {}


def test_invalid_parameters_are_rejected(made: Settings) -> None:
    with pytest.raises(UsageError, match="surprise is not known"):
        drop(made, surprise=1)


# ------------------------------------------------------------------------------------------------- cut off and repeated


@pytest.mark.parametrize("at", [0, 1])
def test_an_end_at_any_step_changes_nothing(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig, at: int
) -> None:
    set_up(target, made)
    before = contents(database), contents(target)
    with pytest.raises(JobCancelled):
        drop(made, Steps(cancel, at=at))
    assert killed(lambda: drop(made, Steps(die, at=at)))
    assert (contents(database), contents(target)) == before
    steps = Steps()
    drop(made, steps)
    assert steps.names == ["connect", "drop"]
    assert tables_of(target) == []


@pytest.mark.faults
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("again", [drop, set_up], ids=["drop", "setup"])
def test_a_worker_killed_between_the_databases_shows_and_is_mended(
    made: Settings,
    database: DatabaseConfig,
    target: DatabaseConfig,
    number: int,
    after: bool,
    again: Callable[..., Any],
) -> None:
    set_up(target, made)
    whole = contents(database), contents(target)
    assert die_at_registry_write("fbs.drop", {"solution_name": "shop"}, made, number=number, after=after)
    assert (tables_of(target) == []) == (number == 2)  # the first write comes before they go, the second after that
    left = {(1, False): {"shop": True}, (1, True): {"shop": False}, (2, False): {"shop": False}}
    assert entries(database) == left.get((number, after), {})
    if again is set_up:
        set_up(target, made)
        assert (contents(database), contents(target)) == whole
    elif (number, after) != (2, True):  # else it is done
        drop(made)
        assert tables_of(target) == []
        assert entries(database) == {}


def test_an_unfinished_set_up_is_taken_away(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    assert die_at_registry_write("fbs.setup", config_of(target, refresh_discoveries=False), made, number=1, after=True)
    assert entries(database) == {"shop": False}
    assert drop(made)["dropped"] == []
    assert entries(database) == {}
