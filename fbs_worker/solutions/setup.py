"""Create a solution's tables in its database, and fill its catalogue."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.store import model_definitions
from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import RefusedError, UsageError
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import DEFAULT_CONNECTION, OdooConnection, Settings
from fbs_worker.core.vault import Vault
from fbs_worker.domains import load_domain
from fbs_worker.migration.plan.planner import applied_schema
from fbs_worker.schema import create
from fbs_worker.schema.definition import Definition, define
from fbs_worker.schema.inspector import LOCK_TABLES, check_may_create
from fbs_worker.solutions.odoo_connections import find_odoo
from fbs_worker.solutions.refresh import Refresh, RefreshResult
from fbs_worker.solutions.registry import Manifest, SolutionRecord
from fbs_worker.solutions.requests import SetupRequest, check_odoo
from fbs_worker.solutions.workspace import (
    Entry,
    Home,
    check_no_shared_tables,
    check_same_solution,
    comparable_content,
    locked_connection,
    restored_on_failure,
    vault_of,
)

DEFINITION_VERSION: Final = 1
"""Version of the structure of `schema_definition`."""


def set_up(request: SetupRequest, *, settings: Settings, progress: Progress, read: Refresh) -> dict[str, Any]:
    """Set up a solution: tables, manifest and, if requested, discoveries, in one transaction; then the registry entry.

    Args:
        request: the validated parameters. Models that are mirrored already stay mirrored.
        settings: the home database, the Odoo connections and the keys.
        progress: receives the steps.
        read: reads the solution's Odoo.

    Returns:
        `solution`, `created` and `existing` (tables), `changed` (whether anything was written), `pending` (how existing
        tables differ from the definition), `database` (without the password), `mirrored` (the models),
        `refresh` (the result of a refresh; None without one) and `seconds`.

    Raises:
        UsageError: the catalogue does not have a model to mirror.
        ForeignTableError: a table of the definition exists and FBS did not create it.
        SolutionConflict: the name, a table or the catalogue belongs to another solution.
        DatabaseMissing: the solution's database does not exist.
        DatabaseRightsMissing: the user may not create tables.
        RefusedError: tables are missing, and FBS_AUTO_CREATE_TABLES is false for the worker or for the caller.
        FBSError: a connection failed, or Odoo or PostgreSQL reported an error. Nothing is changed.
    """
    began = time.monotonic()
    vault = vault_of(settings)
    request.database_config.to_message(vault)  # fail early if the password cannot be stored
    database = request.database_config.resolved(vault, allow_plain=True)
    progress.step("connect")
    with (
        closing(Home(settings, vault)) as home,
        locked_connection(database, request.solution_name, action="setup", progress=progress) as connection,
    ):
        run = _SetUp(
            request=request, settings=settings, vault=vault, connection=connection, progress=progress, read=read
        )
        has_changes = run.inspect(home)
        odoo = run.connection_to_odoo() if request.refresh_discoveries else None
        with restored_on_failure(
            run.entry, connection, name=request.solution_name, table_prefix=request.table_prefix, manifest=run.manifest
        ):
            if has_changes:
                run.begin()
            refreshed = run.run(odoo)
        # the solution is set up: only the registry is left to update, and the job can no longer be cancelled
        changed = run.entry.mark_active(run.record) or run.changed
    return {
        "solution": request.solution_name,
        "created": list(run.created),
        "existing": [name for name in run.report.existing if name not in run.created],
        "changed": changed,
        "pending": list(run.report.pending),
        "database": database.redacted(),
        "mirrored": sorted(run.record.mirrored),
        "refresh": refreshed.to_dict() if refreshed else None,
        "seconds": round(time.monotonic() - began, 3),
    }


@dataclass(kw_only=True)
class _SetUp:
    """One set-up, under the solution's lock.

    Attributes:
        manifest: the manifest before the set-up; None for a new solution.
        entry: the registry entry.
        report: the created tables, after `run`.
        record: the written manifest, after `run`.
        changed: whether anything was written in the solution's database, after `run`.
    """

    request: SetupRequest
    settings: Settings
    vault: Vault
    connection: Connection
    progress: Progress
    read: Refresh
    manifest: SolutionRecord | None = field(init=False)
    entry: Entry = field(init=False)
    report: create.SetupReport = field(init=False)
    record: SolutionRecord = field(init=False)
    changed: bool = field(init=False)
    _requested: SolutionRecord = field(init=False)
    _others: list[SolutionRecord] = field(init=False)
    _missing: tuple[str, ...] = field(init=False)
    _tables: list[str] = field(init=False)
    _mirrored: dict[str, str] = field(init=False)
    _recorded_schema: dict[str, Any] = field(init=False)

    @property
    def created(self) -> tuple[str, ...]:
        """The created tables; the catalogue save creates its own before `_create_tables` runs."""
        earlier = tuple(name for name in self._missing if name in self.report.existing)
        return (*earlier, *self.report.created)

    def inspect(self, home: Home) -> bool:
        """Run every check that is possible before anything is changed, and before the long read of Odoo.

        Returns:
            Whether tables or mirrored models are missing, as far as is known before the read.

        Raises:
            ForeignTableError: a table of the definition exists and FBS did not create it.
            SolutionConflict: the name or a table belongs to another solution.
            DatabaseRightsMissing: tables are missing and the user may not create them.
            RefusedError: tables are missing and may not be created.
        """
        request = self.request
        self._requested = SolutionRecord.from_config(request, is_active=True, schema_definition={})
        before, self._others = home.lookup(request.solution_name)
        self.entry = Entry(home, before)
        with transaction(self.connection) as cursor:
            self.manifest = Manifest.read(self.connection, request.table_prefix, request.solution_name)
            for known in (self.manifest, before):
                check_same_solution(known, self._requested, manifest=self.manifest)
            mirrored = self.manifest.mirrored if self.manifest else {}
            models = model_definitions(cursor, request.table_prefix, request.domain, {*request.mirror, *mirrored})
            self._missing = self._plan(self._define(models)).created
            if self._missing:
                check_may_create(self.connection)
        return self.manifest is None or bool(self._missing) or not mirrored.keys() >= set(request.mirror)

    def connection_to_odoo(self) -> OdooConnection:
        """Return the Odoo connection to read.

        Raises:
            SettingsError: there is no such connection, or it leads to another Odoo.
        """
        connection = find_odoo(self.settings, self._odoo)
        if self._odoo == (self.request.odoo or DEFAULT_CONNECTION):
            check_odoo(connection, self.request.odoo_expected)
        return connection

    def begin(self) -> None:
        """Write the registry entry as inactive.

        Raises:
            SolutionConflict: another solution has taken the name in the meantime.
        """
        named = replace(self._requested, schema_definition={"odoo": self._odoo})
        self.entry.mark_inactive(named, manifest=self.manifest)

    def run(self, odoo: OdooConnection | None) -> RefreshResult | None:
        """Create the tables and write the manifest, in one transaction.

        Args:
            odoo: the Odoo to read first; None to use the saved discoveries.

        Returns:
            The result of the read; None without one.
        """
        if odoo is None:
            with transaction(self.connection) as cursor:
                self._create_tables(cursor)
                self._write_manifest(cursor, None)
            return None
        mirrored = {"mirrored": dict.fromkeys(self.request.mirror, "")}
        return self.read(
            odoo,
            self.connection,
            replace(self._requested, schema_definition={**mirrored, **self._modules}),
            full=False,
            odoo_moved=self.request.odoo_moved,
            settings=self.settings,
            progress=self.progress,
            prepare=self._create_tables,
            write=self._write_manifest,
        )

    @property
    def _odoo(self) -> str:
        """Name of the Odoo connection: the requested one, else that of the manifest."""
        return self.request.odoo or (self.manifest.odoo if self.manifest else DEFAULT_CONNECTION)

    @property
    def _modules(self) -> dict[str, Any]:
        """`modules` of the manifest: the requested patterns, else those of the manifest; empty without any."""
        before = self.manifest.module_patterns if self.manifest else {}
        given = {"include": self.request.include_modules, "exclude": self.request.exclude_modules}
        patterns = {key: list(value or before.get(key, ())) for key, value in given.items()}
        return {"modules": patterns} if any(patterns.values()) else {}

    def _create_tables(self, cursor: Cursor) -> None:
        self.progress.step("tables")
        cursor.execute(LOCK_TABLES)  # no concurrent set-up or drop in this schema
        definition = self._define(self._mirrored_models(cursor))
        self._plan(definition)
        self._mirrored = {**(self.manifest.mirrored if self.manifest else {}), **definition.mirrored}
        self._tables = sorted({*definition.table_names, *(self.manifest.owned if self.manifest else ())})
        self.report = create.create(self.connection, definition, owned=self._owned(definition))
        self._recorded_schema = {
            **(self.manifest.recorded_schema if self.manifest else {}),
            **applied_schema(self.connection, definition, self.report.created),
        }

    def _write_manifest(self, _cursor: Cursor, refreshed: RefreshResult | None) -> None:
        request, manifest = self.request, self.manifest
        recorded: dict[str, Any] = {}
        if refreshed is not None:
            recorded["source"] = refreshed.source
            recorded["last_refresh"] = refreshed.last_refresh_payload(manifest)
        recorded |= {"shape": self._recorded_schema} if self._recorded_schema else {}
        definition = {
            "version": DEFINITION_VERSION,
            "tables": self._tables,
            "mirrored": self._mirrored,
            "odoo": self._odoo,
            **self._modules,
            **recorded,
        }
        record = replace(self._requested, schema_definition=definition)
        Manifest.write(self.connection, record, self.vault)
        # read back, because the password was encrypted
        self.record = Manifest.read(self.connection, request.table_prefix, request.solution_name) or record
        self.changed = (
            self.report.changed
            or (refreshed is not None and refreshed.changed)
            or manifest is None
            or comparable_content(manifest) != comparable_content(self.record)
        )

    def _mirrored_models(self, cursor: Cursor) -> dict[str, dict[str, Any]]:
        """Return the discovery of each model to mirror: the requested ones, and those that the manifest has.

        A model of the manifest that Odoo no longer has keeps its table.

        Raises:
            UsageError: the catalogue does not have a requested model.
        """
        request = self.request
        before = self.manifest.mirrored if self.manifest else {}
        models = model_definitions(cursor, request.table_prefix, request.domain, {*request.mirror, *before})
        missing = [name for name in request.mirror if name not in models and name not in before]
        if missing:
            raise UsageError(
                f"The discoveries of the domain {request.domain!r} have no model {', '.join(missing)}.",
                hint="Check the name; an installed module of the domain must define or extend the model."
                if request.refresh_discoveries
                else "Read Odoo during the set-up: omit --no-refresh-discoveries.",
                models=missing,
            )
        return models

    def _define(self, mirrored: Mapping[str, Mapping[str, Any]]) -> Definition:
        request = self.request
        return define(
            load_domain(self.request.domain),
            table_prefix=request.table_prefix,
            business_prefix=request.business_prefix,
            mirrored=mirrored,
        )

    def _owned(self, definition: Definition) -> frozenset[str]:
        """Return the tables that count as created by FBS; without the right to create tables, also existing ones."""
        owned = self.manifest.owned if self.manifest else frozenset()
        return owned if self.request.create_tables else owned.union(definition.table_names)

    def _plan(self, definition: Definition) -> create.SetupReport:
        """Plan the creation of missing tables.

        Raises:
            ForeignTableError: a table of the definition exists and FBS did not create it.
            SolutionConflict: another solution owns a table of the definition.
            RefusedError: tables are missing or differ, and may not be created.
        """
        check_no_shared_tables(self.connection, self._requested, set(definition.table_names), self._others)
        planned = create.plan(self.connection, definition, owned=self._owned(definition))
        if not self.request.create_tables:
            owned = self.manifest.owned if self.manifest else frozenset()
            problems = [line for line in planned.pending if line.partition(":")[0] not in owned]
            problems += [f"{name}: the table is missing" for name in planned.created]
            if problems:
                raise RefusedError(
                    f"Tables are missing or differ, and FBS_AUTO_CREATE_TABLES is false: {'; '.join(problems)}.",
                    hint="Run the statements of `--output-format json`, or set FBS_AUTO_CREATE_TABLES=true.",
                    pending=problems,
                    statements=create.statements(
                        definition,
                        existing=planned.existing,
                        server_version=self.connection.info.server_version,
                    ),
                )
        return planned
