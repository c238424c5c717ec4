"""A plan is applied as a whole, written down, and refused where it is not safe."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pytest
from psycopg2.errors import UndefinedColumn
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError, JobCancelled, RefusedError
from fbs_worker.core.postgres import connect
from fbs_worker.core.progress import NullProgress
from fbs_worker.migration.apply.executor import apply
from fbs_worker.migration.apply.journal import is_unfinished
from fbs_worker.migration.apply.lock_retry import LockPolicy
from fbs_worker.migration.model.plan import ArchiveTarget, Hazard, Lock, Mode, Step
from tests.support.migrating import (
    EVERY_HAZARD,
    PREFIX,
    QUICK,
    WISHES,
    migrate,
    plan_by_hand,
    plan_of,
    record_of,
    step,
)
from tests.support.solutions import contents, rows, run, tables_of

ADD = step('ALTER TABLE "r_tenant" ADD COLUMN "phone" text', kind="add_column")
FAIL = step('ALTER TABLE "r_tenant" ALTER COLUMN "age" TYPE integer', kind="alter_type")
TO_JSON = step('ALTER TABLE "r_tenant" ALTER COLUMN "note" TYPE jsonb USING to_jsonb("note")', kind="retype_column")
LEASE = step('ALTER TABLE "r_lease" ADD COLUMN "rent" numeric', "r_lease")
UNIQUE = step(
    'CREATE UNIQUE INDEX CONCURRENTLY "r_tenant_code_idx" ON "r_tenant" ("code")',
    kind="create_index",
    mode=Mode.ALONE,
    lock=Lock.SHARE_UPDATE_EXCLUSIVE,
    cleanup='DROP INDEX CONCURRENTLY IF EXISTS "r_tenant_code_idx"',
)
STATUSES = "SELECT migration_type, status FROM fbs_schema_migrations ORDER BY id"
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


class Settling:
    """Writes what was done into a table, as a solution's own row is."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []

    def __call__(self, cursor: Cursor, *, done: Sequence[Step], finished: bool) -> None:
        self.calls.append((len(done), finished))
        cursor.execute("INSERT INTO manifests VALUES (%s, %s)", (len(done), finished))


class Cancelled(NullProgress):
    """Asks to stop once so many steps are done."""

    def __init__(self, after: int) -> None:
        self._left = after

    def advance(self, units: int = 1, *, message: str = "") -> None:
        self._left -= units
        if self._left <= 0:
            raise JobCancelled("Enough.")


def test_everything_is_applied_and_journalled(filled: DatabaseConfig) -> None:
    applied = migrate(filled)
    assert applied.executed == len(WISHES)
    with closing(connect(filled)) as connection:
        assert plan_by_hand(connection).empty
    assert tables_of(filled) == [
        "fbs_retired_r_old", "fbs_retired_r_tenant_note", "fbs_schema_migrations", "r_lease", "r_new", "r_tenant"
    ]  # fmt: skip
    written = record_of(filled)
    assert [(row.kind, row.status) for row in written] == [(wish.step.kind, "executed") for wish in WISHES]
    assert {row.run for row in written} == {applied.run}
    times = [row.executed_at for row in written if row.executed_at]
    assert len(times) == len(WISHES)
    assert times == sorted(times)
    assert rows(filled, "SELECT count(*), count(state) FROM r_tenant") == [(120, 120)]
    assert applied.archives == ("fbs_retired_r_tenant_note", "fbs_retired_r_old")
    assert applied.to_dict()["kept"] == list(applied.archives)


def test_a_journal_row_has_the_reason(filled: DatabaseConfig) -> None:
    needed = {"former": {"r_tenant": None}}
    migrate(filled, replace(plan_of(step(ADD.sql, reason="r.tenant.phone of\nOdoo")), undo=needed))
    (row,) = record_of(filled)
    assert row.statement == ADD.sql
    assert (row.facts["reason"], row.facts["undo"]) == ("r.tenant.phone of\nOdoo", needed)


