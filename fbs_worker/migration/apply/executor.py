"""Apply a plan: journalled, archived, restartable, with short lock waits.

Adjacent transactional steps share a transaction, which acquires its locks with a lock budget, or rolls back and is
retried; a step that holds its lock for long has one of its own. An interrupted migration is finished by planning again
from the current database and applying that plan.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn, Protocol

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import solution_lock
from fbs_worker.core.errors import FBSError, JobCancelled, UnreachableError
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.migration.apply import archiver
from fbs_worker.migration.apply.journal import Journal, JournalRow
from fbs_worker.migration.apply.lock_retry import (
    BLOCKS_WRITERS,
    LockBudget,
    LockPolicy,
    LockRetry,
    autocommit_cursor,
    bounded_transaction,
    cool_down,
    detect_dead_client,
    strongest,
)
from fbs_worker.migration.apply.preflight import check_not_stale, check_plan, check_still_empty, statement_error
from fbs_worker.migration.model.archive import Archive
from fbs_worker.migration.model.plan import BATCH, Hazard, Lock, Mode, Plan, Step, transactions
from fbs_worker.schema.inspector import LOCK_TABLES, existing_tables

_log = logging.getLogger(__name__)

_INVALID: Final = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%s) AND NOT i.indisvalid
"""

_SIZE: Final = "SELECT coalesce(pg_relation_size(to_regclass(%s)), 0)"


class ManifestWriter(Protocol):
    """Callback that writes the solution's manifest."""

    def __call__(self, cursor: Cursor, *, done: Sequence[Step], finished: bool) -> None:
        """Write the manifest; called in each transaction that changes tables, and at the end.

        Args:
            cursor: cursor of that transaction: tables and manifest change atomically.
            done: the applied steps, including those of this transaction.
            finished: whether the plan is applied completely.
        """


def no_manifest(cursor: Cursor, *, done: Sequence[Step], finished: bool) -> None:
    """Write no manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Result of a migration.

    Attributes:
        run: the migration's name in the journal.
        executed: number of applied statements.
        archives: archive tables written.
        seconds: duration.
    """

    run: str
    executed: int
    archives: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        return {"run": self.run, "executed": self.executed, "kept": list(self.archives), "seconds": self.seconds}


def apply(
    connection: Connection,
    plan: Plan,
    *,
    table_prefix: str,
    allowed: Collection[Hazard] = (),
    replan: Callable[[], Plan] | None = None,
    write_manifest: ManifestWriter = no_manifest,
    before: Mapping[str, Any] | None = None,
    undoes: str = "",
    progress: Progress | None = None,
    policy: LockPolicy | None = None,
) -> Applied:
    """Apply a plan and journal each statement, under the solution's advisory lock.

    After an interruption (kill, lost connection, error, cancelled job) applied statements stay and are journalled; a
    new plan contains the others. An empty plan cleans up after an interrupted one, too.

    Args:
        connection: to the solution's database, outside of a transaction; it may hold the solution's lock already.
        plan: plan of the current database.
        table_prefix: prefix of the solution's system tables.
        allowed: hazards allowed by name.
        replan: plans again under the lock, to detect a stale plan; None to skip this check.
        write_manifest: writes the solution's manifest.
        before: state before the migration, JSON-ready, for an undo.
        undoes: of an undo: the migration that it reverts.
        progress: receives the steps; may cancel between two steps.
        policy: timeouts and retries.

    Raises:
        RefusedError: a hazard is not allowed, existing rows conflict with the plan, the plan is stale, or other objects
            depend on one that is dropped.
        DatabaseBusy: no attempt got its locks; the message names the sessions that hold them.
        JobCancelled: raised by `progress`.
        DatabaseError: a statement failed; the context has the statement and the number of applied ones.
        DatabaseUnreachable: the connection was lost.
    """
    progress = progress or NullProgress()
    began = time.monotonic()
    with solution_lock(
        connection,
        plan.solution,
        on_wait=lambda who: progress.step("wait", message=f"waiting for {who}"),
        check_cancelled=lambda: progress.advance(0),
    ):
        if replan is not None:
            check_not_stale(plan, replan())
        run = _Run(
            connection=connection,
            plan=plan,
            prefix=table_prefix,
            write_manifest=write_manifest,
            before=before,
            undoes=undoes,
            progress=progress,
            policy=policy or LockPolicy(),
        )
        with run.transaction(run.policy.long_statement) as cursor:
            check_plan(cursor, plan, allowed)
        run.run()
    return Applied(
        run=run.name,
        executed=len(run.done),
        archives=tuple(archives.name for archives in run.archives),
        seconds=round(time.monotonic() - began, 3),
    )


