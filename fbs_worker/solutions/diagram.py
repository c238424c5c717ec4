"""A solution's tables as they are, looked at for a picture of them. Reads only; asked directly, no worker is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.migration.diagram.model import Diagram, build_diagram
from fbs_worker.migration.diff.differ import compare
from fbs_worker.migration.inspect.inspector import inspect_tables
from fbs_worker.migration.inspect.normaliser import normalise
from fbs_worker.migration.model.schema import from_json, schema_of
from fbs_worker.solutions.registry import AddressBook, OwnRow, SolutionRecord, home_database
from fbs_worker.solutions.target import wanted

_CONNECT_SECONDS: Final = 3
_SECONDS: Final = 30.0


def solution_picture(settings: Settings, name: str) -> Diagram:
    """What a picture of a solution shows: its business tables, their foreign keys, and what is to change.

    Args:
        settings: the home database and the keys; after `effective_settings`.
        name: the solution's name.

    Raises:
        SolutionNotFound: there is none of that name.
        SettingsError: no home database is set.
        SecretError: a password cannot be opened.
        RefusedError: it has mirrored models, and the catalogue is empty.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
    with _opened(home_database(settings).resolved(vault, allow_plain=True)) as connection:
        entry = AddressBook(connection, table_prefix=settings.fbs_table_prefix, vault=vault).get(name)
    with _opened(entry.database.resolved(vault)) as connection:
        own = OwnRow.read(connection, entry.table_prefix, name) or entry
        return _look(connection, own)


def _look(connection: Connection, own: SolutionRecord) -> Diagram:
    with errors_translated(connection), connection, connection.cursor() as cursor:
        aim = wanted(cursor, own)
        shape, made = schema_of(aim.definition.tables), from_json(own.shape)
        found = normalise(connection, inspect_tables(connection, {*shape, *own.owned}), (shape, made))
    difference = compare(shape, made, found, owned=own.owned)
    ours = {name: table for name, table in found.tables.items() if name in own.owned}
    return build_diagram(
        f"{own.solution_name} ({own.domain})",
        desired=shape,
        actual=replace(found, tables=ours),
        difference=difference,
        mirrored=aim.mirrored.values(),
    )


@contextmanager
def _opened(database: DatabaseConfig) -> Iterator[Connection]:
    with bounded_connection(database, connect_seconds=_CONNECT_SECONDS, seconds=_SECONDS) as connection:
        yield connection