def test_rows_of_other_applications_are_ignored(filled: DatabaseConfig) -> None:
    migrate(filled, plan_of(ADD))
    run(
        filled,
        "INSERT INTO fbs_schema_migrations (solution_name, migration_type, table_name, sql_statement, status)"
        " VALUES ('shop', 'x', 't', E'SELECT 1\\n-- fbs: not ours', 'pending'), ('shop', 'x', 't', 'SELECT 2', NULL)",
    )
    assert [row.facts for row in record_of(filled)][1:] == [{}, {}]
    migrate(filled, plan_of(LEASE))
    assert [row.status for row in record_of(filled)] == ["executed", "pending", "", "executed"]
    assert not is_unfinished(record_of(filled))


def test_nothing_to_do(filled: DatabaseConfig) -> None:
    settling = Settling()
    run(filled, "CREATE TABLE manifests (count INTEGER, finished BOOLEAN)")
    applied = migrate(filled, plan_of(), write_manifest=settling)
    assert (applied.executed, settling.calls) == (0, [(0, True)])
    assert record_of(filled) == []


# refused


@pytest.mark.parametrize("allowed", [frozenset(), frozenset({Hazard.LONG_LOCK})])
def test_hazards_have_to_be_allowed_by_name(filled: DatabaseConfig, allowed: frozenset[Hazard]) -> None:
    before = contents(filled)
    with pytest.raises(RefusedError, match=r'DELETES_DATA: ALTER TABLE "r_tenant" DROP COLUMN') as raised:
        migrate(filled, allowed=allowed)
    assert raised.value.hint == "Allow by name: --allow DELETES_DATA"
    assert raised.value.context["hazards"] == ["DELETES_DATA"]
    assert contents(filled) == before


def test_a_possible_rename_is_asked_about(filled: DatabaseConfig) -> None:
    plan = plan_of(step("SELECT 1", hazards=frozenset({Hazard.POSSIBLE_RENAME})))
    plan = replace(plan, questions=("--rename r_tenant.note=remark",))
    with pytest.raises(RefusedError) as raised:
        migrate(filled, plan, allowed=())
    assert raised.value.hint == "--rename r_tenant.note=remark. Otherwise allow by name: --allow POSSIBLE_RENAME"


def test_rows_that_do_not_fit_are_counted(filled: DatabaseConfig) -> None:
    before = contents(filled)
    check = "SELECT count(*) FROM r_tenant WHERE length(code) > 2"
    with pytest.raises(
        RefusedError, match=r"Existing rows conflict with the plan.* r_tenant: 111 rows: ALTER TABLE"
    ) as raised:
        migrate(filled, plan_of(ADD, step(FAIL.sql, check=check)))
    assert raised.value.context["rows"] == [
        {"table": "r_tenant", "rows": 111, "statement": FAIL.sql, "reason": "a test"}
    ]
    assert contents(filled) == before


def test_a_stale_plan_is_rejected(filled: DatabaseConfig) -> None:
    before = contents(filled)
    with pytest.raises(RefusedError, match="is stale: the database changed") as raised:
        migrate(filled, plan_of(ADD), replan=lambda: plan_of(LEASE))
    assert raised.value.context["fingerprint"] == plan_of(LEASE).fingerprint
    assert contents(filled) == before
    assert migrate(filled, plan_of(ADD), replan=lambda: plan_of(ADD)).executed == 1


def test_rows_that_came_meanwhile_are_not_deleted_as_an_empty_tables_would_be(filled: DatabaseConfig) -> None:
    plan = plan_of(LEASE, step('ALTER TABLE "r_tenant" DROP COLUMN "note"', has_rows=False))
    with pytest.raises(RefusedError, match="was empty when the plan was made and contains rows now"):
        migrate(filled, plan)
    assert rows(filled, "SELECT count(note) FROM r_tenant") == [(120,)]
    assert [(row.status, row.table) for row in record_of(filled)] == [("pending", "r_lease"), ("failed", "r_tenant")]
    with pytest.raises(UndefinedColumn):
        rows(filled, "SELECT rent FROM r_lease")


