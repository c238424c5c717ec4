"""A migration that is cut off at some statement: run again, it ends as if nothing had happened."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseUnreachable, RefusedError
from fbs_worker.core.postgres import connect
from fbs_worker.migration.apply.executor import apply
from fbs_worker.migration.undo import plan_undo
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from tests.support.migrating import (
    EVERY_HAZARD,
    PREFIX,
    QUICK,
    SOLUTION,
    TABLES,
    WISHES,
    all_but_record,
    cut_off_at,
    migrate,
    migrate_over,
    record_of,
)
from tests.support.servers import create_database
from tests.support.solutions import contents, die, killed, rows, run

pytestmark = pytest.mark.faults

DROPPED = 'DROP TABLE "r_old"'
"""Is written down as the statements that put the table by."""

ALL = range(400)
"""More statements than there are: the points end where a migration comes to its end."""


class Sample:
    """A database before the migration, to copy, and what it is to be afterwards."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres
        self._before = f"before_{secrets.token_hex(6)}"
        create_database(postgres, self._before)
        run(postgres.config(self._before), *TABLES)
        with self.fresh() as database:
            migrate(database)
            self.expected = all_but_record(database)

    @contextmanager
    def fresh(self) -> Iterator[DatabaseConfig]:
        name = f"cut_off_{secrets.token_hex(6)}"
        create_database(self._postgres, name, template=self._before)
        try:
            yield self._postgres.config(name)
        finally:
            self._postgres.drop_database(name)

    def close(self) -> None:
        self._postgres.drop_database(self._before)


@pytest.fixture(scope="module")
def sample(postgres: EmbeddedPostgres) -> Iterator[Sample]:
    sample = Sample(postgres)
    try:
        yield sample
    finally:
        sample.close()


def finished(database: DatabaseConfig, sample: Sample) -> None:
    """Run it again, and see that all is as it should be."""
    migrate(database)
    assert all_but_record(database) == sample.expected
    written = record_of(database)
    assert {row.statement for row in written} >= {wish.step.sql for wish in WISHES} - {DROPPED}
    assert {row.status for row in written} == {"executed"}
    assert len({row.run for row in written}) == 1
    assert rows(database, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


def kill(database: DatabaseConfig, point: int) -> bool:
    return killed(lambda: migrate_over(database, cut_off_at(point, die)))


def lose(database: DatabaseConfig, point: int) -> bool:
    """The server ends the session just before a statement."""

    def strike() -> None:
        run(
            database,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'the-migration'",
        )

    try:
        migrate_over(database, cut_off_at(point, strike))
    except DatabaseUnreachable:
        return True
    return False


def each_point(sample: Sample, points: range, cut_off: Callable[[DatabaseConfig, int], bool]) -> None:
    for point in points:
        with sample.fresh() as database:
            if not cut_off(database, point):
                assert point > 60
                return
            finished(database, sample)
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("cut_off", [kill, lose])
def test_cut_off_at_every_statement(sample: Sample, cut_off: Callable[[DatabaseConfig, int], bool]) -> None:
    each_point(sample, ALL, cut_off)


def test_cut_off_again_and_again(sample: Sample) -> None:
    """Each run comes a little further than the one before, if at all."""
    with sample.fresh() as database:
        point = 20
        while kill(database, point):
            point += 3
        finished(database, sample)


# the same for an undo


def undo(database: DatabaseConfig, kind: type[Cursor] | None = None) -> None:
    with closing(connect(database, application_name="the-migration")) as connection:
        planned = plan_undo(connection, solution=SOLUTION, table_prefix=PREFIX)
        if kind is not None:
            connection.cursor_factory = kind
        given = {"table_prefix": PREFIX, "allowed": EVERY_HAZARD, "policy": QUICK}
        apply(connection, planned.plan, reversals=planned.reversals, **given)  # type: ignore[arg-type]


def undone(sample: Sample, points: Iterable[int]) -> None:
    for point in points:
        with sample.fresh() as database:
            before = tables_alone(database)
            migrate(database)
            if not killed(lambda: undo(database, cut_off_at(point, die))):  # noqa: B023 -- it runs at once
                assert point > 60
                return
            with suppress(RefusedError):  # finished, but not reported
                undo(database)
            assert tables_alone(database) == before
            assert {row.status for row in record_of(database)} == {"executed"}
            with pytest.raises(RefusedError, match="no migration to undo"):
                undo(database)
    raise AssertionError("it never came to its end")


def tables_alone(database: DatabaseConfig) -> Any:
    """Tables with columns in any order, and their rows; what keeps nothing is left out."""
    found = contents(database)
    return {
        name: (sorted(map(str, shape[1])), shape[2], found["rows"].get(name))
        for name, shape in found["shape"].items()
        if name.startswith("r_")
    }


def test_an_undo_is_cut_off_at_every_statement(sample: Sample) -> None:
    undone(sample, ALL)
