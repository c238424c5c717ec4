"""The last migration is undone: what was there is there again, and nothing is lost on the way."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError, RefusedError
from fbs_worker.core.postgres import connect
from fbs_worker.migration.model.plan import ArchiveTarget, Hazard, Mode
from fbs_worker.migration.undo import Undo, plan_undo
from tests.support.migrating import (
    EVERY_HAZARD,
    PREFIX,
    SOLUTION,
    WISHES,
    migrate,
    plan_of,
    record_of,
    step,
)
from tests.support.solutions import contents, rows, run, tables_of

ADD_PHONE = WISHES[0].step
DROP_NOTE = WISHES[1].step
DROP_OLD = WISHES[10].step
NARROW_CODE = step(
    'ALTER TABLE "r_tenant" ALTER COLUMN "code" TYPE varchar(2) USING left("code", 2)',
    kind="retype_column",
    hazards=frozenset({Hazard.DELETES_DATA}),
    archive=ArchiveTarget(table="r_tenant", column="code", archive_table="fbs_retired_r_tenant__code"),
)


def planned(database: DatabaseConfig) -> Undo:
    with closing(connect(database)) as connection:
        return plan_undo(connection, solution=SOLUTION, table_prefix=PREFIX)


def undo(database: DatabaseConfig, *, allowed: Any = EVERY_HAZARD) -> Undo:
    found = planned(database)
    migrate(database, found.plan, reversals=found.reversals, allowed=allowed)
    return found


def everything(database: DatabaseConfig) -> Any:
    """Tables, whatever the order of their columns, and their rows."""
    found = contents(database)
    ours = [name for name in found["shape"] if name.startswith("r_")]
    shape = {name: (sorted(map(str, found["shape"][name][1])), found["shape"][name][2]) for name in ours}
    indexes = rows(
        database,
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'r\\_%%' ORDER BY indexname",
    )
    return shape, {name: found["rows"].get(name) for name in ours}, indexes


def retired(database: DatabaseConfig) -> list[str]:
    return [name for name in tables_of(database) if name.startswith("fbs_retired_")]


def test_everything_is_as_it_was(filled: DatabaseConfig) -> None:
    before = everything(filled)
    migrate(filled, before={"shape": {"r_tenant": "as it was"}, "tables": ["r_tenant"]})
    found = undo(filled)
    assert found.not_reverted == ()
    assert everything(filled) == before
    assert found.before == {"shape": {"r_tenant": "as it was"}, "tables": ["r_tenant"]}
    assert (found.plan.schema, found.plan.tables) == ({"r_tenant": "as it was"}, ("r_tenant",))
    assert {row.status for row in record_of(filled)} == {"executed"}
    assert retired(filled) == ["fbs_retired_r_tenant__state"]  # rows were given its default


def test_what_was_written_since_goes_only_when_that_is_allowed_and_is_kept(filled: DatabaseConfig) -> None:
    create = step('CREATE TABLE "r_new" (id SERIAL PRIMARY KEY)', "r_new", has_rows=False, undo='DROP TABLE "r_new"')
    migrate(filled, plan_of(ADD_PHONE, create))
    assert planned(filled).plan.unallowed_hazards(()) == frozenset()
    run(filled, "UPDATE r_tenant SET phone = '1' WHERE id = 7", "INSERT INTO r_new DEFAULT VALUES")
    with pytest.raises(RefusedError, match="DELETES_DATA"):
        undo(filled, allowed=())
    undo(filled)
    assert rows(filled, "SELECT * FROM fbs_retired_r_tenant__phone") == [(7, "1")]
    assert rows(filled, "SELECT count(*) FROM fbs_retired_r_new") == [(1,)]


def test_a_value_that_comes_while_it_is_undone_is_kept(filled: DatabaseConfig) -> None:
    migrate(filled, plan_of(ADD_PHONE))
    found = planned(filled)
    run(filled, "UPDATE r_tenant SET phone = '1' WHERE id = 7")
    migrate(filled, found.plan, reversals=found.reversals, allowed=())
    assert rows(filled, "SELECT * FROM fbs_retired_r_tenant__phone") == [(7, "1")]


def test_a_column_comes_back_with_its_values(filled: DatabaseConfig) -> None:
    run(
        filled,
        "ALTER TABLE r_tenant ALTER note SET DEFAULT 'none', ALTER note SET NOT NULL, ADD UNIQUE (note),"
        " ADD CONSTRAINT note_short CHECK (length(note) < 10)",
        "ALTER TABLE r_old ADD CONSTRAINT said_fkey FOREIGN KEY (said) REFERENCES r_tenant (note) NOT VALID",
        "DELETE FROM r_old",
    )
    keys = step(
        'ALTER TABLE "r_old" DROP CONSTRAINT "said_fkey"',
        "r_old",
        undo='ALTER TABLE "r_old" ADD CONSTRAINT "said_fkey" FOREIGN KEY (said) REFERENCES r_tenant(note)',
    )
    before = everything(filled)
    migrate(filled, plan_of(keys, DROP_NOTE))
    assert undo(filled).not_reverted == ()
    after = everything(filled)
    assert (after[0].keys(), after[1], after[2]) == (before[0].keys(), before[1], before[2])
    assert after[0]["r_tenant"] == before[0]["r_tenant"]


def test_rows_that_came_since(filled: DatabaseConfig) -> None:
    """They get the default; without one NULL has to be allowed."""
    run(filled, "ALTER TABLE r_tenant ALTER note SET NOT NULL, ALTER code SET NOT NULL, ALTER code SET DEFAULT 'c?'")
    drop_code = step(
        'ALTER TABLE "r_tenant" DROP COLUMN "code"',
        archive=ArchiveTarget(table="r_tenant", column="code", archive_table="fbs_retired_code"),
    )
    migrate(filled, plan_of(DROP_NOTE, drop_code))
    run(filled, "INSERT INTO r_tenant (id, name) VALUES (1000, 'new')", "DELETE FROM r_old")
    run(filled, "DELETE FROM r_tenant WHERE id = 3")
    found = undo(filled)
    assert found.not_reverted == ("r_tenant.note stays nullable: 1 rows inserted since have no value.",)
    assert rows(filled, "SELECT note, code FROM r_tenant WHERE id IN (1, 2, 1000) ORDER BY id") == [
        ("note 1", "c1"), ("note 2", "c2"), (None, "c?")
    ]  # fmt: skip
    assert rows(filled, "SELECT attname FROM pg_attribute WHERE attrelid = 'r_tenant'::regclass AND attnotnull"
                " AND attnum > 0 ORDER BY 1") == [("code",), ("id",), ("name",)]  # fmt: skip
    assert rows(filled, "SELECT id, note FROM fbs_retired_r_tenant_note") == [(3, "note 3")]  # its row is gone


def test_many_values_come_back_in_batches(filled: DatabaseConfig) -> None:
    run(filled, "INSERT INTO r_tenant (name, note) SELECT 'n', 'more ' || i FROM generate_series(1, 5000) i")
    before = rows(filled, "SELECT id, note FROM r_tenant ORDER BY id")
    migrate(filled, plan_of(DROP_NOTE))
    undo(filled)
    assert rows(filled, "SELECT id, note FROM r_tenant ORDER BY id") == before
    assert retired(filled) == []


def test_a_narrowed_column_gets_its_values_back_but_for_those_written_since(filled: DatabaseConfig) -> None:
    run(filled, "ALTER TABLE r_tenant ALTER code SET DEFAULT 'c0'")
    before = dict(rows(filled, "SELECT id, code FROM r_tenant"))
    migrate(filled, plan_of(NARROW_CODE))
    run(filled, "UPDATE r_tenant SET code = 'x' WHERE id = 50", "UPDATE r_tenant SET name = 'y' WHERE id = 60")
    assert undo(filled).not_reverted == ()
    assert dict(rows(filled, "SELECT id, code FROM r_tenant")) == {**before, 50: "x"}
    assert rows(filled, "SELECT id, code FROM fbs_retired_r_tenant__code") == [(50, "c50")]
    assert rows(filled, "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = 'code'"
                " AND attrelid = 'r_tenant'::regclass") == [("character varying(50)",)]  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "wide", "narrow", "values", "became"),
    [
        ("amount", "numeric(10,4)", "numeric(10,2)", "1.23456 * i", ""),
        ("amount", "double precision", "integer", "i + 0.4", ""),
        ("said", "text", "integer", "'007'", 'USING "said"::integer'),
        ("said", "character varying(4)", "numeric(8,4)", "'1234'", 'USING "said"::numeric(8,4)'),
        ("said", "jsonb", "text", """'{"a": 1}'::jsonb""", """USING "said"->>'a'"""),
        ("at", "timestamp without time zone", "date", "'2024-02-29 12:34:56.789'::timestamp", ""),
    ],
)
def test_types_that_lose_something(
    filled: DatabaseConfig, kept: str, wide: str, narrow: str, values: str, became: str
) -> None:
    run(
        filled,
        f'CREATE TABLE r_wide (id SERIAL PRIMARY KEY, "{kept}" {wide})',
        f'INSERT INTO r_wide ("{kept}") SELECT {values} FROM generate_series(1, 9) i',
    )
    before = rows(filled, "SELECT * FROM r_wide ORDER BY id")
    retype = step(
        f'ALTER TABLE "r_wide" ALTER COLUMN "{kept}" TYPE {narrow} {became}',
        "r_wide",
        archive=ArchiveTarget(table="r_wide", column=kept, archive_table="fbs_retired_r_wide"),
    )
    migrate(filled, plan_of(retype))
    assert rows(filled, "SELECT * FROM r_wide ORDER BY id") != before
    assert undo(filled).not_reverted == ()
    assert rows(filled, "SELECT * FROM r_wide ORDER BY id") == before
    assert retired(filled) == []


def test_what_does_not_fit_the_former_type_is_not_cut(filled: DatabaseConfig) -> None:
    run(
        filled,
        "CREATE TABLE r_wide (id SERIAL PRIMARY KEY, said VARCHAR(4)); INSERT INTO r_wide (said) VALUES ('1234')",
    )
    retype = step(
        'ALTER TABLE "r_wide" ALTER COLUMN "said" TYPE numeric(12,4) USING "said"::numeric(12,4)',
        "r_wide",
        archive=ArchiveTarget(table="r_wide", column="said", archive_table="fbs_retired_r_wide"),
    )
    migrate(filled, plan_of(retype))
    run(filled, "INSERT INTO r_wide (said) VALUES (12345678)")
    assert "not every value fits character varying(4)" in undo(filled).not_reverted[0]
    assert rows(filled, "SELECT said FROM r_wide ORDER BY id") == [(Decimal(1234),), (Decimal(12345678),)]


def test_keys_come_back(filled: DatabaseConfig) -> None:
    run(
        filled,
        'ALTER TABLE r_tenant ADD CONSTRAINT "c ""1""" UNIQUE (code), ALTER code SET NOT NULL, ALTER name DROP NOT NULL',
        "ALTER TABLE r_lease ADD CONSTRAINT positive CHECK (id > 0)",
    )
    before = everything(filled)
    takes = [
        ('ALTER TABLE "r_tenant" DROP CONSTRAINT "c ""1"""', 'ALTER TABLE "r_tenant" ADD CONSTRAINT "c ""1""" UNIQUE (code)'),
        ('DROP INDEX "r_tenant_note_idx"', "CREATE INDEX r_tenant_note_idx ON public.r_tenant USING btree (note)"),
        ('ALTER TABLE "r_tenant" ALTER COLUMN "code" DROP NOT NULL', 'ALTER TABLE "r_tenant" ALTER COLUMN "code" SET NOT NULL'),
        ('ALTER TABLE "r_tenant" RENAME COLUMN "note" TO "remark"', 'ALTER TABLE "r_tenant" RENAME COLUMN "remark" TO "note"'),
    ]  # fmt: skip
    lease = step(
        'ALTER TABLE "r_lease" DROP CONSTRAINT "positive"',
        "r_lease",
        undo='ALTER TABLE "r_lease" ADD CONSTRAINT "positive" CHECK ((id > 0))',
    )
    unique = [
        step(
            'CREATE UNIQUE INDEX CONCURRENTLY "by_name" ON "r_tenant" ("name")',
            mode=Mode.ALONE,
            undo='DROP INDEX "by_name"',
        ),
        step(
            'ALTER TABLE "r_tenant" ADD CONSTRAINT "by_name" UNIQUE USING INDEX "by_name"',
            undo='ALTER TABLE "r_tenant" DROP CONSTRAINT "by_name"',
        ),
    ]
    migrate(filled, plan_of(*(step(sql, undo=back) for sql, back in takes), lease, *unique))
    found = planned(filled)
    assert {one.mode for one in found.plan.steps} == {Mode.TRANSACTION, Mode.ALONE}
    assert found.plan.unallowed_hazards(()) == frozenset()
    undo(filled, allowed=())
    assert everything(filled) == before


