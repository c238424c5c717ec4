"""What a solution's database says of it. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fbs_worker.catalogue.model import SectionStatus
from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.errors import DatabaseBusy, FBSError
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.schema.create import table_sizes
from fbs_worker.schema.definition import Definition
from fbs_worker.schema.inspector import relations
from fbs_worker.schema.system_tables import system_tables
from fbs_worker.solutions.records import DamagedRow, SolutionRecord, read_rows, table_name
from fbs_worker.solutions.target import plan_migration, wanted

Counted = dict[tuple[str, str], Mapping[str, int]]
"""Table prefix and domain → active discoveries per type: solutions may share a catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a solution's database found.

    Attributes:
        own: the solution's own row; None where there is none.
        missing: tables that it owns and that are not there.
        counts: active discoveries of its domain per type.
    """

    own: SolutionRecord | DamagedRow | None
    missing: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def last_refresh(self) -> dict[str, Any] | None:
        """What the last refresh was, if the own row knows of one."""
        return self.own.last_refresh if isinstance(self.own, SolutionRecord) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LongLook:
    """What a look into every corner found.

    Attributes:
        look: what the short one finds.
        database: `size` in bytes and `server_version`.
        tables: `table`, `kind` (system, business or mirrored), `rows` and `bytes` of each.
        denied: the sections of the last read of Odoo that were not complete.
        pending: how the tables differ from the definition; a migration changes it.
        drift: what was changed by hand, and stays so.
        notes: what could not be looked at, and why.
    """

    look: Look
    database: Mapping[str, Any]
    tables: Sequence[Mapping[str, Any]] = ()
    denied: Sequence[Mapping[str, Any]] = ()
    pending: Sequence[str] = ()
    drift: Sequence[str] = ()
    notes: Sequence[str] = ()


def look_at(connection: Connection, entry: SolutionRecord, *, counted: Counted | None = None) -> Look:
    """Own row, missing tables and discoveries of a solution: a handful of cheap queries.

    Args:
        connection: to its database, outside of a transaction.
        entry: what the address book says.
        counted: the catalogues of this database that have been counted just now; this one is added.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    with errors_translated(connection), connection, connection.cursor() as cursor:
        rows = read_rows(cursor, table_name(entry.table_prefix), name=entry.solution_name, own=True)
        own = rows[0] if rows else None
        owned = own.owned if isinstance(own, SolutionRecord) else frozenset[str]()
        found = relations(connection, owned) if owned else {}
    missing = sorted(name for name in owned if name not in found or not found[name].is_table)
    counted, place = {} if counted is None else counted, (entry.table_prefix, entry.domain)
    if place not in counted:
        counted[place] = Catalogue(connection, table_prefix=entry.table_prefix).unchanged_report(entry.domain).counts
    return Look(own=own, missing=tuple(missing), counts=counted[place])


def look_long_at(connection: Connection, entry: SolutionRecord) -> LongLook:
    """All that `look_at` finds, and sizes, rows, sections and pending changes.

    Args:
        connection: to its database, outside of a transaction.
        entry: what the address book says.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    look = look_at(connection, entry)
    record = look.own if isinstance(look.own, SolutionRecord) else entry
    notes: list[str] = []
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database()), current_setting('server_version')")
        size, version = cursor.fetchone() or (None, None)
    changes: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    definition = None
    try:
        with errors_translated(connection), connection, connection.cursor() as cursor:
            aim = wanted(cursor, record)
            definition = aim.definition
            plan = plan_migration(cursor, record, aim)
            changes, drift = plan.changes, plan.drift
            notes += plan.notes
    except FBSError as exc:
        _raise_if_lost(connection, exc)
        notes.append(f"What differs from the definition is not known: {exc.message}")
    denied = _denied(connection, record)
    tables: list[dict[str, Any]] = []
    try:  # last: counting may take all the time that is left
        with errors_translated(connection), connection:
            tables = _tables(connection, record, definition)
    except DatabaseBusy as exc:
        _raise_if_lost(connection, exc)
        notes.append(f"Rows and sizes are not known: counting took too long ({exc.message})")
    return LongLook(
        look=look,
        database={"size": size, "server_version": version},
        tables=tables,
        denied=denied,
        pending=changes,
        drift=drift,
        notes=notes,
    )


def _raise_if_lost(connection: Connection, exc: FBSError) -> None:
    if connection.closed:
        raise exc


def _tables(connection: Connection, record: SolutionRecord, definition: Definition | None) -> list[dict[str, Any]]:
    kinds = {str(table.name): "system" for table in system_tables(record.table_prefix)}
    known = () if definition is None else definition.table_names
    business = [name for name in known if name in record.owned]
    business += sorted(record.owned - set(business))
    kinds |= {name: "mirrored" if _is_mirrored(name, record) else "business" for name in business}
    return [{**told, "kind": kinds[told["table"]]} for told in table_sizes(connection, kinds)]


def _is_mirrored(name: str, record: SolutionRecord) -> bool:
    """The table of a mirrored model, or a link table of one."""
    return any(name == table or name.startswith(f"{table}__") for table in record.mirrored.values())


def _denied(connection: Connection, record: SolutionRecord) -> list[dict[str, Any]]:
    last = Catalogue(connection, table_prefix=record.table_prefix).last_snapshot(record.domain)
    sections = last.sections if last else ()
    return [section.to_dict() for section in sections if section.status is not SectionStatus.COMPLETE]
