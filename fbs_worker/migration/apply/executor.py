"""Apply a plan: nothing lost, nothing half done, nothing hidden, and nobody held up for long.

Steps that can share a transaction do. It takes the locks that it needs at once and briefly, or gives them all back and
tries again. What was cut off at any point is finished by planning anew from the database as it is and applying that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, NoReturn, Protocol

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import solution_lock
from fbs_worker.core.errors import FBSError, JobCancelled, UnreachableError
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.migration.apply import archiver, journal
from fbs_worker.migration.apply.lock_retry import (
    BLOCKS_WRITERS,
    LockBudget,
    LockPolicy,
    LockRetry,
    autocommit_cursor,
    bounded_transaction,
    cool_down,
    detect_dead_client,
    existing_tables,
    strongest,
)
from fbs_worker.migration.apply.preflight import check_not_stale, check_plan, check_still_empty, statement_error
from fbs_worker.migration.inspect.snapshot import snapshot_changes, take_snapshot
from fbs_worker.migration.model.archive import Archive
from fbs_worker.migration.model.plan import Hazard, Lock, Mode, Plan, Step
from fbs_worker.schema.inspector import LOCK_TABLES

_log = logging.getLogger(__name__)

_TAKES_LONG: Final = frozenset({Hazard.REWRITES_TABLE, Hazard.LONG_LOCK})

_INVALID: Final = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%s) AND NOT i.indisvalid
"""

_SIZE: Final = "SELECT coalesce(pg_relation_size(to_regclass(%s)), 0)"


class ManifestWriter(Protocol):
    """Writes into the solution's own row what FBS has made by now."""

    def __call__(self, cursor: Cursor, *, done: Sequence[Step], finished: bool) -> None:
        """Called in each transaction that changes tables, and at the end.

        Args:
            cursor: in that transaction: tables and row change together, or not at all.
            done: the steps that have run so far, those of this transaction included.
            finished: the plan is done.
        """


