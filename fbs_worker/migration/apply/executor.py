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
from typing import Any, Final, NoReturn

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import solution_lock
from fbs_worker.core.errors import FBSError, JobCancelled, UnreachableError
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.migration.apply import archiver, journal
from fbs_worker.migration.apply.lock_retry import (
    HOLDS_UP,
    Pace,
    Patience,
    Tries,
    bounded,
    existing,
    notice_a_dead_client,
    rest,
    strongest,
    without_transaction,
)
from fbs_worker.migration.apply.preflight import refuse, refuse_filled, refuse_stale, told_of
from fbs_worker.migration.apply.result import Applied, Settle, settle_nothing
from fbs_worker.migration.inspect.snapshot import changed, look
from fbs_worker.migration.model.archive import Kept
from fbs_worker.migration.model.plan import Hazard, Lock, Mode, Plan, Step
from fbs_worker.schema.inspector import LOCK_TABLES

_log = logging.getLogger(__name__)

_TAKES_LONG: Final = frozenset({Hazard.REWRITES_TABLE, Hazard.LONG_LOCK})

_INVALID: Final = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%s) AND NOT i.indisvalid
"""

_SIZE: Final = "SELECT coalesce(pg_relation_size(to_regclass(%s)), 0)"


def apply(
    connection: Connection,
    plan: Plan,
    *,
    table_prefix: str,
    allowed: Collection[Hazard] = (),
    replan: Callable[[], Plan] | None = None,
    settle: Settle = settle_nothing,
    before: Mapping[str, Any] | None = None,
    undoes: Sequence[journal.Undoes] = (),
    progress: Progress | None = None,
    pace: Pace | None = None,
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
            refuse_stale(plan, replan())
        run = _Run(
            connection=connection,
            plan=plan,
            prefix=table_prefix,
            settle=settle,
            before=before,
            undoes=undoes,
            progress=progress,
            pace=pace or Pace(),
        )
        with bounded(connection, lock=run.pace.patience, statement=run.pace.long) as cursor:
            refuse(cursor, plan, allowed)
        run.all()
    return Applied(
        run=run.name,
        executed=len(run.done),
        kept=tuple(kept.name for kept in run.kept),
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
    settle: Settle
    before: Mapping[str, Any] | None
    undoes: Sequence[journal.Undoes]
    progress: Progress
    pace: Pace
    name: str = ""
    steps: tuple[Step, ...] = ()
    rows: list[journal.Entry] = field(default_factory=list)
    done: list[Step] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    ahead: dict[int, archiver.Ahead] = field(default_factory=dict)
    at: int = 0
    tries: Tries = field(init=False)
    new: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.tries = Tries(self.connection, self.pace, self.progress)

    def all(self) -> None:
        """Everything, in order."""
        notice_a_dead_client(self.connection)
        self._begin()
        self.progress.step("migrate", total=len(self.steps))
        came_to = 0
        try:
            for group in _groups(self.steps):
                self.at = group[0]
                # before each, not after the last: what is done is not to end as cancelled
                self.progress.advance(self.at - came_to, message=self.steps[self.at].reason)
                came_to = self.at
                self._group(group)
        except FBSError as exc:
            self._failed(exc)
        if not self.steps or self.steps[-1].mode is not Mode.TRANSACTION:
            self.tries(self._finish, tables=(), what=self.plan.solution)

    def _group(self, group: Sequence[int]) -> None:
        match self.steps[group[0]].mode:
            case Mode.TRANSACTION:
                for position in group:
                    self._copy_ahead(position)
                tables = {self.steps[position].table for position in group}
                kept, done = self.tries(lambda: self._transaction(group), tables=tables)
                self.kept += kept
                self.done += done
            case Mode.ALONE:
                self.tries(self._alone, tables={self.steps[self.at].table})
                self.done.append(self.steps[self.at])
            case Mode.BATCHES:
                self._batches()
                self.done.append(self.steps[self.at])

    # ------------------------------------------------------------------------------------------- beginning and end

    def _begin(self) -> None:
        """Write down what is to run, in a transaction of its own; clear up behind one that was cut off."""
        with bounded(self.connection, lock=self.pace.patience, statement=self.pace.long) as cursor:
            made = journal.ensure_table(self.connection, self.prefix)
            own = journal.migrations_table(self.prefix)
            # where the table of the rows was missing, it has just been made as a whole
            kept = [number for number, step in enumerate(self.plan.steps) if not (made and step.table == own)]
            self.steps = tuple(self.plan.steps[number] for number in kept)
            undoes = [self.undoes[number] for number in kept] if self.undoes else ()
            archiver.throw_away_unfinished(cursor, self.prefix, self.plan.solution)
            solution, statements = self.plan.solution, {step.sql for step in self.steps}
            self.name = journal.take_up(cursor, self.prefix, solution, statements, undo=bool(self.undoes))
            self.rows = journal.begin(
                cursor, self.prefix, solution, self.steps, run=self.name, before=self.before, undoes=undoes
            )
            tables = {step.table for step in self.steps}
            self.new = tables - existing(cursor, tables)

    def _finish(self) -> None:
        with bounded(self.connection, lock=self.pace.patience, statement=self.pace.quick) as cursor:
            if not self.steps:
                journal.close(cursor, self.prefix, self.plan.solution)
            self.settle(cursor, done=self.done, finished=True)

    def _failed(self, exc: FBSError) -> NoReturn:
        """Write down what failed, as far as that is possible, and say how far it came.

        What may go well the next time has not failed: it is still to run.
        """
        step = self.steps[self.at]
        passes = exc.retryable or isinstance(exc, JobCancelled | UnreachableError)
        try:
            if not self.connection.closed:
                with bounded(self.connection, lock=self.pace.patience, statement=self.pace.quick) as cursor:
                    archiver.throw_away_unfinished(cursor, self.prefix, self.plan.solution)
                    if not passes:
                        journal.failed(cursor, self.prefix, self.rows[self.at], exc.message)
        except FBSError as second:  # the error that counts is the first one; the next run clears up
            _log.warning("what failed in %s could not be written down: %s", step.table, second.message)
        if isinstance(exc, JobCancelled | UnreachableError):
            raise exc
        raise told_of(exc, step, done=len(self.done), total=len(self.steps)) from exc

    # ---------------------------------------------------------------------------------------------- in a transaction

    def _copy_ahead(self, position: int) -> None:
        """Copy what a step takes from a big table before anything is locked."""
        step = self.steps[position]
        if step.keeps is None or step.keeps.column is None:
            return
        self.at = position
        with bounded(self.connection, lock=self.pace.patience, statement=self.pace.long) as cursor:
            cursor.execute(_SIZE, (sql.Identifier(step.table).as_string(cursor),))
            size = cursor.fetchone()
            if size and size[0] > self.pace.copy_above:
                self.progress.advance(0, message=f"keeping {step.keeps.table}.{step.keeps.column}")
                ahead = archiver.copy_ahead(cursor, step.keeps, self.plan.solution)
                if ahead is not None:
                    self.ahead[position] = ahead

    def _transaction(self, group: Sequence[int]) -> tuple[list[Kept], list[Step]]:
        """Run neighbours in one transaction.

        Returns:
            What keeps what was taken away, and the steps; it may be rolled back and done anew.
        """
        kept: list[Kept] = []
        steps = [self.steps[position] for position in group]
        self.at = group[0]
        with bounded(self.connection, lock=self.pace.patience, statement=self.pace.quick) as cursor:
            cursor.execute(LOCK_TABLES)  # no table of FBS is made or dropped meanwhile; nobody queues behind this wait
            patience = Patience(cursor, self.pace)
            patience.lock({step.table: strongest([_lock(s) for s in steps if s.table == step.table]) for step in steps})
            empty = {self.steps[position].table: position for position in group if self._relies_on_empty(position)}
            for self.at in empty.values():
                refuse_filled(cursor, self.steps[self.at].table)
            for position in group:
                self.at = position
                kept += self._step(cursor, patience, position)
            last = group[-1] == len(self.steps) - 1
            self.settle(cursor, done=[*self.done, *steps], finished=last)
        return kept, steps

    def _step(self, cursor: Cursor, patience: Patience, position: int) -> list[Kept]:
        step, ran, kept, found = self.steps[position], "", None, {}
        if step.keeps is not None and step.keeps.column is None:
            kept, statements = archiver.keep_table(cursor, step.keeps, self.plan.solution, step.sql)
            ran = ";\n".join(statements)
        else:
            before = look(cursor, step)
            if step.keeps is not None:
                with patience.working():
                    kept = archiver.keep_column(cursor, step.keeps, self.plan.solution, self.ahead.get(position))
            patience.execute(step.sql, takes_long=bool(step.hazards & _TAKES_LONG))
            if kept is not None:
                with patience.working():
                    kept = archiver.keep_what_became(cursor, kept)
                if self.undoes and archiver.throw_away_empty(cursor, kept):
                    kept = None  # only an undo of it would have needed to know what it was
            found = changed(before, look(cursor, step))
        journal.executed(cursor, self.prefix, self.rows[position], ran=ran, kept=kept and kept.name, **found)
        return [kept] if kept else []

    def _relies_on_empty(self, position: int) -> bool:
        """Whether a step takes a way that is right for an empty table alone."""
        step = self.steps[position]
        return not step.has_rows and step.lock in HOLDS_UP and step.table not in self.new

    # ------------------------------------------------------------------------------------------ outside of one

    def _alone(self) -> None:
        """Run a statement by itself. What an earlier try left behind is cleaned up before, and after a failure."""
        step = self.steps[self.at]
        patience = self.pace.lock if step.lock in HOLDS_UP else self.pace.alone
        with without_transaction(self.connection, lock=patience, statement=self.pace.long) as cursor:
            self._clean_up(cursor, step)
            try:
                cursor.execute(step.sql)
            except Exception:
                if not self.connection.closed:
                    self._clean_up(cursor, step)
                raise
            journal.executed(cursor, self.prefix, self.rows[self.at])

    @staticmethod
    def _clean_up(cursor: Cursor, step: Step) -> None:
        """Only what is invalid: a good index of that name is somebody else's, and stays."""
        if step.cleanup is None:
            return
        cursor.execute(_INVALID, (sql.Identifier(step.table).as_string(cursor),))
        if any(sql.Identifier(name).as_string(cursor) in step.cleanup for (name,) in cursor.fetchall()):
            cursor.execute(step.cleanup)

    def _batches(self) -> None:
        """Run a statement again and again, and let others have their turn in between."""
        step, rows = self.steps[self.at], 0
        while True:
            began = time.monotonic()
            touched = self.tries(self._batch, tables={step.table})
            if not touched:
                break
            rows += touched
            self.progress.advance(0, message=f"{step.table}: {rows} rows")
            rest((time.monotonic() - began) * self.pace.rest, self.progress)
        with bounded(self.connection, lock=self.pace.patience, statement=self.pace.quick) as cursor:
            journal.executed(cursor, self.prefix, self.rows[self.at])

    def _batch(self) -> int:
        with bounded(self.connection, lock=self.pace.lock, statement=self.pace.long) as cursor:
            cursor.execute(self.steps[self.at].sql)
            return max(cursor.rowcount, 0)


def _lock(step: Step) -> Lock:
    """Nobody may write between the moment in which values are kept and that in which they go."""
    return Lock.ACCESS_EXCLUSIVE if step.keeps is not None else step.lock


def _groups(steps: Sequence[Step]) -> list[list[int]]:
    """The positions of steps that run together: neighbours in a transaction, any other by itself."""
    found: list[list[int]] = []
    for mode, neighbours in groupby(range(len(steps)), key=lambda position: steps[position].mode):
        positions = list(neighbours)
        found += [positions] if mode is Mode.TRANSACTION else [[position] for position in positions]
    return found
