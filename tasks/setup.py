"""`fbs.setup`: make a solution's tables in its database, and fill its catalogue."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from celery import shared_task
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.store import model_definitions
from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import RefusedError, UsageError
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import DEFAULT_CONNECTION, OdooConnection, Settings
from fbs_worker.core.vault import Vault
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.migration.plan.planner import applied_schema
from fbs_worker.schema import create
from fbs_worker.schema.definition import Definition, define
from fbs_worker.schema.inspector import LOCK_TABLES, check_may_create
from fbs_worker.solutions.registry import OwnRow, SolutionRecord
from fbs_worker.solutions.requests import SetupRequest, check_odoo, refuse_plain_password
from fbs_worker.solutions.workspace import (
    Entry,
    Home,
    essence,
    refuse_another,
    refuse_sharing,
    to_oneself,
    undone_on_failure,
    vault_of,
)
from fbs_worker.tasks.reading import Refreshed, refresh_solution

DEFINITION_VERSION: Final = 1
"""Of what `schema_definition` of a solution's row looks like."""


@shared_task(name="fbs.setup", bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def setup_task(
    self: JobTask,
    *,
    config: Mapping[str, Any] | None = None,
    solution_name: str | None = None,
    domain: str | None = None,
    database_config: Mapping[str, Any] | None = None,
    table_prefix: str | None = None,
    business_prefix: str | None = None,
    refresh_discoveries: bool | None = None,
    mirror: Sequence[str] | None = None,
    odoo: str | None = None,
    odoo_moved: bool = False,
    create_tables: bool = True,
    odoo_expected: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The job; its arguments are those of `SetupRequest.parse`, and those below.

    Args:
        odoo_expected: the Odoo that the caller means, to be refused where this worker's connection leads elsewhere.
    """
    if not self.in_process:
        refuse_plain_password(database_config)
        refuse_plain_password(config.get("database_config") if isinstance(config, Mapping) else None)
    request = SetupRequest.parse(
        config,
        solution_name=solution_name,
        domain=domain,
        database_config=database_config,
        table_prefix=table_prefix,
        business_prefix=business_prefix,
        refresh_discoveries=refresh_discoveries,
        mirror=mirror,
        odoo=odoo,
        odoo_moved=odoo_moved,
        create_tables=create_tables,
        settings=self.settings,
    )
    return set_up(request, odoo_expected=odoo_expected, settings=self.settings, progress=self.progress)


def set_up(
    request: SetupRequest, *, odoo_expected: Mapping[str, str] | None, settings: Settings, progress: Progress
) -> dict[str, Any]:
    """Set a solution up: its tables, its row and, if asked, its discoveries, in one transaction.

    Args:
        request: what is asked. Models that were mirrored before stay mirrored.
        odoo_expected: see `check_odoo`.
        settings: the home database, the Odoo connections and the keys.
        progress: told the steps.

    Returns:
        `solution`, `created` and `existing` (tables), `changed` (whether anything was), `pending` (what of the existing
        tables differs from the definition), `database` (where, without password), `refresh` (what a refresh returns;
        None without one) and `seconds`.

    Raises:
        UsageError: a model to mirror is not among the discoveries.
        ForeignTableError: tables are there that FBS did not make.
        SolutionConflict: the name, a table or the catalogue belongs to another solution.
        DatabaseMissing, DatabaseRightsMissing: as their names say, with what to do about it.
        RefusedError: tables are missing, and FBS_AUTO_CREATE_TABLES is off, here or where the job comes from.
        FBSError: whatever else went wrong. Nothing is changed then.
    """
    began = time.monotonic()
    vault = vault_of(settings)
    config = request.config
    config.to_message(vault)  # a password that cannot be kept is told before anything is done
    database = config.database_config.resolved(vault, allow_plain=True)
    progress.step("connect")
    with (
        closing(Home(settings, vault)) as home,
        to_oneself(database, config.solution_name, action="setup", progress=progress) as connection,
    ):
        run = _SetUp(request=request, settings=settings, vault=vault, connection=connection, progress=progress)
        news = run.look(home)
        odoo = run.connection_to_odoo(odoo_expected) if config.refresh_discoveries else None
        with undone_on_failure(
            run.entry, connection, name=config.solution_name, table_prefix=config.table_prefix, own=run.own
        ):
            if news:
                run.begin()
            refreshed = run.make(odoo)
        # nothing may end the job from here on: the solution is there, only the book is behind
        changed = run.entry.done(run.record) or run.changed
    return {
        "solution": config.solution_name,
        "created": list(run.created),
        "existing": [name for name in run.report.existing if name not in run.created],
        "changed": changed,
        "pending": list(run.report.pending),
        "database": database.redacted(),
        "refresh": refreshed.to_dict() if refreshed else None,
        "seconds": round(time.monotonic() - began, 3),
    }


@dataclass(kw_only=True)
class _SetUp:
    """One set-up, which has the solution to itself.

    Attributes:
        own: the solution's own row before.
        entry: its entry in the address book.
        report: what was made, once it is.
        record: the solution's own row, once it is written.
        changed: whether anything was, in the solution's database.
    """

    request: SetupRequest
    settings: Settings
    vault: Vault
    connection: Connection
    progress: Progress
    own: SolutionRecord | None = field(init=False)
    entry: Entry = field(init=False)
    report: create.SetupReport = field(init=False)
    record: SolutionRecord = field(init=False)
    changed: bool = field(init=False)
    _meant: SolutionRecord = field(init=False)
    _others: list[SolutionRecord] = field(init=False)
    _missing: tuple[str, ...] = field(init=False)
    _tables: list[str] = field(init=False)
    _mirrored: dict[str, str] = field(init=False)
    _shape: dict[str, Any] = field(init=False)

    @property
    def created(self) -> tuple[str, ...]:
        """The tables that were made; those of the catalogue were as soon as there was something to save."""
        earlier = tuple(name for name in self._missing if name in self.report.existing)
        return (*earlier, *self.report.created)

    def look(self, home: Home) -> bool:
        """See what can be seen before anything is done, the long read of Odoo above all.

        Returns:
            Whether there is anything to make, as far as is known yet.

        Raises:
            ForeignTableError, SolutionConflict, DatabaseRightsMissing, RefusedError: see `set_up`.
        """
        config = self.request.config
        self._meant = SolutionRecord.from_config(config, is_active=True, schema_definition={})
        before, self._others = home.look(config.solution_name)
        self.entry = Entry(home, before)
        with transaction(self.connection) as cursor:
            self.own = OwnRow.read(self.connection, config.table_prefix, config.solution_name)
            for known in (self.own, before):
                refuse_another(known, self._meant, own=self.own)
            mirrored = self.own.mirrored if self.own else {}
            models = model_definitions(cursor, config.table_prefix, config.domain, {*config.mirror, *mirrored})
            self._missing = self._plan(self._define(models)).report.created
            if self._missing:
                check_may_create(self.connection)
        return self.own is None or bool(self._missing) or not mirrored.keys() >= set(config.mirror)

    def connection_to_odoo(self, expected: Mapping[str, str] | None) -> OdooConnection:
        """The Odoo that is going to be read.

        Args:
            expected: the one that the caller means by the name that was given, or by `default`.

        Raises:
            SettingsError: there is no connection of that name, or it leads elsewhere.
        """
        found = self.settings.odoo(self._odoo)
        if self._odoo == (self.request.config.odoo or DEFAULT_CONNECTION):
            check_odoo(found, expected)
        return found

    def begin(self) -> None:
        """Say in the address book that the solution is being set up.

        Raises:
            SolutionConflict: somebody else has taken the name meanwhile.
        """
        self.entry.under_way(self._meant, own=self.own)

    def make(self, odoo: OdooConnection | None) -> Refreshed | None:
        """Set up, in one transaction.

        Args:
            odoo: is read first; None to set up from what is known already.
        """
        if odoo is None:
            with transaction(self.connection) as cursor:
                self._make_tables(cursor)
                self._register(cursor, None)
            return None
        return refresh_solution(
            odoo,
            self.connection,
            self._meant,
            full=False,
            odoo_moved=self.request.odoo_moved,
            settings=self.settings,
            progress=self.progress,
            prepare=self._make_tables,
            write=self._register,
        )

    @property
    def _odoo(self) -> str:
        """The name of the connection: as given, else as before."""
        return self.request.config.odoo or (self.own.odoo if self.own else DEFAULT_CONNECTION)

    # ------------------------------------------------------------------------------ in the transaction of everything

    def _make_tables(self, cursor: Cursor) -> None:
        """Find the mirrored models, make what is missing."""
        self.progress.step("tables")
        cursor.execute(LOCK_TABLES)  # no table and no solution is made or dropped here meanwhile
        definition = self._define(self._mirrored_models(cursor))
        self._plan(definition)
        self._mirrored = {**(self.own.mirrored if self.own else {}), **definition.mirrored}
        self._tables = sorted({*definition.table_names, *(self.own.owned if self.own else ())})
        self.report = create.create(self.connection, definition, owned=self._mine(definition))
        self._shape = {**(self.own.shape if self.own else {}), **applied_schema(definition, self.report.created)}

    def _register(self, _cursor: Cursor, refreshed: Refreshed | None) -> None:
        """At the end: write the solution's own row."""
        config, own = self.request.config, self.own
        told: dict[str, Any] = {}
        if refreshed is not None:
            told["source"] = refreshed.source
            if refreshed.worth_remembering or own is None or own.last_refresh is None:
                told["last_refresh"] = refreshed.remembered()
        told |= {"shape": self._shape} if self._shape else {}
        definition = {
            "version": DEFINITION_VERSION,
            "tables": self._tables,
            "mirrored": self._mirrored,
            "odoo": self._odoo,
            **told,
        }
        record = replace(self._meant, schema_definition=definition)
        OwnRow.write(self.connection, record, self.vault)
        # what was written: its password is sealed
        self.record = OwnRow.read(self.connection, config.table_prefix, config.solution_name) or record
        self.changed = (
            self.report.changed
            or (refreshed is not None and refreshed.changed)
            or own is None
            or essence(own) != essence(self.record)
        )

    def _mirrored_models(self, cursor: Cursor) -> dict[str, dict[str, Any]]:
        """The models to mirror with what was discovered of each: those asked for, and those mirrored before.

        One that was mirrored before and is no longer there keeps its table.

        Raises:
            UsageError: one that is asked for is not among the discoveries.
        """
        config = self.request.config
        before = self.own.mirrored if self.own else {}
        found = model_definitions(cursor, config.table_prefix, config.domain, {*config.mirror, *before})
        missing = [name for name in config.mirror if name not in found and name not in before]
        if missing:
            raise UsageError(
                f"The discoveries of the domain {config.domain!r} have no model {', '.join(missing)}.",
                hint="Check the name; a module of the domain that is installed must define or extend it."
                if config.refresh_discoveries
                else "Read Odoo within the set-up: leave --no-refresh-discoveries out.",
                models=missing,
            )
        return found

    # --------------------------------------------------------------------------------------------- what is ours to make

    def _define(self, mirrored: Mapping[str, Mapping[str, Any]]) -> Definition:
        config = self.request.config
        return define(
            self.request.domain,
            table_prefix=config.table_prefix,
            business_prefix=config.business_prefix,
            mirrored=mirrored,
        )

    def _mine(self, definition: Definition) -> frozenset[str]:
        """The tables that count as made by FBS: where it may not make any, also those that are as they should be."""
        owned = self.own.owned if self.own else frozenset()
        return owned if self.request.create_tables else owned.union(definition.table_names)

    def _plan(self, definition: Definition) -> create.Plan:
        """What is to be made.

        Raises:
            ForeignTableError, SolutionConflict, RefusedError: see `set_up`.
        """
        refuse_sharing(self.connection, self._meant, set(definition.table_names), self._others)
        planned = create.plan(self.connection, definition, owned=self._mine(definition))
        if not self.request.create_tables:
            owned = self.own.owned if self.own else frozenset()
            wrong = [line for line in planned.report.pending if line.partition(":")[0] not in owned]
            wrong += [f"{name}: the table is missing" for name in planned.report.created]
            if wrong:
                raise RefusedError(
                    f"Tables are not as they should be, and FBS_AUTO_CREATE_TABLES is off: {'; '.join(wrong)}.",
                    hint="Run the statements (--output-format json has them), or set FBS_AUTO_CREATE_TABLES=true.",
                    pending=wrong,
                    statements=list(planned.statements),
                )
        return planned
