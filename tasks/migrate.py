"""`fbs.migrate`: make a solution's tables match their definition, or revert the last migration."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from celery import shared_task
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import FBSError, RefusedError
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.migration.apply.executor import Applied, apply
from fbs_worker.migration.apply.journal import JournalRow, Reversal, history, is_unfinished
from fbs_worker.migration.model.plan import Plan, Step
from fbs_worker.migration.undo import plan_undo
from fbs_worker.schema.inspector import relations
from fbs_worker.solutions.migrate_request import MigrateRequest
from fbs_worker.solutions.registry import OwnRow, SolutionRecord
from fbs_worker.solutions.target import plan_migration, wanted
from fbs_worker.solutions.workspace import Entry, Home, find_solution, own_row, refuse_sharing, to_oneself, vault_of

_log = logging.getLogger(__name__)


@shared_task(name="fbs.migrate", bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def migrate_task(
    self: JobTask,
    *,
    solution_name: str,
    plan_only: bool = False,
    fingerprint: str | None = None,
    allow: Sequence[str] | None = None,
    renames: Sequence[str] | None = None,
    restore: bool = False,
    mirror: Sequence[str] | None = None,
    unmirror: Sequence[str] | None = None,
    undo: bool = False,
) -> dict[str, Any]:
    """The job; its arguments are those of `MigrateRequest.parse`."""
    request = MigrateRequest.parse(
        solution_name=solution_name,
        plan_only=plan_only,
        fingerprint=fingerprint,
        allow=allow,
        renames=renames,
        restore=restore,
        mirror=mirror,
        unmirror=unmirror,
        undo=undo,
    )
    return migrate(request, settings=self.settings, progress=self.progress)


def migrate(request: MigrateRequest, *, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Plan a solution's migration and, unless only the plan is asked for, apply it.

    The tables of its domain come from the domain, those of mirrored models from the active discoveries. One that was
    cut off is finished by asking once more for the same: a plan whose first part has been applied still counts as it.

    Args:
        request: what is asked.
        settings: the home database, the keys, and whether tables may be changed.
        progress: told the steps; may end it between any two statements.

    Returns:
        `solution`, the plan (`fingerprint`, `steps`, `changes`, `drift`, `questions`, `notes`, `needs`), `enabled`
        (whether it may be applied here), `applied` (None for a plan; else `run`, `executed`, `kept` and `seconds`),
        `undoes` (of an undo: the migration that it reverts), `cannot` (what it does not) and `seconds`.

    Raises:
        SolutionNotFound: there is none of that name, or its set-up was never completed.
        UsageError: a rename, or a model to mirror, cannot be.
        RefusedError: migrations are switched off, the plan is not the one that was asked for, a hazard was not allowed,
            or rows do not fit what is to come; nothing is changed then.
        SolutionConflict: another solution owns a table that would be made.
        DatabaseBusy: tables were in use at each of many tries.
        FBSError: whatever else went wrong. What has run stays, and the next migration goes on from there.
    """
    began = time.monotonic()
    if not (request.plan_only or settings.fbs_enable_migrations):
        raise RefusedError(
            "Migrations are switched off here: FBS_ENABLE_MIGRATIONS is false. Nothing was changed.",
            hint="`fbs migrate --plan --output-format json` has the statements; someone else may run them.",
        )
    vault = vault_of(settings)
    name = request.solution_name
    progress.step("connect")
    with closing(Home(settings, vault)) as home:
        known = find_solution(home, name)
        with to_oneself(known.database.resolved(vault), name, action="migrate", progress=progress) as connection:
            run = _Migration(
                request=request,
                known=known,
                entry=Entry(home, known),
                own=own_row(connection, known),
                vault=vault,
                connection=connection,
                progress=progress,
            )
            progress.step("plan")
            _, others = home.look(name)
            run.look(others)
            applied = None if request.plan_only else run.apply()
    return {
        **run.plan.to_dict(),
        "changes": list(run.plan.changes),
        "enabled": settings.fbs_enable_migrations,
        "applied": applied.to_dict() if applied else None,
        "undoes": run.reverted,
        "cannot": list(run.not_reverted),
        "seconds": round(time.monotonic() - began, 3),
    }