def test_changes_not_reverted_are_reported(filled: DatabaseConfig) -> None:
    run(filled, "ALTER TABLE r_tenant ALTER code SET NOT NULL", "ALTER TABLE r_lease ADD COLUMN data json")
    relax = step(
        'ALTER TABLE "r_tenant" ALTER COLUMN "code" DROP NOT NULL',
        kind="drop_not_null",
        undo='ALTER TABLE "r_tenant" ALTER COLUMN "code" SET NOT NULL',
    )
    for_good = step(
        'ALTER TABLE "r_lease" ALTER COLUMN "data" TYPE text',
        "r_lease",
        kind="retype_column",
        hazards=frozenset({Hazard.LONG_LOCK}),
    )
    migrate(filled, plan_of(ADD_PHONE, DROP_NOTE, DROP_OLD, relax, for_good))
    run(
        filled,
        "UPDATE r_tenant SET code = NULL WHERE id < 4",
        "DROP TABLE fbs_retired_r_tenant_note",
        "CREATE TABLE r_old (id SERIAL PRIMARY KEY)",
        "ALTER TABLE r_tenant DROP COLUMN phone",
    )
    found = undo(filled)
    assert [line.partition(":")[0] for line in found.not_reverted] == [
        "r_lease", "r_tenant", "r_old exists again; the former table stays in fbs_retired_r_old.", "r_tenant",
        "r_tenant",
    ]  # fmt: skip
    reasons = "\n".join(found.not_reverted)
    for why in ("not reversible", "3 rows have no value", "no longer exists", "columns changed since"):
        assert why in reasons
    assert found.to_dict()["cannot"] == list(found.not_reverted)
    assert found.plan.empty