@pytest.mark.parametrize(
    ("obstacle", "plan"),
    [
        ("CREATE VIEW mine AS SELECT said FROM r_old", plan_of(WISHES[10].step)),
        ("CREATE TABLE mine (said TEXT REFERENCES r_old (said))", plan_of(WISHES[10].step)),
        ("CREATE VIEW mine AS SELECT note FROM r_tenant", plan_of(WISHES[1].step)),
        ("CREATE VIEW mine AS SELECT note FROM r_tenant", plan_of(TO_JSON)),
    ],
)
def test_dependent_objects_block_a_drop(filled: DatabaseConfig, obstacle: str, plan: object) -> None:
    run(filled, obstacle)
    with pytest.raises(RefusedError, match=r"depend|used by a view") as raised:
        migrate(filled, plan)  # type: ignore[arg-type]
    assert "Dependent objects exist" in raised.value.hint
    assert not [name for name in tables_of(filled) if "retired" in name]
    assert rows(filled, "SELECT count(said) FROM r_old") == [(30,)]
    assert [row.status for row in record_of(filled)] == ["failed"]


# what fails


def test_a_failed_transaction_leaves_only_its_journal_row(filled: DatabaseConfig) -> None:
    with pytest.raises(DatabaseError, match=r'alter type failed: .*column "age"') as raised:
        migrate(filled, plan_of(LEASE, ADD, FAIL, UNIQUE))
    assert (raised.value.context["executed"], raised.value.context["total"]) == (0, 4)
    assert raised.value.context["statement"] == FAIL.sql
    written = record_of(filled)
    assert [row.status for row in written] == ["pending", "pending", "failed", "pending"]
    assert 'column "age"' in written[2].facts["error"]
    with pytest.raises(UndefinedColumn):
        rows(filled, "SELECT phone FROM r_tenant")
    run(filled, "ALTER TABLE r_tenant ADD COLUMN age bigint")
    applied = migrate(filled, plan_of(LEASE, ADD, FAIL, UNIQUE))
    assert [row.status for row in record_of(filled)] == ["failed", *["executed"] * 4]
    assert {row.run for row in record_of(filled)} == {applied.run}


def test_what_ran_before_a_failure_stays(filled: DatabaseConfig) -> None:
    run(filled, "UPDATE r_tenant SET code = 'the same' WHERE id < 3")
    with pytest.raises(DatabaseError, match="1 of 2 statements were applied and stay") as raised:
        migrate(filled, plan_of(ADD, UNIQUE))
    assert "plan again" in raised.value.hint
    assert rows(filled, STATUSES) == [("add_column", "executed"), ("create_index", "failed")]
    assert rows(filled, INVALID) == [(0,)]  # it would go on to forbid what was allowed
    run(filled, "UPDATE r_tenant SET code = id::text")
    migrate(filled, plan_of(UNIQUE))
    assert [status for _, status in rows(filled, STATUSES)] == ["executed", "failed", "executed"]
    assert len({row.run for row in record_of(filled)}) == 1


def test_a_failure_that_is_no_longer_needed_does_not_last(filled: DatabaseConfig) -> None:
    with pytest.raises(DatabaseError):
        migrate(filled, plan_of(FAIL))
    migrate(filled, plan_of())
    migrate(filled, plan_of(ADD))
    failed, executed = record_of(filled)
    assert (failed.status, executed.status) == ("failed", "executed")
    assert failed.run != executed.run


def test_a_statement_that_never_ran_is_not_marked_executed(filled: DatabaseConfig) -> None:
    """It was to run after the one that failed, and the next plan does not ask for it."""
    with pytest.raises(DatabaseError):
        migrate(filled, plan_of(FAIL, UNIQUE))
    migrate(filled, plan_of(ADD))
    assert [(row.status, row.statement) for row in record_of(filled)] == [("failed", FAIL.sql), ("executed", ADD.sql)]