@dataclass(kw_only=True)
class _Migration:
    """One migration, which has the solution to itself.

    Attributes:
        known: the solution's entry in the address book.
        entry: the same, to be kept true.
        own: its own row before.
        plan: what is to be done, once that is known.
        mirrored: the models that are mirrored afterwards, each with its table.
        reverted: of an undo: the migration that it reverts.
        reversals: of an undo: the row that each statement reverts.
        not_reverted: of an undo: changes that it does not revert, one line each.
    """

    request: MigrateRequest
    known: SolutionRecord
    entry: Entry
    own: SolutionRecord
    vault: Vault
    connection: Connection
    progress: Progress
    plan: Plan = field(init=False)
    mirrored: Mapping[str, str] = field(init=False)
    reverted: str | None = None
    reversals: tuple[Reversal, ...] = ()
    not_reverted: tuple[str, ...] = ()

    def look(self, others: Sequence[SolutionRecord]) -> None:
        """Find the plan, and see that it is the one that was asked for.

        Args:
            others: the other entries of the address book.
        """
        with transaction(self.connection) as cursor:
            rows = history(cursor, self.own.table_prefix, self.own.solution_name)
            if not self.request.undo:
                aim = wanted(cursor, self.own, mirror=self.request.mirror, unmirror=self.request.unmirror)
                refuse_sharing(self.connection, self.own, aim.definition.table_names, others)
                self.mirrored = aim.mirrored
                self.plan = plan_migration(
                    cursor, self.own, aim, renames=self.request.renames, restore=self.request.restore
                )
        if self.request.undo:
            self._look_back(rows)
        asked = self.request.fingerprint
        if not asked or asked == self.plan.fingerprint or self._goes_on(rows, asked):
            return
        if not _asked_for(rows, asked) or is_unfinished(rows):
            raise RefusedError(
                f"The plan {asked} does not fit the database any more; nothing was changed.",
                hint=f"Look at the new one, {self.plan.fingerprint}: fbs migrate --solution-name"
                f" {self.own.solution_name}{' --undo' if self.request.undo else ''} --plan",
                fingerprint=self.plan.fingerprint,
            )
        self._done(f"The plan {asked} has been applied already; {self.plan.fingerprint} is a new one.")

    def apply(self) -> Applied:
        """Run the statements, and see that both rows of the solution say what has come about."""
        allowed = self.request.allow
        with self._true_entry():
            if self.plan.steps and not self.plan.unallowed_hazards(allowed):
                self.entry.under_way(self.own, own=self.own)
            applied = apply(
                self.connection,
                self.plan,
                table_prefix=self.own.table_prefix,
                allowed=allowed,
                write_manifest=self.write_manifest,
                before=self._before(),
                reversals=self.reversals,
                progress=self.progress,
            )
        self._say_so()
        return applied

    def write_manifest(self, cursor: Cursor, *, done: Sequence[Step], finished: bool) -> None:
        """Write into the solution's own row what it owns by now; see `ManifestWriter`.

        What FBS has made of a table is written at the end. Until then what was made is known to be as before, or, of a
        table that is new, not known: either way the next plan finds what is left to do.
        """
        own, touched = self.own, {step.table for step in done}
        there = relations(self.connection, touched)
        coming = {name for name in touched & set(self.plan.tables) if name in there}
        owned = {name for name in own.owned if name not in touched or name in there} | coming
        told: dict[str, Any] = {**own.schema_definition, "tables": sorted(owned)}
        shape = own.shape
        if finished:
            told |= {"tables": sorted(owned & set(self.plan.tables)), "mirrored": dict(self.mirrored)}
            shape = dict(self.plan.schema)
        told["shape"] = {name: made for name, made in shape.items() if name in told["tables"]}
        OwnRow.write(cursor.connection, replace(own, schema_definition=told), self.vault)

    # ------------------------------------------------------------------------------------------------------- innards

    def _look_back(self, rows: Sequence[JournalRow]) -> None:
        """Plan the undo; one that was done already, and is asked for once more, has nothing left to do."""
        own, asked = self.own, self.request.fingerprint
        self.mirrored = own.mirrored
        if asked and rows and rows[-1].is_undo and not is_unfinished(rows) and _asked_for(rows, asked):
            self.reverted = str(rows[-1].facts["of"])
            self._done(f"The plan {asked} has been applied already.")
            return
        found = plan_undo(self.connection, solution=own.solution_name, table_prefix=own.table_prefix)
        self.plan, self.reversals, self.not_reverted, self.reverted = (
            found.plan,
            found.reversals,
            found.not_reverted,
            found.run,
        )
        self.mirrored = found.before.get("mirrored", own.mirrored)
        if not found.before:  # written by someone else: what is owned stays as it is
            self.plan = replace(found.plan, tables=tuple(sorted(own.owned)), schema=own.shape)

    def _done(self, note: str) -> None:
        """There is nothing left to do of what was asked for, but to see that the address book says so."""
        own = self.own
        tables = tuple(sorted(own.owned))
        self.plan = Plan(solution=own.solution_name, steps=(), notes=(note,), tables=tables, schema=own.shape)

    def _goes_on(self, rows: Sequence[JournalRow], asked: str) -> bool:
        """Whether what is planned now is what is left of the plan that was asked for, which was cut off."""
        if not _asked_for(rows, asked):
            return False
        known = {row.statement for row in rows if row.run == rows[-1].run}
        return self.plan.empty or (is_unfinished(rows) and {step.sql for step in self.plan.steps} <= known)

    def _before(self) -> dict[str, Any]:
        own = self.own
        made = {"tables": sorted(own.owned), "shape": own.shape, "mirrored": own.mirrored}
        return {**made, "fingerprint": self.request.fingerprint or self.plan.fingerprint}

    @contextmanager
    def _true_entry(self) -> Iterator[None]:
        """Should the migration fail, the address book says what has come about, as the solution's own row does."""
        try:
            yield
        except BaseException:
            try:
                self._say_so()
            except FBSError as exc:
                _log.warning("the solution %s may stay inactive in the address book: %s", self.own.solution_name, exc)
            raise

    def _say_so(self) -> None:
        now = own_row(self.connection, self.known)
        self.entry.done(replace(now, database=self.known.database))


def _asked_for(rows: Sequence[JournalRow], fingerprint: str) -> bool:
    """Whether the solution's last migration, or undo, was that plan."""
    mine = [row for row in rows if rows[-1].run and row.run == rows[-1].run]
    return any((row.facts.get("before") or {}).get("fingerprint") == fingerprint for row in mine)
