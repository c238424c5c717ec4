"""Migrate a solution's tables to the desired schema, or revert the last migration."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import FBSError, RefusedError
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.migration.apply.executor import Applied, apply
from fbs_worker.migration.apply.journal import JournalRow, history, is_unfinished
from fbs_worker.migration.model.plan import Plan, Step
from fbs_worker.migration.undo import plan_undo
from fbs_worker.schema.inspector import relations
from fbs_worker.solutions.registry import Manifest, SolutionRecord
from fbs_worker.solutions.requests import MigrateRequest
from fbs_worker.solutions.target import desired_tables, plan_migration
from fbs_worker.solutions.workspace import (
    Entry,
    Home,
    check_no_shared_tables,
    find_solution,
    locked_connection,
    read_manifest,
    vault_of,
)

_log = logging.getLogger(__name__)


def migrate(request: MigrateRequest, *, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Plan a solution's migration, and apply it unless the request is for the plan only.

    The domain defines its tables, the active discoveries those of mirrored models. Repeat the request to complete an
    interrupted migration: the fingerprint of a partly applied plan remains valid.

    Args:
        request: the validated parameters.
        settings: the home database, the keys, and FBS_ENABLE_MIGRATIONS.
        progress: receives the steps; may cancel between two statements.

    Returns:
        `solution`, the plan (`fingerprint`, `summary`, `steps`, `changes`, `drift`, `questions`, `notes`, `blockers`,
        `needs`), `options` (`restore`, `rename`, `mirror`, `no_mirror`, as requested), `enabled` (whether the settings
        allow applying it), `applied` (None for a plan; else `run`,
        `executed`, `kept` and `seconds`), `undoes` (of an undo: the reverted migration), `cannot` (what the undo does
        not revert) and `seconds`.

    Raises:
        SolutionNotFound: the registry has no such solution, or its set-up was never completed.
        UsageError: a rename does not match the tables, or a model to mirror is not in the catalogue.
        RefusedError: migrations are switched off, the plan is stale, a hazard is not allowed, or a preflight check undo
            rows that violate the new schema; nothing is changed.
        SolutionConflict: another solution owns a table that would be created.
        DatabaseBusy: a lock was not acquired within the lock budget.
        FBSError: PostgreSQL reported another error. Executed statements stay, and the next migration continues from
            them.
    """
    began = time.monotonic()
    if not (request.plan_only or settings.fbs_enable_migrations):
        raise RefusedError(
            "Migrations are switched off: FBS_ENABLE_MIGRATIONS is false. Nothing was changed.",
            hint="`fbs migrate --plan --output-format json` returns the statements for a database administrator.",
        )
    vault = vault_of(settings)
    name = request.solution_name
    progress.step("connect")
    with closing(Home(settings, vault)) as home:
        registered = find_solution(home, name)
        with locked_connection(
            registered.database.resolved(vault), name, action="migrate", progress=progress
        ) as connection:
            run = _Migration(
                request=request,
                registered=registered,
                entry=Entry(home, registered),
                manifest=read_manifest(connection, registered),
                vault=vault,
                connection=connection,
                progress=progress,
            )
            progress.step("plan")
            _, others = home.lookup(name)
            run.make_plan(others)
            applied = None if request.plan_only else run.apply()
    return {
        **run.plan.to_dict(),
        "options": request.plan_options,
        "changes": list(run.plan.changes),
        "enabled": settings.fbs_enable_migrations,
        "applied": applied.to_dict() if applied else None,
        "undoes": run.reverted,
        "cannot": list(run.not_reverted),
        "seconds": round(time.monotonic() - began, 3),
    }