def test_a_statement_that_ran_unmarked_is_marked_executed(filled: DatabaseConfig) -> None:
    """A worker was killed while the server built an index: the server came to its end, and the plan does not ask again."""
    with pytest.raises(JobCancelled):
        migrate(filled, plan_of(ADD, UNIQUE, LEASE), progress=Cancelled(after=1))
    run(filled, UNIQUE.sql.replace("CONCURRENTLY", ""))
    migrate(filled, plan_of(LEASE))
    assert [(row.status, row.statement) for row in record_of(filled)] == [
        ("executed", ADD.sql), ("executed", UNIQUE.sql), ("executed", LEASE.sql)
    ]  # fmt: skip


def test_an_invalid_index_is_cleaned_up_and_a_good_one_is_not(filled: DatabaseConfig) -> None:
    run(filled, 'CREATE INDEX "r_tenant_code_idx" ON r_tenant (name)')
    with pytest.raises(DatabaseError, match="already exists"):
        migrate(filled, plan_of(UNIQUE))
    assert "(name)" in rows(filled, "SELECT pg_get_indexdef('r_tenant_code_idx'::regclass)")[0][0]
    run(filled, "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'r_tenant_code_idx'::regclass")
    migrate(filled, plan_of(UNIQUE))
    assert "(code)" in rows(filled, "SELECT pg_get_indexdef('r_tenant_code_idx'::regclass)")[0][0]


def test_a_statement_that_should_be_quick_and_is_not_is_stopped(filled: DatabaseConfig) -> None:
    slow = step("SELECT pg_sleep(30)", lock=Lock.ACCESS_EXCLUSIVE)
    with pytest.raises(DatabaseError, match="cancelled or timed out") as raised:
        migrate(filled, plan_of(ADD, slow), policy=LockPolicy(short_statement=0.2))
    assert not raised.value.retryable
    assert [row.status for row in record_of(filled)] == ["pending", "failed"]
    allowed = step("SELECT pg_sleep(0.3)", hazards=frozenset({Hazard.LONG_LOCK}))
    migrate(filled, plan_of(ADD, allowed), policy=LockPolicy(short_statement=0.2))


# the solution's own row


def test_manifest_and_tables_change_atomically(filled: DatabaseConfig) -> None:
    run(filled, "CREATE TABLE manifests (count INTEGER, finished BOOLEAN)")
    settling = Settling()
    with pytest.raises(DatabaseError):
        migrate(filled, plan_of(ADD, UNIQUE, LEASE, FAIL), write_manifest=settling)
    assert rows(filled, "SELECT * FROM manifests") == [(1, False)]
    run(filled, "ALTER TABLE r_tenant ADD COLUMN age bigint")
    migrate(filled, plan_of(LEASE, FAIL), write_manifest=settling)
    assert rows(filled, "SELECT * FROM manifests") == [(1, False), (2, True)]


def test_the_manifest_is_written_after_a_statement_without_transaction(filled: DatabaseConfig) -> None:
    settling = Settling()
    run(filled, "CREATE TABLE manifests (count INTEGER, finished BOOLEAN)")
    migrate(filled, plan_of(ADD, UNIQUE), write_manifest=settling)
    assert rows(filled, "SELECT * FROM manifests") == settling.calls == [(1, False), (2, True)]


def test_the_table_of_the_record_may_be_part_of_the_plan(filled: DatabaseConfig) -> None:
    create = step('CREATE TABLE "fbs_schema_migrations" (id serial)', "fbs_schema_migrations", has_rows=False)
    applied = migrate(filled, plan_of(create, ADD))
    assert applied.executed == 1
    assert [row.statement for row in record_of(filled)] == [ADD.sql]


# cancelled, twice, and what is left of it


def test_a_cancelled_migration_stops_between_two_statements_and_goes_on_later(filled: DatabaseConfig) -> None:
    with closing(connect(filled)) as connection, pytest.raises(JobCancelled):
        apply(
            connection,
            plan_of(ADD, UNIQUE, LEASE),
            table_prefix=PREFIX,
            allowed=EVERY_HAZARD,
            progress=Cancelled(after=1),
            policy=QUICK,
        )
    assert [row.status for row in record_of(filled)] == ["executed", "pending", "pending"]
    migrate(filled, plan_of(UNIQUE, LEASE))
    assert [row.status for row in record_of(filled)] == ["executed"] * 3
    assert len({row.run for row in record_of(filled)}) == 1


