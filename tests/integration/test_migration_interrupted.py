"""A migration that is cut off at some statement: run again, it ends as if nothing had happened."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseUnreachable
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from tests.support.migrating import (
    TABLES,
    WISHES,
    all_but_record,
    cut_off_at,
    migrate,
    migrate_over,
    record_of,
)
from tests.support.servers import create_database
from tests.support.solutions import die, killed, rows, run

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
