"""What is taken away is kept: values, whole tables, and what was written while a copy was made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from psycopg2.errors import LockNotAvailable

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError
from fbs_worker.core.postgres import connect
from fbs_worker.migration.apply import archiver
from fbs_worker.migration.apply.lock_retry import LockPolicy
from fbs_worker.migration.model.archive import Archive, list_archives
from fbs_worker.migration.model.plan import ArchiveTarget, Lock, Step
from tests.support.migrating import PREFIX, SOLUTION, migrate, plan_of, record_of, step
from tests.support.solutions import rows, run, tables_of

KEEP_NOTE = ArchiveTarget(table="r_tenant", column="note", archive_table="fbs_retired_r_tenant_note")
DROP_NOTE = step('ALTER TABLE "r_tenant" DROP COLUMN "note"', kind="drop_column", archive=KEEP_NOTE)
DROP_OLD = step(
    'DROP TABLE "r_old"', "r_old", archive=ArchiveTarget(table="r_old", column=None, archive_table="fbs_retired_r_old")
)
AHEAD = LockPolicy(precopy_above=0)
"""Even a small table's values are copied before it is locked."""


def kept(database: DatabaseConfig) -> list[Archive]:
    with closing(connect(database)) as connection, connection, connection.cursor() as cursor:
        return list_archives(cursor, PREFIX, solution=SOLUTION)


@pytest.mark.parametrize("policy", [LockPolicy(), AHEAD])
def test_values_of_a_column(filled: DatabaseConfig, policy: LockPolicy) -> None:
    run(filled, "UPDATE r_tenant SET note = NULL WHERE id > 100")
    migrate(filled, plan_of(DROP_NOTE), policy=policy)
    assert rows(filled, "SELECT count(*), min(note), min(id), max(id) FROM fbs_retired_r_tenant_note") == [
        (100, "note 1", 1, 100)
    ]
    (found,) = kept(filled)
    assert (found.label, found.key, found.type, found.complete) == ("r_tenant.note", ("id",), "text", True)
    assert record_of(filled)[0].facts["kept"] == "fbs_retired_r_tenant_note"