def no_manifest(cursor: Cursor, *, done: Sequence[Step], finished: bool) -> None:
    """There is no row to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a migration did.

    Attributes:
        run: its name in the rows of `schema_migrations`.
        executed: how many statements of the plan ran.
        kept: the tables that keep what was taken away.
        seconds: how long it took.
    """

    run: str
    executed: int
    archives: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
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
    reversals: Sequence[journal.Reversal] = (),
    progress: Progress | None = None,
    policy: LockPolicy | None = None,
) -> Applied:
    """Apply a plan, and write down each statement. It has the solution to itself meanwhile.

    Should it be cut off (a kill, a lost connection, an error, a cancelled job), what has run stays and is written down;
    a new plan has the rest, and applying that finishes it. An empty plan clears up behind such a one as well.

    Args:
        connection: to the solution's database, outside of a transaction; it may hold the solution's lock already.
        plan: made of the database as it is now.
        table_prefix: the solution's.
        allowed: the hazards that were allowed by name.
        replan: makes the plan once more; asked when nobody else can change the solution any more.
        settle: see its class.
        before: what FBS had made until now, for an undo: JSON-ready.
        undoes: for each step of an undo what it reverts.
        progress: told the steps; may end it between any two.
        pace: how long it waits and works at a time.

    Raises:
        RefusedError: a hazard was not allowed, rows do not fit what is to come (each is counted), the plan does not fit
            the database any more, or something of others stands on what is to be dropped.
        DatabaseBusy: tables were in use at each of many tries; it names by whom.
        JobCancelled: raised by `progress`.
        DatabaseError, DatabaseUnreachable: as their names say; the context tells the statement, and how many ran.
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
            reversals=reversals,
            progress=progress,
            policy=policy or LockPolicy(),
        )
        with bounded_transaction(
            connection, lock=run.policy.nonblocking_lock, statement=run.policy.long_statement
        ) as cursor:
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
        steps: those of the plan that are to run.
        rows: of each step its row.
        done: the steps that have run.
        kept: what keeps what was taken away.
        ahead: copies made before anything is locked, by the step's position.
        at: the position of the step that runs.
        tries: does what needs locks.
        new: tables that were not there when it began: nobody else can have come to depend on them.
    """

    connection: Connection
    plan: Plan
    prefix: str
    write_manifest: ManifestWriter
    before: Mapping[str, Any] | None
    reversals: Sequence[journal.Reversal]
    progress: Progress
    policy: LockPolicy
    name: str = ""
    steps: tuple[Step, ...] = ()
    rows: list[journal.Entry] = field(default_factory=list)
    done: list[Step] = field(default_factory=list)
    archives: list[Archive] = field(default_factory=list)
    precopies: dict[int, archiver.Precopy] = field(default_factory=dict)
    current: int = 0
    retry: LockRetry = field(init=False)
    new_tables: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.retry = LockRetry(self.connection, self.policy, self.progress)

    def run(self) -> None:
        """Everything, in order."""
        detect_dead_client(self.connection)
        self._begin()
        self.progress.step("migrate", total=len(self.steps))
        reported = 0
        try:
            for group in _groups(self.steps):
                self.current = group[0]
                # before each, not after the last: what is done is not to end as cancelled
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
                tables = {self.steps[position].table for position in group}
                archives, done = self.retry(lambda: self._run_transaction(group), tables=tables)
                self.archives += archives
                self.done += done
            case Mode.ALONE:
                self.retry(self._run_alone, tables={self.steps[self.current].table})
                self.done.append(self.steps[self.current])
            case Mode.BATCHES:
                self._run_batches()
                self.done.append(self.steps[self.current])

    # ------------------------------------------------------------------------------------------- beginning and end

    def _begin(self) -> None:
        """Write down what is to run, in a transaction of its own; clear up behind one that was cut off."""
        with bounded_transaction(
            self.connection, lock=self.policy.nonblocking_lock, statement=self.policy.long_statement
        ) as cursor:
            made = journal.ensure_table(self.connection, self.prefix)
            own = journal.migrations_table(self.prefix)
            # where the table of the rows was missing, it has just been made as a whole
            positions = [number for number, step in enumerate(self.plan.steps) if not (made and step.table == own)]
            self.steps = tuple(self.plan.steps[number] for number in positions)
            reversals = [self.reversals[number] for number in positions] if self.reversals else ()
            archiver.drop_incomplete(cursor, self.prefix, self.plan.solution)
            solution, statements = self.plan.solution, {step.sql for step in self.steps}
            self.name = journal.resume(cursor, self.prefix, solution, statements, undo=bool(self.reversals))
            self.rows = journal.write_pending(
                cursor, self.prefix, solution, self.steps, run=self.name, before=self.before, reversals=reversals
            )
            tables = {step.table for step in self.steps}
            self.new_tables = tables - existing_tables(cursor, tables)

    def _finish(self) -> None:
        with bounded_transaction(
            self.connection, lock=self.policy.nonblocking_lock, statement=self.policy.short_statement
        ) as cursor:
            if not self.steps:
                journal.close_failed(cursor, self.prefix, self.plan.solution)
            self.write_manifest(cursor, done=self.done, finished=True)

    def _record_failure(self, exc: FBSError) -> NoReturn:
        """Write down what failed, as far as that is possible, and say how far it came.

        What may go well the next time has not failed: it is still to run.
        """
        step = self.steps[self.current]
        passes = exc.retryable or isinstance(exc, JobCancelled | UnreachableError)
        try:
            if not self.connection.closed:
                with bounded_transaction(
                    self.connection, lock=self.policy.nonblocking_lock, statement=self.policy.short_statement
                ) as cursor:
                    archiver.drop_incomplete(cursor, self.prefix, self.plan.solution)
                    if not passes:
                        journal.mark_failed(cursor, self.prefix, self.rows[self.current], exc.message)
        except FBSError as second:  # the error that counts is the first one; the next run clears up
            _log.warning("what failed in %s could not be written down: %s", step.table, second.message)
        if isinstance(exc, JobCancelled | UnreachableError):
            raise exc
        raise statement_error(exc, step, done=len(self.done), total=len(self.steps)) from exc

    # ---------------------------------------------------------------------------------------------- in a transaction

    def _precopy(self, position: int) -> None:
        """Copy what a step takes from a big table before anything is locked."""
        step = self.steps[position]
        if step.archive is None or step.archive.column is None:
            return
        self.current = position
        with bounded_transaction(
            self.connection, lock=self.policy.nonblocking_lock, statement=self.policy.long_statement
        ) as cursor:
            cursor.execute(_SIZE, (sql.Identifier(step.table).as_string(cursor),))
            size = cursor.fetchone()
            if size and size[0] > self.policy.precopy_above:
                self.progress.advance(0, message=f"keeping {step.archive.table}.{step.archive.column}")
                precopy = archiver.precopy_column(cursor, step.archive, self.plan.solution)
                if precopy is not None:
                    self.precopies[position] = precopy

    def _run_transaction(self, group: Sequence[int]) -> tuple[list[Archive], list[Step]]:
        """Run neighbours in one transaction.

        Returns:
            What keeps what was taken away, and the steps; it may be rolled back and done anew.
        """
        archives: list[Archive] = []
        steps = [self.steps[position] for position in group]
        self.current = group[0]
        with bounded_transaction(
            self.connection, lock=self.policy.nonblocking_lock, statement=self.policy.short_statement
        ) as cursor:
            cursor.execute(LOCK_TABLES)  # no table of FBS is made or dropped meanwhile; nobody queues behind this wait
            budget = LockBudget(cursor, self.policy)
            budget.lock({step.table: strongest([_lock(s) for s in steps if s.table == step.table]) for step in steps})
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
        step, ran, archive, changes = self.steps[position], "", None, {}
        if step.archive is not None and step.archive.column is None:
            archive, statements = archiver.archive_whole_table(cursor, step.archive, self.plan.solution, step.sql)
            ran = ";\n".join(statements)
        else:
            before = take_snapshot(cursor, step)
            if step.archive is not None:
                with budget.long_running():
                    archive = archiver.archive_column(
                        cursor, step.archive, self.plan.solution, self.precopies.get(position)
                    )
            budget.execute(step.sql, takes_long=bool(step.hazards & _TAKES_LONG))
            if archive is not None:
                with budget.long_running():
                    archive = archiver.record_converted_values(cursor, archive)
                if self.reversals and archiver.drop_if_empty(cursor, archive):
                    archive = None  # only an undo of it would have needed to know what it was
            changes = snapshot_changes(before, take_snapshot(cursor, step))
        journal.mark_executed(
            cursor, self.prefix, self.rows[position], ran=ran, kept=archive and archive.name, **changes
        )
        return [archive] if archive else []

    def _relies_on_empty(self, position: int) -> bool:
        """Whether a step takes a way that is right for an empty table alone."""
        step = self.steps[position]
        return not step.has_rows and step.lock in BLOCKS_WRITERS and step.table not in self.new_tables

    # ------------------------------------------------------------------------------------------ outside of one

    def _run_alone(self) -> None:
        """Run a statement by itself. What an earlier try left behind is cleaned up before, and after a failure."""
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
            journal.mark_executed(cursor, self.prefix, self.rows[self.current])

    @staticmethod
    def _clean_up(cursor: Cursor, step: Step) -> None:
        """Only what is invalid: a good index of that name is somebody else's, and stays."""
        if step.cleanup is None:
            return
        cursor.execute(_INVALID, (sql.Identifier(step.table).as_string(cursor),))
        if any(sql.Identifier(name).as_string(cursor) in step.cleanup for (name,) in cursor.fetchall()):
            cursor.execute(step.cleanup)

    def _run_batches(self) -> None:
        """Run a statement again and again, and let others have their turn in between."""
        step, rows = self.steps[self.current], 0
        while True:
            began = time.monotonic()
            touched = self.retry(self._run_batch, tables={step.table})
            if not touched:
                break
            rows += touched
            self.progress.advance(0, message=f"{step.table}: {rows} rows")
            cool_down((time.monotonic() - began) * self.policy.cooldown, self.progress)
        with bounded_transaction(
            self.connection, lock=self.policy.nonblocking_lock, statement=self.policy.short_statement
        ) as cursor:
            journal.mark_executed(cursor, self.prefix, self.rows[self.current])

    def _run_batch(self) -> int:
        with bounded_transaction(
            self.connection, lock=self.policy.lock, statement=self.policy.long_statement
        ) as cursor:
            cursor.execute(self.steps[self.current].sql)
            return max(cursor.rowcount, 0)


def _lock(step: Step) -> Lock:
    """Nobody may write between the moment in which values are kept and that in which they go."""
    return Lock.ACCESS_EXCLUSIVE if step.archive is not None else step.lock


def _groups(steps: Sequence[Step]) -> list[list[int]]:
    """The positions of steps that run together: neighbours in a transaction, any other by itself."""
    groups: list[list[int]] = []
    for mode, neighbours in groupby(range(len(steps)), key=lambda position: steps[position].mode):
        positions = list(neighbours)
        groups += [positions] if mode is Mode.TRANSACTION else [[position] for position in positions]
    return groups