def test_a_column_that_is_there_again_as_another(filled: DatabaseConfig) -> None:
    migrate(filled, plan_of(DROP_NOTE))
    run(filled, "ALTER TABLE r_tenant ADD COLUMN note INTEGER")
    assert planned(filled).not_reverted == (
        "r_tenant.note exists again, as integer; the former values stay in fbs_retired_r_tenant_note.",
    )


def test_one_after_the_other(filled: DatabaseConfig) -> None:
    """Each migration can be undone once, the newest first; an undo is not undone."""
    with pytest.raises(RefusedError, match="has no migration to undo"):
        undo(filled)
    before = everything(filled)
    first = migrate(filled, plan_of(DROP_OLD)).run
    migrate(
        filled,
        plan_of(
            step('CREATE TABLE "r_old" (id SERIAL PRIMARY KEY)', "r_old", has_rows=False, undo='DROP TABLE "r_old"')
        ),
    )
    assert len(planned(filled).plan.steps) == 1
    undo(filled, allowed=())
    assert undo(filled).run == first
    assert everything(filled) == before
    with pytest.raises(RefusedError, match="has no migration to undo"):
        undo(filled)
    migrate(filled, plan_of(DROP_OLD))
    undo(filled)
    assert everything(filled) == before


def test_a_failed_migration_is_undone_as_far_as_it_came(filled: DatabaseConfig) -> None:
    before = everything(filled)
    with pytest.raises(DatabaseError):
        migrate(filled, plan_of(DROP_NOTE, step("VACUUM", mode=Mode.ALONE), step("SELECT 1 / 0")))
    undo(filled)
    assert everything(filled) == before
    with pytest.raises(RefusedError, match="has no migration to undo"):
        undo(filled)


def test_a_system_table_stays(filled: DatabaseConfig) -> None:
    migrate(filled, plan_of(ADD_PHONE))
    sql = 'CREATE INDEX CONCURRENTLY "mine" ON "fbs_schema_migrations" (table_name)'
    migrate(filled, plan_of(step(sql, "fbs_schema_migrations", mode=Mode.ALONE, undo='DROP INDEX "mine"')))
    found = planned(filled)
    assert found.plan.empty
    assert "this version of FBS" in found.not_reverted[0]