def test_rows_written_during_the_copy_are_archived(filled: DatabaseConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the copy and the lock rows come, change, lose their value and go; some writers began before it."""
    writer = connect(filled)
    with writer.cursor() as cursor:
        cursor.execute("UPDATE r_tenant SET note = 'from before' WHERE id = 1")
    precopy_column = archiver.precopy_column

    def copy_then_write(*given: Any) -> object:
        copied = precopy_column(*given)
        with writer, writer.cursor() as cursor:  # its transaction is older than the copy, and ends after it
            cursor.execute("UPDATE r_tenant SET note = 'from before, too' WHERE id = 2")
        run(
            filled,
            "UPDATE r_tenant SET note = 'changed' WHERE id = 3",
            "UPDATE r_tenant SET note = NULL WHERE id = 4",
            "DELETE FROM r_lease WHERE tenant_id = 5",
            "DELETE FROM r_old WHERE tenant_id = 5",
            "DELETE FROM r_tenant WHERE id = 5",
            "INSERT INTO r_tenant (id, name, note) VALUES (1000, 'n', 'new'), (1001, 'n', NULL)",
            "UPDATE r_tenant SET name = 'other' WHERE id = 6",
        )
        return copied

    monkeypatch.setattr(archiver, "precopy_column", copy_then_write)
    migrate(filled, plan_of(DROP_NOTE), policy=AHEAD)
    writer.close()
    found = dict(rows(filled, "SELECT id, note FROM fbs_retired_r_tenant_note"))
    there = {number for (number,) in rows(filled, "SELECT id FROM r_tenant")}
    expected = {number: f"note {number}" for number in range(1, 121)}
    expected |= {1: "from before", 2: "from before, too", 3: "changed", 1000: "new"}
    del expected[4], expected[5]
    assert {number: note for number, note in found.items() if note is not None and number in there} == expected


@pytest.mark.parametrize("policy", [LockPolicy(), AHEAD])
def test_writes_are_blocked_between_archiving_and_deleting(
    filled: DatabaseConfig, monkeypatch: pytest.MonkeyPatch, policy: LockPolicy
) -> None:
    refused: list[str] = []
    archive_column = archiver.archive_column

    def keep_then_write(*given: Any) -> object:
        found = archive_column(*given)
        with pytest.raises(LockNotAvailable) as raised:
            run(filled, "SET lock_timeout = '50ms'", "UPDATE r_tenant SET note = 'too late' WHERE id = 1")
        refused.append(str(raised.value))
        return found

    monkeypatch.setattr(archiver, "archive_column", keep_then_write)
    migrate(filled, plan_of(replace(DROP_NOTE, lock=Lock.NONE)), policy=policy)
    assert len(refused) == 1


def test_an_incomplete_archive_is_dropped(filled: DatabaseConfig) -> None:
    fails = step("SELECT 1 / 0")
    with pytest.raises(DatabaseError):
        migrate(filled, plan_of(DROP_NOTE, fails), policy=AHEAD)
    assert "fbs_retired_r_tenant_note" not in tables_of(filled)
    with closing(connect(filled)) as connection, connection, connection.cursor() as cursor:
        assert archiver.precopy_column(cursor, KEEP_NOTE, SOLUTION)  # as one that was killed leaves it
        archiver.drop_incomplete(cursor, PREFIX, "another solution")
    assert [found.complete for found in kept(filled)] == [False]
    migrate(filled, plan_of(DROP_NOTE))
    assert [found.complete for found in kept(filled)] == [True]


@contextmanager
def dropped_twice(filled: DatabaseConfig, again: str, plan: Step) -> Iterator[None]:
    migrate(filled, plan_of(plan))
    run(filled, *again.split(";"))
    yield
    migrate(filled, plan_of(plan))


def test_earlier_archives_stay(filled: DatabaseConfig) -> None:
    with dropped_twice(filled, "ALTER TABLE r_tenant ADD COLUMN note INTEGER DEFAULT 7", DROP_NOTE):
        pass
    assert rows(filled, "SELECT DISTINCT note FROM fbs_retired_r_tenant_note_2") == [(7,)]
    assert rows(filled, "SELECT count(DISTINCT note) FROM fbs_retired_r_tenant_note") == [(120,)]
    with dropped_twice(filled, "CREATE TABLE r_old (id SERIAL PRIMARY KEY, said TEXT UNIQUE)", DROP_OLD):
        assert rows(filled, "SELECT pg_get_serial_sequence('r_old', 'id')") == [("public.r_old_id_seq",)]
    assert [found.name for found in kept(filled)] == [
        "fbs_retired_r_old", "fbs_retired_r_old_2", "fbs_retired_r_tenant_note", "fbs_retired_r_tenant_note_2"
    ]  # fmt: skip


def test_a_table_is_archived_unchanged(filled: DatabaseConfig) -> None:
    run(filled, "CREATE UNIQUE INDEX a_name_that_is_needed_again ON r_old (said)")
    migrate(filled, plan_of(DROP_OLD))
    assert rows(filled, "SELECT count(*), min(said) FROM fbs_retired_r_old") == [(30, "s1")]
    run(
        filled,
        "CREATE TABLE r_old (id SERIAL PRIMARY KEY, said TEXT UNIQUE)",
        "CREATE UNIQUE INDEX a_name_that_is_needed_again ON r_old (said)",
        "DELETE FROM r_tenant WHERE id = 1",  # nothing that was put by refers to it
    )
    (row,) = record_of(filled)
    assert row.statement.splitlines()[:2] == [
        'ALTER TABLE "r_old" DROP CONSTRAINT "r_old_tenant_id_fkey";',
        'ALTER TABLE "r_old" RENAME TO "fbs_retired_r_old";',
    ]


@pytest.mark.parametrize("policy", [LockPolicy(), AHEAD])
def test_a_narrowed_column(filled: DatabaseConfig, policy: LockPolicy) -> None:
    """Only values that did not stay the same are kept, with what they became."""
    narrow = step(
        'ALTER TABLE "r_tenant" ALTER COLUMN "code" TYPE varchar(2) USING left("code", 2)',
        archive=ArchiveTarget(table="r_tenant", column="code", archive_table="fbs_retired_r_tenant_code"),
    )
    migrate(filled, plan_of(narrow), policy=policy)
    assert rows(filled, "SELECT count(*), min(id) FROM fbs_retired_r_tenant_code") == [(111, 10)]
    assert rows(filled, "SELECT code, code_became FROM fbs_retired_r_tenant_code WHERE id = 77") == [("c77", "c7")]
    assert kept(filled)[0].became == "code_became"


def test_without_a_primary_key_whole_rows_are_archived(filled: DatabaseConfig) -> None:
    run(filled, "ALTER TABLE r_old DROP CONSTRAINT r_old_pkey")
    drop = step(
        'ALTER TABLE "r_old" DROP COLUMN "said"',
        "r_old",
        archive=ArchiveTarget(table="r_old", column="said", archive_table="fbs_retired_x"),
    )
    migrate(filled, plan_of(drop), policy=AHEAD)
    assert rows(filled, "SELECT * FROM fbs_retired_x ORDER BY id LIMIT 1") == [(1, 1, "s1")]
    assert kept(filled)[0].key == ()


def test_a_key_of_two_columns(filled: DatabaseConfig) -> None:
    run(
        filled,
        'CREATE TABLE r_link (from_id INTEGER, to_id INTEGER, "its" JSON, PRIMARY KEY (to_id, from_id))',
        """INSERT INTO r_link VALUES (1, 2, '{"a": 1}'), (2, 1, '[]')""",
    )
    drop = step(
        'ALTER TABLE r_link DROP COLUMN "its"',
        "r_link",
        archive=ArchiveTarget(table="r_link", column="its", archive_table="fbs_retired_x"),
    )
    migrate(filled, plan_of(drop))
    assert rows(filled, "SELECT to_id, from_id, its::text FROM fbs_retired_x ORDER BY 1") == [
        (1, 2, "[]"), (2, 1, '{"a": 1}')
    ]  # fmt: skip


def test_comments_of_other_applications_are_ignored(filled: DatabaseConfig) -> None:
    run(
        filled,
        "CREATE TABLE fbs_retired_mine (id INTEGER)",
        """COMMENT ON TABLE fbs_retired_mine IS '{"fbs": "retired", "but": "not so"}'""",
        "CREATE TABLE fbs_retired_mine_too (id INTEGER)",
    )
    assert kept(filled) == []
    migrate(filled, plan_of(DROP_NOTE))
    assert [found.name for found in kept(filled)] == ["fbs_retired_r_tenant_note"]