@dataclass(kw_only=True)
class _Run:
    """One run of a plan.

    Attributes:
        name: the migration's name.
        steps: the steps to run.
        rows: the journal row of each step.
        done: the applied steps.
        archives: archive tables written.
        precopies: copies made before their table is locked, by position of the step.
        current: position of the running step.
        retry: runs work that needs locks.
        journal: the solution's journal.
        new_tables: tables that did not exist at the beginning: no other session depends on them.
    """

    connection: Connection
    plan: Plan
    prefix: str
    write_manifest: ManifestWriter
    before: Mapping[str, Any] | None
    undoes: str
    progress: Progress
    policy: LockPolicy
    name: str = ""
    steps: tuple[Step, ...] = ()
    rows: list[JournalRow] = field(default_factory=list)
    done: list[Step] = field(default_factory=list)
    archives: list[Archive] = field(default_factory=list)
    precopies: dict[int, archiver.Precopy] = field(default_factory=dict)
    current: int = 0
    retry: LockRetry = field(init=False)
    journal: Journal = field(init=False)
    new_tables: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.retry = LockRetry(self.connection, self.policy, self.progress)
        self.journal = Journal(self.prefix, self.plan.solution)

    def transaction(self, statement: float | None = None) -> AbstractContextManager[Cursor]:
        """Open a transaction that blocks no writers; the default of statement_timeout is the short one."""
        timeout = self.policy.short_statement if statement is None else statement
        return bounded_transaction(self.connection, lock=self.policy.nonblocking_lock, statement=timeout)

    def run(self) -> None:
        """Everything, in order."""
        detect_dead_client(self.connection)
        self._begin()
        self.progress.step("migrate", total=len(self.steps))
        reported = 0
        try:
            for group in transactions(self.steps):
                self.current = group[0]
                # before each step, not after the last: a finished migration must not end as cancelled
                self.progress.advance(self.current - reported, message=self.steps[self.current].reason)
                reported = self.current
                self._run_group(group)
        except FBSError as exc:
            self._record_failure(exc)
        if not self.steps or self.steps[-1].mode is not Mode.TRANSACTION:
            self.retry(self._finish, tables=(), what=self.plan.solution)

    def _run_group(self, group: Sequence[int]) -> None:
        match self.steps[group[0]].mode:
            case Mode.TRANSACTION:
                for position in group:
                    self._precopy(position)
                steps = [self.steps[position] for position in group]
                tables = {name for step in steps for name in (step.table, step.refers_to) if name}
                archives, done = self.retry(lambda: self._run_transaction(group), tables=tables)
                self.archives += archives
                self.done += done
            case Mode.ALONE:
                self.retry(self._run_alone, tables={self.steps[self.current].table})
                self.done.append(self.steps[self.current])
            case Mode.BATCHES:
                self._run_batches()
                self.done.append(self.steps[self.current])

    def _begin(self) -> None:
        """Write the pending rows in a transaction of their own; clean up after an interrupted migration."""
        with self.transaction(self.policy.long_statement) as cursor:
            made = self.journal.ensure_table(self.connection)
            # the journal table has just been brought into its current form
            self.steps = tuple(step for step in self.plan.steps if not (made and step.table == self.journal.table))
            archiver.drop_incomplete(cursor, self.prefix, self.plan.solution)
            statements = {step.sql for step in self.steps}
            self.name = self.journal.resume(cursor, statements, undo=bool(self.undoes))
            self.rows = self.journal.write_pending(
                cursor, self.steps, run=self.name, plan=self.plan, before=self.before, undoes=self.undoes
            )
            tables = {step.table for step in self.steps}
            self.new_tables = tables.difference(existing_tables(self.connection, tables))

    def _finish(self) -> None:
        with self.transaction() as cursor:
            if not self.steps:
                self.journal.close_failed(cursor)
            self.write_manifest(cursor, done=self.done, finished=True)

    def _record_failure(self, exc: FBSError) -> NoReturn:
        """Mark the current step as failed, unless a retry may succeed, and raise the error with its context."""
        step = self.steps[self.current]
        passes = exc.retryable or isinstance(exc, JobCancelled | UnreachableError)
        try:
            if not self.connection.closed:
                with self.transaction() as cursor:
                    archiver.drop_incomplete(cursor, self.prefix, self.plan.solution)
                    if not passes:
                        self.journal.mark_failed(cursor, self.rows[self.current], exc.message)
        except FBSError as second:  # report the first error; the next run cleans up
            _log.warning("cannot journal the failed statement on %s: %s", step.table, second.message)
        if isinstance(exc, JobCancelled | UnreachableError):
            raise exc
        raise statement_error(exc, step, done=len(self.done), total=len(self.steps)) from exc

    def _precopy(self, position: int) -> None:
        """Copy the values that a step removes from a large table before the table is locked."""
        step = self.steps[position]
        if step.archive is None or step.archive.column is None:
            return
        self.current = position
        with self.transaction(self.policy.long_statement) as cursor:
            cursor.execute(_SIZE, (sql.Identifier(step.table).as_string(cursor),))
            size = cursor.fetchone()
            if size and size[0] > self.policy.precopy_above:
                self.progress.advance(0, message=f"archiving {step.archive.table}.{step.archive.column}")
                precopy = archiver.precopy_column(cursor, step.archive, self.plan.solution)
                if precopy is not None:
                    self.precopies[position] = precopy

    def _run_transaction(self, group: Sequence[int]) -> tuple[list[Archive], list[Step]]:
        """Run adjacent steps in one transaction, which may be rolled back and retried.

        Returns:
            The archives and the steps.
        """
        archives: list[Archive] = []
        steps = [self.steps[position] for position in group]
        self.current = group[0]
        with self.transaction() as cursor:
            cursor.execute(LOCK_TABLES)  # serialises creation and deletion of FBS's tables; this wait blocks no table
            budget = LockBudget(cursor, self.policy)
            locks = {step.table: strongest([_lock(s) for s in steps if s.table == step.table]) for step in steps}
            budget.lock(locks, referred={step.refers_to for step in steps})
            empty = {self.steps[position].table: position for position in group if self._relies_on_empty(position)}
            for self.current in empty.values():
                check_still_empty(cursor, self.steps[self.current].table)
            for position in group:
                self.current = position
                archives += self._run_step(cursor, budget, position)
            last = group[-1] == len(self.steps) - 1
            self.write_manifest(cursor, done=[*self.done, *steps], finished=last)
        return archives, steps

    def _run_step(self, cursor: Cursor, budget: LockBudget, position: int) -> list[Archive]:
        step, ran, archive = self.steps[position], "", None
        if step.archive is not None and step.archive.column is None:
            archive, statements = archiver.archive_whole_table(cursor, step.archive, self.plan.solution, step.sql)
            ran = ";\n".join(statements)
        else:
            if step.archive is not None:
                with budget.long_running():
                    archive = archiver.archive_column(
                        cursor, step.archive, self.plan.solution, self.precopies.get(position)
                    )
            budget.execute(step.sql, takes_long=step.takes_long)
            if archive is not None:
                with budget.long_running():
                    archive = archiver.record_converted_values(cursor, archive)
                if self.undoes and archiver.drop_if_empty(cursor, archive):
                    archive = None  # needed only by an undo of this undo
        self.journal.mark_executed(cursor, self.rows[position], ran=ran, kept=archive.name if archive else "")
        return [archive] if archive else []

    def _relies_on_empty(self, position: int) -> bool:
        """Whether a step is only safe for an empty table."""
        step = self.steps[position]
        return not step.has_rows and step.lock in BLOCKS_WRITERS and step.table not in self.new_tables

    def _run_alone(self) -> None:
        """Run a statement in autocommit mode; remove the remains of an interrupted run before, and after a failure."""
        step = self.steps[self.current]
        lock_timeout = self.policy.lock if step.lock in BLOCKS_WRITERS else self.policy.concurrent_lock
        with autocommit_cursor(self.connection, lock=lock_timeout, statement=self.policy.long_statement) as cursor:
            self._clean_up(cursor, step)
            try:
                cursor.execute(step.sql)
            except Exception:
                if not self.connection.closed:
                    self._clean_up(cursor, step)
                raise
            self.journal.mark_executed(cursor, self.rows[self.current])

    @staticmethod
    def _clean_up(cursor: Cursor, step: Step) -> None:
        """Drop only an invalid index: a valid one of that name was created by another application."""
        if step.cleanup is None:
            return
        cursor.execute(_INVALID, (sql.Identifier(step.table).as_string(cursor),))
        if any(sql.Identifier(name).as_string(cursor) in step.cleanup for (name,) in cursor.fetchall()):
            cursor.execute(step.cleanup)

    def _run_batches(self) -> None:
        """Run a statement in batches, with a cool-down after each."""
        step, rows, more = self.steps[self.current], 0, True
        last: tuple[Any, ...] | None = None
        while more:
            began = time.monotonic()
            touched, last = self.retry(partial(self._run_batch, last), tables={step.table})
            rows += touched
            more = last is not None if step.batch_key else touched > 0
            self.progress.advance(0, message=f"{step.table}: {rows} rows")
            if more:
                cool_down((time.monotonic() - began) * self.policy.cooldown, self.progress)
        with self.transaction() as cursor:
            self.journal.mark_executed(cursor, self.rows[self.current])

    def _run_batch(self, after: tuple[Any, ...] | None) -> tuple[int, tuple[Any, ...] | None]:
        """Run the statement for the keys behind `after`; a row that comes behind has the value already.

        Returns:
            The number of rows that changed, and the last key; None after the last range, and without a key.
        """
        step, last = self.steps[self.current], None
        with bounded_transaction(
            self.connection, lock=self.policy.lock, statement=self.policy.long_statement
        ) as cursor:
            key = sql.SQL(", ").join(map(sql.Identifier, step.batch_key))
            if step.batch_key:
                start = sql.SQL("" if after is None else "WHERE ({}) > {}").format(key, sql.Literal(after))
                find = sql.SQL("SELECT {} FROM {} {} ORDER BY {} OFFSET {} LIMIT 1")
                place = sql.Literal(BATCH - 1)
                cursor.execute(find.format(key, sql.Identifier(step.table), start, key, place))
                last = cursor.fetchone()
            ranges = [
                sql.SQL(f"({{}}) {operator} {{}}").format(key, sql.Literal(bound))
                for operator, bound in ((">", after), ("<=", last))
                if bound is not None
            ]
            cursor.execute(sql.SQL(" AND ").join([sql.SQL(step.sql), *ranges]))
            return max(cursor.rowcount, 0), last


def _lock(step: Step) -> Lock:
    """No writes are allowed between the archiving of values and their removal."""
    return Lock.ACCESS_EXCLUSIVE if step.archive is not None else step.lock