@dataclass(kw_only=True)
class _Migration:
    """One migration, under the solution's lock.

    Attributes:
        registered: the solution's registry entry.
        entry: writes the registry entry.
        manifest: the manifest before the migration.
        plan: the plan, after `make_plan`.
        mirrored: the models that are mirrored after the migration, each with its main table.
        reverted: of an undo: the reverted migration.
        not_reverted: of an undo: changes that it does not revert, one line each.
    """

    request: MigrateRequest
    registered: SolutionRecord
    entry: Entry
    manifest: SolutionRecord
    vault: Vault
    connection: Connection
    progress: Progress
    plan: Plan = field(init=False)
    mirrored: Mapping[str, str] = field(init=False)
    reverted: str | None = None
    not_reverted: tuple[str, ...] = ()

    def make_plan(self, others: Sequence[SolutionRecord]) -> None:
        """Make the plan, and check it against the requested fingerprint.

        Args:
            others: the registry entries of other solutions.

        Raises:
            RefusedError: the requested plan is stale.
        """
        with transaction(self.connection) as cursor:
            rows = history(cursor, self.manifest.table_prefix, self.manifest.solution_name)
            if not self.request.undo:
                desired = desired_tables(
                    cursor, self.manifest, mirror=self.request.mirror, unmirror=self.request.unmirror
                )
                check_no_shared_tables(self.connection, self.manifest, desired.definition.table_names, others)
                self.mirrored = desired.mirrored
                self.plan = plan_migration(
                    cursor, self.manifest, desired, renames=self.request.renames, restore=self.request.restore
                )
        if self.request.undo:
            self._make_undo_plan(rows)
        requested = self.request.fingerprint
        if not requested or requested == self.plan.fingerprint or self._is_remainder(rows, requested):
            return
        if not _was_applied(rows, requested) or is_unfinished(rows):
            raise RefusedError(
                f"Plan {requested} is stale: the database changed after it was made. Nothing was applied.",
                hint=f"Review the new plan, {self.plan.fingerprint}: fbs migrate --solution-name"
                f" {self.manifest.solution_name}{' --undo' if self.request.undo else ''} --plan",
                fingerprint=self.plan.fingerprint,
            )
        self._empty_plan(f"Plan {requested} has been applied already; the new plan is {self.plan.fingerprint}.")

    def apply(self) -> Applied:
        """Run the statements, and update manifest and registry entry."""
        allowed = self.request.allow
        with self._entry_updated_on_failure():
            if self.plan.steps and not self.plan.unallowed_hazards(allowed):
                self.entry.mark_inactive(self.manifest, manifest=self.manifest)
            applied = apply(
                self.connection,
                self.plan,
                table_prefix=self.manifest.table_prefix,
                allowed=allowed,
                write_manifest=self.write_manifest,
                before=self._before(),
                undoes=self.reverted or "",
                progress=self.progress,
            )
        self._update_entry()
        return applied

    def write_manifest(self, cursor: Cursor, *, done: Sequence[Step], finished: bool) -> None:
        """Write the owned tables into the manifest after each step.

        The recorded schema is written only at the end. Until then it is the previous one, or none for a new table; in
        both cases the next plan contains the remaining steps.
        """
        manifest, touched = self.manifest, {step.table for step in done}
        existing = relations(self.connection, touched)
        created = {name for name in touched & set(self.plan.tables) if name in existing}
        owned = {name for name in manifest.owned if name not in touched or name in existing} | created
        definition: dict[str, Any] = {**manifest.schema_definition, "tables": sorted(owned)}
        recorded = manifest.recorded_schema
        if finished:
            definition |= {"tables": sorted(owned & set(self.plan.tables)), "mirrored": dict(self.mirrored)}
            recorded = dict(self.plan.schema)
        definition["shape"] = {name: table for name, table in recorded.items() if name in definition["tables"]}
        Manifest.write(cursor.connection, replace(manifest, schema_definition=definition), self.vault)

    def _make_undo_plan(self, rows: Sequence[JournalRow]) -> None:
        """Plan the undo; the plan is empty if the requested undo was applied already."""
        manifest, requested = self.manifest, self.request.fingerprint
        self.mirrored = manifest.mirrored
        if requested and rows and rows[-1].is_undo and not is_unfinished(rows) and _was_applied(rows, requested):
            self.reverted = str(rows[-1].facts["of"])
            self._empty_plan(f"Plan {requested} has been applied already.")
            return
        undo = plan_undo(self.connection, solution=manifest.solution_name, table_prefix=manifest.table_prefix)
        self.plan, self.not_reverted, self.reverted = undo.plan, undo.not_reverted, undo.run
        self.mirrored = undo.before.get("mirrored", manifest.mirrored)
        if not undo.before:  # the journal has no record of the tables before: keep what is owned
            self.plan = replace(undo.plan, tables=tuple(sorted(manifest.owned)), schema=manifest.recorded_schema)

    def _empty_plan(self, note: str) -> None:
        """Set an empty plan: nothing is left to do but to update the registry entry."""
        manifest = self.manifest
        tables = tuple(sorted(manifest.owned))
        self.plan = Plan(
            solution=manifest.solution_name, steps=(), notes=(note,), tables=tables, schema=manifest.recorded_schema
        )

    def _is_remainder(self, rows: Sequence[JournalRow], requested: str) -> bool:
        """Return whether the current plan is the rest of the requested plan, which was interrupted."""
        if not _was_applied(rows, requested):
            return False
        known = {row.statement for row in rows if row.run == rows[-1].run}
        return self.plan.empty or (is_unfinished(rows) and {step.sql for step in self.plan.steps} <= known)

    def _before(self) -> dict[str, Any]:
        manifest = self.manifest
        recorded = {"tables": sorted(manifest.owned), "shape": manifest.recorded_schema, "mirrored": manifest.mirrored}
        return {**recorded, "fingerprint": self.request.fingerprint or self.plan.fingerprint}

    @contextmanager
    def _entry_updated_on_failure(self) -> Iterator[None]:
        """Update the registry entry from the manifest also when the migration fails."""
        try:
            yield
        except BaseException:
            try:
                self._update_entry()
            except FBSError as exc:
                _log.warning(
                    "the solution %s may remain inactive in the registry: %s", self.manifest.solution_name, exc
                )
            raise

    def _update_entry(self) -> None:
        manifest = read_manifest(self.connection, self.registered)
        self.entry.mark_active(replace(manifest, database=self.registered.database))


def _was_applied(rows: Sequence[JournalRow], fingerprint: str) -> bool:
    """Return whether the solution's last migration or undo applied the plan."""
    last = [row for row in rows if rows[-1].run and row.run == rows[-1].run]
    return any((row.facts.get("before") or {}).get("fingerprint") == fingerprint for row in last)
