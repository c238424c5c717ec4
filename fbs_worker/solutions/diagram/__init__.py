"""Entity-relationship diagrams of a solution's tables and their pending changes. Read-only; no worker is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.settings import Settings
from fbs_worker.migration.plan.planner import recorded_schema
from fbs_worker.schema.differ import compare
from fbs_worker.schema.inspector import inspect_tables
from fbs_worker.schema.model import schema_of
from fbs_worker.schema.read_back import read_back
from fbs_worker.solutions.databases import Databases
from fbs_worker.solutions.diagram.model import Diagram, build_diagram
from fbs_worker.solutions.registry import Manifest, SolutionRecord
from fbs_worker.solutions.target import desired_tables

_SECONDS: Final = 30.0


def solution_diagram(settings: Settings, name: str, *, databases: Databases | None = None) -> Diagram:
    """Build the diagram model of a solution: business tables, their links, and pending changes.

    Args:
        settings: the home database and the keys; the result of `effective_settings`.
        name: the solution's name.
        databases: opens the databases; default: a connection each.

    Returns:
        The diagram model; a renderer turns it into SVG or text.

    Raises:
        SolutionNotFound: the registry has no such solution.
        SettingsError: no home database is set.
        SecretError: a password cannot be decrypted.
        RefusedError: the solution has mirrored models and the catalogue is empty.
        DatabaseError: a statement failed.
        DatabaseUnreachable: the home database or the solution's database does not answer.
    """
    databases = databases or Databases(settings)
    entry = databases.solution(name)
    with databases.connection(entry.database, seconds=_SECONDS, read_only=False) as connection:
        manifest = Manifest.read(connection, entry.table_prefix, name) or entry
        return _inspect(connection, manifest)


def _inspect(connection: Connection, manifest: SolutionRecord) -> Diagram:
    with errors_translated(connection), connection, connection.cursor() as cursor:
        desired = desired_tables(cursor, manifest)
        written = schema_of(desired.definition.tables)
        schema = read_back(connection, written)
        last_applied = recorded_schema(connection, manifest.recorded_schema, schema)
        actual = inspect_tables(connection, {*schema, *manifest.owned})
    difference = compare(schema, last_applied, actual, owned=manifest.owned)
    owned = {name: table for name, table in actual.tables.items() if name in manifest.owned}
    return build_diagram(
        f"{manifest.solution_name} ({manifest.domain})",
        desired=schema,
        actual=replace(actual, tables=owned),
        difference=difference,
        mirrored=desired.mirrored.values(),
        written=written,
    )