def test_cancellation_is_not_checked_after_the_last_statement(filled: DatabaseConfig) -> None:
    assert migrate(filled, plan_of(ADD), progress=Cancelled(after=1)).executed == 1


def test_two_at_once(filled: DatabaseConfig) -> None:
    """The second waits, and then has nothing to do, or its plan is stale."""
    results: list[object] = []
    barrier = threading.Barrier(3)

    def work() -> None:
        with closing(connect(filled)) as connection:
            plan = plan_by_hand(connection)
            barrier.wait()
            try:
                results.append(
                    apply(
                        connection,
                        plan,
                        table_prefix=PREFIX,
                        allowed=EVERY_HAZARD,
                        replan=lambda: plan_by_hand(connection),
                        policy=QUICK,
                    ).executed
                )
            except RefusedError as exc:
                results.append(exc.code)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=str) == [len(WISHES), "refused", "refused"]
    assert [row.status for row in record_of(filled)] == ["executed"] * len(WISHES)


def test_the_session_is_as_before(filled: DatabaseConfig) -> None:
    ask = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
    with closing(connect(filled)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '7s'")
        for plan in (plan_of(ADD, UNIQUE), plan_of(FAIL), plan_of(LEASE)):
            try:
                apply(connection, plan, table_prefix=PREFIX, allowed=EVERY_HAZARD, policy=QUICK)
            except DatabaseError:
                assert plan.steps == (FAIL,)
            assert connection.get_transaction_status() == TRANSACTION_STATUS_IDLE
            assert not connection.autocommit
            with connection, connection.cursor() as cursor:
                cursor.execute(ask)
                assert cursor.fetchall() == [("7s", "0")]
                cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
                assert cursor.fetchall() == [(0,)]


def test_signs_of_percent_and_odd_names(filled: DatabaseConfig) -> None:
    run(filled, """CREATE TABLE "100% ""mine"" " (id SERIAL PRIMARY KEY, "a%s" TEXT)""")
    run(filled, """INSERT INTO "100% ""mine"" " ("a%s") VALUES ('x%')""")
    name = '100% "mine" '
    drop = step(
        """ALTER TABLE "100% ""mine"" " DROP COLUMN "a%s" """,
        name,
        archive=ArchiveTarget(table=name, column="a%s", archive_table="fbs_retired_100%"),
    )
    migrate(filled, plan_of(drop))
    assert rows(filled, 'SELECT * FROM "fbs_retired_100%"') == [(1, "x%")]


@pytest.mark.parametrize("key", ["id", "tenant_id, id", "code"], ids=["number", "two columns", "text"])
def test_batches_go_by_ranges_of_the_primary_key(filled: DatabaseConfig, key: str) -> None:
    run(
        filled,
        "CREATE TABLE r_big (id INTEGER, tenant_id INTEGER, code TEXT, filled TEXT)",
        "INSERT INTO r_big SELECT n, n % 7, 'it''s 5% ' || n, CASE WHEN n % 100 = 0 THEN 'own' END FROM generate_series(1, 12345) n",
        f"ALTER TABLE r_big ADD PRIMARY KEY ({key})",
    )
    fill = step(
        """UPDATE "r_big" SET "filled" = 'new' WHERE "filled" IS NULL""",
        "r_big",
        lock=Lock.ROW_EXCLUSIVE,
        mode=Mode.BATCHES,
        batch_key=tuple(key.split(", ")),
    )
    progress = Messages()
    migrate(filled, plan_of(fill), progress=progress)
    assert rows(filled, "SELECT filled, count(*) FROM r_big GROUP BY 1 ORDER BY 1") == [("new", 12222), ("own", 123)]
    assert rows(filled, "SELECT count(DISTINCT xmin::text) FROM r_big WHERE filled = 'new'") == [(3,)]
    assert progress.messages[-1] == "r_big: 12222 rows"


class Messages(NullProgress):
    """The messages of a migration."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def advance(self, count: int = 1, *, message: str = "") -> None:
        self.messages += [message] if message else []
